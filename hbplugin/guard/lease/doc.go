// Package lease is the form of the guard's lease device on disk: a block device or a preallocated file that all nodes
// share, in blocks of [BlockSize], each with one writer.
//
//	block 0            header: cluster, identity, times, nodes; written once, by "vmferry guard init"
//	block 1 … 16       the slot of node 1 … 16; written by that node alone
//	block 17 … 272     claims, one for each ordered pair of nodes; written by the claimant alone
//
// What a block says lies in its first 512 bytes, which disks write as a whole, with a checksum (CRC-32C) over them.
// Numbers are little-endian. A block whose checksum is wrong is no good read: it is never taken for a slot that says
// nothing.
package lease
