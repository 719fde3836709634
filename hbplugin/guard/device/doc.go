// Package device opens the guard's lease device, a block device or a preallocated file that all nodes share, and reads
// and writes its blocks past the page cache: a read is what the storage has, a write is on it when it returns.
//
// No call has a deadline: a process whose direct I/O hangs cannot be interrupted, not even killed. Whoever calls does
// so in a goroutine of its own and judges by the age of the last good result, as package protocol does. Each such
// goroutine has its own [Device], so that one write that hangs does not hold up a read.
package device
