// Package migrate moves one running guest from one node to another, live, and says
// truthfully where it runs afterwards.
//
// Start with [Move]. It takes a [Request] (which guest, from where, to where), and returns a [record.Record] of
// everything that was done and measured. The hypervisor is reached through [Deps]; package libvirt/client makes the
// real connections.
//
// # The course of a move
//
//	check → wait for admission → pre-flight → predict → (make images) → migrate ⇄ decide → rest → verify →
//	(finish disks)
//
// Each part is a type with its own fields; [Move] wires them. From the top down:
//
//	examine.go       the pre-flight alone
//	move.go          the move itself, in the order above
//	plan.go          how the migration is started, and how it should go, from what is known of guest and link
//	admission.go     the queue of moves and the slot
//	verification.go  the evidence of where the guest runs (package verify decides), and post-copy recovery
//	migration.go     the migration under way: start, sample, ask the rule, do what it says, start again
//	attempt.go       with what it is started, and the rule for starting it again
//	copier.go        the guest's disks; package diskcopy does the work
//	job.go           libvirt's job at the source: what is known of it, what can be set, its abort, and the watch over
//	                 a target that may be gone
//	relaying.go      the relay's begin and end; package events has the events that it follows
//	account.go       the record, log and progress, and the time that is left
//	request.go       what is requested, whether the driver can do it, what Move needs from outside, and the errors
//
// The course in detail:
//
//   - A slot ([slot.Pool]) bounds how many guests of this node move at once: migrations that share
//     a link spoil each other's pause. The dirty rate is measured while a guest waits for its turn.
//     Where there is a queue of moves ([Queue], the node daemon's), it admits them, in its order and as many at
//     once as it says; without one, one guest goes at a time.
//   - The pre-flight asks both ends everything that can be asked before anything is changed. What it finds is a
//     [preflight.Refusal], and the guest was not touched. [Examine] asks the same questions without the move.
//   - The prediction ([record.Forecast], made by package predict) is in the record beside what was measured. What a
//     move teaches of the link and of the guest (package history) makes the next one better.
//   - The migration is peer to peer, so that no client prolongs the pause; this process manages it only where the
//     source's daemon does not reach the target's. One rule decides how it is
//     begun and what is done to it on the way (package convergence): how long the last copy may take,
//     whether the guest is slowed down, when it continues at the target before all of its memory is
//     there, and when all of that is no use. The engine carries it out.
//   - The first passes are copied at a bounded rate, where nobody requested another: what is in the
//     buffers of the connection when the guest is stopped is part of its pause.
//   - What a slow link does not carry in time is compressed, by the guess that it shrinks to a half, if several
//     connections are allowed; what it did
//     shrink to is in the record.
//   - A guest that writes one set of pages again and again faster than the link carries them is moved with XBZRLE,
//     which costs the guest nothing. QEMU 10.0 refuses it with several connections (migrate_caps_check in
//     migration/options.c), and leaves it out in post-copy.
//   - What of TCP comes in for the guest at the source during its pause is kept, and forwarded once the network knows
//     the guest at the target ([Relay]; package relay has the why and how). It follows the events that are heard, and
//     delays nothing: a move without it is as good, but for clients that were sending.
//   - From the guest's STOP until it runs again the engine asks the hypervisor nothing, nor in
//     the moment after a new pass, in which the STOP of a quiet guest comes.
//   - A guest that runs at the target is left alone for a second ([Request.Rest]), where no other guest waits
//     for the end of its move: it begins with cold caches, and needs the processors itself.
//   - A return code is never believed: both ends are asked where the guest runs, again
//     and again until their answers fit together or the time is up.
//
// # The pre-flight
//
// Package preflight has it: a table of checks, each bounded and each with a rule of its own, of which the last goes to
// libvirt itself. The engine reads its findings. What cannot be asked is a note, and no refusal.
//
// # After a move that failed
//
// The guest continues at the source, and the record has the time that each means took ([record.Record].Rungs).
// [MayTryNext] reports whether another target makes sense. The lower rungs of the ladder, which end the guest here so
// that it is brought back elsewhere, are package resource's.
//
// # Disks
//
// Where [Request.Disks] asks for it, disks that the target does not see are copied by the hypervisors, all of them
// before the first byte of memory. Package preflight says which (hostdisk.go), package diskcopy does it and cleans up,
// and package disks keeps anybody from using an older copy.
//
// # Post-copy
//
// Where [Request.PostCopy] allows it, a guest that does not converge is switched. From then on it
// runs at the target, and both nodes are needed until the rest of its memory is there: such a move is
// neither aborted nor cancelled, and one that fails is recovered until the deadline, by this call
// or by the next. Whether both hypervisors can do it is found out by trying: a migration that is
// refused with post-copy is started again without.
//
// # Drivers without job control
//
// libvirt's driver for Xen copies a guest and lets it continue at the target, and that is all that can be had of it: no
// limit for the pause, no speed, no abort, no post-copy, no figures but the time, no events. What a driver can do is
// one fact ([libvirt.Driver].JobControl), asked before the move is begun: nothing is called that is not there, what was
// requested is left out with a note or refused, and the record says that the budget cannot be held ([BudgetHeld]). A
// migration that
// the driver cannot abort is aborted without it where that is possible ([Deps].Abort), and else awaited until the
// deadline.
//
// Such a driver does not notice in time either that its target has died. The engine asks the target itself while
// the guest is copied, and gives the migration up after 15 s in which the target's host gave no answer at
// all, and the source did ([ErrTargetSilent]): a cluster manager may wait for this very move before it fences.
//
// Nor does that driver know a guest's state by itself. One that is paused for a switchover that failed
// is running in its words, so that the hypervisor itself is asked ([Deps].Halted), and the guest resumed
// ([Deps].Wake) where libvirt said that it had the target drop it, and the target has none.
//
// # Guarantees
//
// "moved" means that the target's libvirt said the guest of this UUID runs there and that it does not run at the
// source. "stayed" means the reverse, and that no migration is under way any more. All else is "unknown", and so is a
// post-copy that is not done. A paused guest is resumed at the source only when the target answered that it has no such
// guest. Nothing is ever destroyed, defined or undefined.
//
// # Non-guarantees
//
// A Move that is killed leaves libvirt's migration running: start it again, and it sees
// the job, or the moved guest. A client-managed migration ends with it: libvirt aborts it, and the guest stays.
// Blackout is not measured here: what QEMU reports is a pause.
package migrate
