// Package guarded is what nodes have that run the guard in place of a power switch: its configuration, its unit, and
// fence_vmferry as the cluster's only fence device. The addresses that tell the better side of a split, the gateways,
// are the lab's own. The guests' disks are NBD exports of a [Storage] outside the nodes, so that a node's access to them
// can be revoked; the lease device comes the same way. Each node has a watchdog (package watchdog), which nobody feeds
// unless a test says so.
package guarded
