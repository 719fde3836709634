// Package events keeps QEMU's events of both ends of one migration, and answers from them what the engine asks
// while the migration runs: is the guest paused, is it in post-copy, did the source's QEMU hand all over.
//
// [Log.Add] takes each event as libvirt delivers it, on libvirt's event loop, and passes it to the [Relay].
// Package qmp has what one event means, and the [qmp.Timeline] that all of them make.
package events
