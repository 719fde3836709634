// Package link is the guard's second way to renew a lease: a datagram to every other node, which acknowledges it. A
// short failure of the storage then kills no guest.
//
// Datagrams are authenticated with a key that only those who read the lease device have. What was sent before is
// refused: a renewal whose sequence number is not above the last one of its generation, and an acknowledgement of what
// is not outstanding.
package link
