// Package watchdog is a hardware watchdog that the lab's nodes can use: the kernel of the machine may have no driver for
// one, not even in software.
//
// A [Timer] has the rules of the kernel's interface (Documentation/watchdog/watchdog-api.rst): to open it arms it, each
// write feeds it, a close disarms it only after a write of the letter V. [Serve] makes it a file, over FUSE, which takes
// the calls that set and read the timeout as a driver does. Who feeds it is in a node, and the timer is outside: a node
// that hangs does not stop it.
package watchdog
