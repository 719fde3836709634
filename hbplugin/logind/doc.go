// Package logind is vmferryd's ear and foot in the door at systemd: it holds
// systemd-logind's delay inhibitor and tells when a shutdown is announced.
//
// How a shutdown goes (org.freedesktop.login1(5), systemd.io/INHIBITOR_LOCKS):
// logind broadcasts PrepareForShutdown(true), and then waits until the last
// delay lock is closed or InhibitDelayMaxUSec has passed, whichever comes
// first; only then does it ask systemd for the target. When that job fails or
// is cancelled, PrepareForShutdown(false) follows. No new delay lock is given
// out while a shutdown is announced.
//
// [Keeper] keeps the lock over restarts of logind and of the message bus. The
// signal is only a hint: any local user may send one of that name, so what
// counts is the property PreparingForShutdown, read anew each time. What kind of shutdown it
// is stands in no property; the signal that tells it must come from logind's connection.
//
// libvirt's daemon holds a lock of the same kind while anything runs on the node, on Xen because of domain 0 alone.
// [System.Proceed] goes on with a shutdown that waits for nobody else, unless the daemon saves its guests or shuts them
// down by itself ([AutoShutdown]).
//
// [System] asks systemd itself, which answers on a socket of its own even when
// the message bus is gone, whether the system is going down.
package logind
