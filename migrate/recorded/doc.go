// Package recorded makes a live migration and keeps what it taught: what clients of the guest saw, a line in the node's
// records, and what the link carries and the guest writes (package history).
//
// A migration never fails for any of that: what goes wrong with it is logged. Start with [Moves].
package recorded
