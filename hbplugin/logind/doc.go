// Package logind holds systemd-logind's delay inhibitor and reports when a shutdown is announced.
//
// How a shutdown goes (org.freedesktop.login1(5), systemd.io/INHIBITOR_LOCKS):
// logind broadcasts PrepareForShutdown(true), and then waits until the last
// delay lock is closed or InhibitDelayMaxUSec has passed, whichever comes
// first; only then does it ask systemd for the target. When that job fails or
// is cancelled, PrepareForShutdown(false) follows. No new delay lock is given
// out while a shutdown is announced.
//
// [DelayLock] keeps the lock over restarts of logind and of the message bus. Any local user may send messages to its
// connection. Those of anybody but logind and the bus itself are discarded before they are parsed (gate.go), without an
// answer and with one log line in all; the bus says who owns logind's name. Of logind's signals no queue is kept: each
// says only that something changed, and what counts is the property PreparingForShutdown, which is then read. No
// property says what kind of shutdown it is; the signal does.
//
// libvirt's daemon holds a lock of the same kind while anything runs on the node, on Xen because of domain 0 alone.
// [System.Proceed] continues with a shutdown that waits for nobody else, unless the daemon saves its guests or shuts
// them down by itself ([AutoShutdown]).
//
// [System] asks systemd itself, which answers on a socket of its own even when
// the message bus is gone, whether the system is going down.
package logind
