// Package guardd carries out what package protocol decides: it renews the lease on the device and over the link, reads
// the other nodes' slots and claims, kills, moves, revokes, and answers fence calls.
//
// One goroutine, the loop, has the protocol's state and never waits. Whatever can hang is done by a worker of its own:
// the renewer, the reader, the writer of claims, the link, the killer. A worker hands its result to the loop as a
// function that the loop calls. The killer touches no storage, so that a node whose storage hangs kills its guests in
// time all the same.
package guardd
