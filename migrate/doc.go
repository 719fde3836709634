// Package migrate moves one running guest from one node to another, live, and says
// truthfully where it runs afterwards.
//
// Start with [Move]. It takes a [Request] (which guest, from where, to where), and returns a
// [Record] of everything that was done and measured. The hypervisor is reached through
// [Deps]; package libvirt/client makes the real connections.
//
// # The course of a move
//
//		slot → pre-flight → watch → first downtime limit → migrate ⇄ steer → verify → record
//
//	  - A slot ([Slots]) bounds how many guests of this node move at once: migrations that share
//	    a link spoil each other's pause.
//	  - The pre-flight asks the target everything that can be asked before anything is changed.
//	    What it finds is a [Refusal], and the guest was not touched.
//	  - The migration is peer to peer, so that no client stands in the pause. The downtime limit
//	    is low from the first moment, and is raised only as far as needed ([DowntimePolicy]).
//	  - From the guest's STOP until it runs again the engine asks the hypervisor nothing.
//	  - A return code is never believed: both ends are asked where the guest runs, again
//	    and again until their answers fit together or the time is up.
//
// # Guarantees
//
// "moved" means that the target's libvirt said the guest of this UUID runs there and that it does not run at
// the source. "stayed" means the reverse, and that no migration is under way any more. All else
// is "unknown". A paused guest is resumed at the source only when the target answered
// that it has no such guest. Nothing is ever destroyed, defined or undefined.
//
// # Non-guarantees
//
// A Move that is killed leaves libvirt's migration running: start it again, and it sees
// the job, or the moved guest. Blackout is not measured here: what QEMU reports is a pause.
package migrate
