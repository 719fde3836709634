// Package guarded is what nodes have that run the guard in place of a power switch: its configuration, its unit, and
// fence_vmferry as the cluster's only fence device. The addresses that tell the better side of a split, the gateways,
// are the lab's own.
package guarded
