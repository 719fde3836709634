// Package second is the guard's second process: it kills the guests where the guard itself no longer says that the
// lease is good, because it was killed, stopped or is stuck.
//
// Both share one page of memory, [Page], a file on tmpfs: the guard writes until when guests may run, the second reads
// it, and no call between them can hang. The page also tells the next guard what it may resume. It is gone after a
// reboot, as is the lease.
package second
