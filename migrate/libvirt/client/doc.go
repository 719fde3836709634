// Package client is the project's only door to libvirt. It is thin: it adds
// deadlines and typed errors to libvirt's C library and holds no policy.
//
// Start with [Open], which connects to a URI such as "qemu:///system" or
// "qemu+tcp://node2/system", and ask a [Conn] about domains by name. What it can be asked
// is in its parts: [Domains], [Migrations], [Node] and [Storage].
//
// # Deadlines
//
// A call into libvirt's library blocks its thread until the daemon answers,
// and a daemon that hangs never does. Every method here therefore makes the
// C call in a goroutine of its own and returns when the context ends, whatever
// the C call does. The goroutine, and the thread below it, are abandoned: they
// end when the daemon answers, when its socket closes, or when keepalive
// gives the connection up (about 20 s, see keepaliveInterval). The late result
// is thrown away, so after a deadline the caller does not know whether the
// call took effect and must look.
//
// # Library
//
// This package alone links the C library; the words that it speaks are in package
// libvirt, so that code which only judges and decides needs no C and starts at once.
// Built with the tag libvirt_dlopen, programs look for libvirt.so.0 when they start: the
// binding's own initialisation loads it, to keep libvirt from printing its errors to
// stderr. Where it is missing the program runs all the same, and [Open] says what to
// install in an error that is [libvirt.ErrConnect].
//
// # Events
//
// The first [Open] starts libvirt's event loop in one goroutine that lives as
// long as the process. It serves keepalive and [Conn.Watch].
package client
