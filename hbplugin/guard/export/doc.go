// Package export runs the NBD servers of a storage machine: one process for each node of the cluster, so that a node
// loses its access to the disks when its process ends. Start with [Box].
//
// # What a revocation proves
//
// [Box.Revoke] writes the revoked generation to the disk first, then has systemd kill the node's process, then waits
// for the node's serving lock. [Box.Serve] takes that lock before it reads the state, and the process that it becomes
// keeps the lock until it ends. So whoever holds the lock had read the state before the revocation was written and is
// killed, or reads it afterwards and refuses to serve. The kernel releases the lock when the last thread of the process
// has left its last system call: writes are system calls of its threads (aio=threads, cache.direct=on), so none is
// under way then. What the process had not yet read of its connections is lost with them.
//
// A generation that was revoked, and each older one, is never admitted again, even after a restart of the machine.
package export
