// Package mirror is the vocabulary of the mirror, and its rules: which copy of a guest's disks is the current one, what
// the next round sends, and whether a guest may be started from a replica.
//
// Each node keeps one [Manifest] for each mirrored guest. It is the only word on the files beside it: a file that it
// does not name is left over. Start with [Manifest], and with [Judge], which a start asks.
//
// # Epochs and generations
//
// A guest's disks have one truth. It changes its node with a promotion or a move, and with each change the epoch rises by
// one: [Truth] is the role of the node that has it. The other node is a [Replica] of that epoch. Within an epoch each
// round has a generation, a number that is never used again, also where the round fails. The checkpoint and the dirty
// bitmap of a round are named after both ([Point]).
//
// The cluster knows the highest epoch of a guest (a node attribute of Pacemaker; the other node's manifest). A node whose
// manifest has a lower one has an old copy, whatever the times of its files are. No rule compares the clocks of two nodes.
//
// # Files
//
//	/var/lib/vmferry/mirror/UUID.json      the manifest
//	DISK                                   the disk itself, where the truth is
//	DISK.vmferry-replica-E-N               a replica's disk: whole since the full round N of epoch E
//	DISK.vmferry-delta-E-N                 what round N changes; an overlay on the replica's disk
//	DISK.vmferry-overlay                   what the guest writes while it moves, and DISK is below it
//	DISK.vmferry-old, DISK.vmferry-old-E   what the disk was before this node became a replica, or was promoted
//
// # A round at the replica
//
//	receive → deltas whole, on the disk → manifest "applying N" → commit each delta → manifest "at N" → remove the deltas
//
// "applying N" is the point of no return: the source gets its answer, and whoever finds that manifest finishes the round.
// Before it the deltas are of no use to anybody.
//
// # A move to the node of the replica
//
//	a round N → manifest "overlay" → overlays → a delta of DISK since N → the replica's files are named DISK, and have
//	overlays: manifest "arriving" → manifest "handed" → live migration, which copies the overlays alone
//	stayed: overlays are folded into DISK → manifest without "overlay"; the replica gets its names back
//	moved: manifest "replica, overlay" here, and "truth, overlay" there → overlays are folded; DISK here gets a replica's
//	name
//
// A manifest says what the files are before they become that. Nobody starts DISK alone while it says "overlay", and a truth
// that was handed is not taken for the last word: the guest may have run at the peer. The bitmap of N goes along, and tells
// all that the disks that stay here will lack.
package mirror
