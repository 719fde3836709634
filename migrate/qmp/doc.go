// Package qmp reads a migration's course from the events of two QEMU processes, the
// one at the source and the one at the target.
//
// [Parse] turns one event, as libvirt passes it on, into an [Observed]. [Build] turns those
// of both sides into a [Timeline]: which phase began when, how many passes over the memory
// were made, and the two numbers that matter: the pause (source STOP to target RESUME) and
// the hand-over (source "completed" to target RESUME, which is what libvirt's
// protocol adds). Both are pure functions.
//
// # Two clocks
//
// QEMU stamps its events with its own host's clock, and the two hosts of a migration need
// not agree. Every event also has a receipt time, taken on one clock where both
// streams arrive, which suffers from the time that libvirt and the network take
// to deliver. Stamps are better when the hosts' clocks agree, so Build uses them
// unless they contradict the receipts: see [ClockBound]. A Timeline always says which it used,
// and has both pauses.
//
// # When STOP is not seen
//
// There is no pause to measure, and [Timeline.Pause] is nil, when the guest was paused
// already before it was moved (QEMU emits neither STOP nor RESUME then), when the
// connection to the source broke before the switchover, or when the migration
// ended before it. With post-copy, STOP comes at its start, and is seen.
//
// QEMU emits STOP after the processors are stopped, and RESUME just before they run: the
// pause is exact to well under a millisecond on each side. It is not what a client
// sees, which is the blackout.
package qmp
