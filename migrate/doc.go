// Package migrate moves one running guest from one node to another, live, and says
// truthfully where it runs afterwards.
//
// Start with [Move]. It takes a [Request] (which guest, from where, to where), and returns a
// [Record] of everything that was done and measured. The hypervisor is reached through
// [Deps]; package libvirt/client makes the real connections.
//
// # The course of a move
//
//	check → admission, slot → pre-flight → predict → (make images) → migrate ⇄ decide → rest → verify → (settle disks) → record
//
// Each part is a type with its own fields; [Move] wires them:
//
//	move.go          the move itself, in the order above; mover.go has what its parts share
//	window.go        the time that it has, and the reserve for aborting and verifying
//	account.go       the record, and log and progress meanwhile
//	admission.go     the queue of moves and the slot
//	start.go         how the rule wants the migration started
//	attempts.go      the migration, and again where another attempt makes sense (attempt.go: the rule for that)
//	migration.go     the migration under way: sample, ask the rule, do what it says
//	job.go           libvirt's job at the source: what is known of it and can be told to it; abort.go ends it
//	silence.go       the watch over a target that may be gone
//	verification.go  the evidence of where the guest runs; package verify decides
//	recovery.go      a post-copy that failed
//	relaying.go      the relay's begin and end; package events has the events that it follows
//
// The course in detail:
//
//   - A slot ([Slots]) bounds how many guests of this node move at once: migrations that share
//     a link spoil each other's pause. The dirty rate is measured while a guest waits for its turn.
//     Where there is a queue of moves ([Queue], the node daemon's), it admits them, in its order and as many at
//     once as it says; without one, one guest goes at a time.
//   - The pre-flight asks both ends everything that can be asked before anything is changed.
//     What it finds is a [Refusal], and the guest was not touched. [Examine] asks the same questions without the move.
//   - The prediction ([Forecast]) stands in the record beside what was measured: the rule is run on a simulated guest of
//     which as much is known. What a move teaches of the link to its target ([LearnLink]) and of the guest
//     ([LearnGuest]) makes the next one better. Package drain, which plans for many guests, has a simpler model,
//     which is monotone: it knows nothing of bursts, of the clock and of second begins.
//   - The migration is peer to peer, so that no client stands in the pause; this process manages it only where the
//     source's daemon does not reach the target's. One rule decides how it is
//     begun and what is done to it on the way ([Policy.Decide]): how long the last copy may take,
//     whether the guest is slowed down, when it goes on at the target before all of its memory is
//     there, and when all of that is no use. The engine carries it out.
//   - The first passes are copied at a bounded rate, where nobody asked for another: what is in the
//     buffers of the connection when the guest is stopped is part of its pause.
//   - What a slow link does not carry in time is compressed, by the guess that it shrinks to a half, if several
//     connections are allowed; what it did
//     shrink to is in the record.
//   - A guest that writes one set of pages again and again faster than the link carries them is moved with XBZRLE, which
//     costs the guest nothing. QEMU 10.0 refuses it with several connections (migrate_caps_check in migration/options.c),
//     and leaves it out in post-copy.
//   - What of TCP comes in for the guest at the source during its pause is kept, and forwarded once the network knows the
//     guest at the target ([Relay]; package relay has the why and how). It follows the events that are heard,
//     and hinders nothing: a move without it is as good, but for clients that were sending.
//   - From the guest's STOP until it runs again the engine asks the hypervisor nothing, nor in
//     the moment after a new pass, in which the STOP of a quiet guest comes.
//   - A guest that runs at the target is left alone for a second ([Request.Rest]), where no other guest waits
//     for the end of its move: it begins with cold caches, and needs the processors itself.
//   - A return code is never believed: both ends are asked where the guest runs, again
//     and again until their answers fit together or the time is up.
//
// # The pre-flight
//
// One list of questions, each bounded and each with a rule of its own. Of the target: is it another host, without the
// guest; has it the emulator, machine type and devices (its libvirt is asked for the command line), memory (a lack is a
// warning, as [JudgeMemory] says), huge pages, processor, disks, networks and bridges, firmware files, swtpm. Of the way
// there: does the name that the target calls itself by lead to it from here? libvirt's target has the memory sent
// to that name; where it does not, [Request.MigrateURI] is set to the host of [Request.TargetURI].
//
// The last question goes to libvirt itself: the source's daemon is asked for the very migration, with a description for
// the target that it cannot read, and so does all of its own checks, connects to the target, and stops
// (client.Conn.Rehearse). That finds what no list here has: snapshots, devices that cannot migrate, caches that are
// not safe, keys that root's daemon does not have. Where the daemon cannot connect and this process can, the move is
// client-managed, and a note says so.
//
// What cannot be asked is a note, and no refusal: a list of network devices without the loopback device, a libvirt without
// storage driver, Xen's driver, which cannot be asked beforehand.
//
// # After a move that failed
//
// The guest goes on at the source, and the record has the time that each means took ([Record].Rungs). [MayTryNext]
// tells whether another target makes sense. The lower rungs of the ladder, which end the guest
// here so that it is brought back elsewhere, are package resource's.
//
// # Disks
//
// Where [Request.Disks] asks for it, disks that the target does not see are copied by the hypervisors (over
// NBD), all of them before the first byte of memory. That takes as long as it takes: only the window and
// a link that carries nothing end it, and the policy reckons with what comes after it. libvirt mirrors
// what the guest writes until its switchover, and ends that while the guest stands still: some
// 4 ms of its pause, for a guest that writes little. Synchronous writes were measured to make that no shorter.
//
// The engine makes the images at the target itself, through a storage pool, before libvirt would:
// so they lie behind a mark from their first byte on, and are removed where a move comes to nothing, which libvirt
// does not promise. libvirt overwrites a file that is there already without a question; so none
// may be. What is on storage that other nodes may have mounted is not copied, and nothing is removed that the move did
// not make. What keeps anybody from using an older copy is package disks.
//
// Whether the target has a disk is asked of its libvirt in each mode: of every image, of those that it is based on, and
// of volumes. What it lacks is a refusal, but for a medium that libvirt leaves out (startupPolicy).
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
// libvirt's driver for Xen copies a guest and lets it go on at the target, and that is all that can be had of it: no
// limit for the pause, no speed, no abort, no post-copy, no figures but the time, no events. What a driver can do is one
// fact ([libvirt.Driver].JobControl), asked before the move is begun: nothing is called that is not there, what was wished for is
// left out with a note or refused, and the record says that the budget cannot be held ([BudgetHeld]). A migration that
// the driver cannot abort is aborted without it where that is possible ([Deps].Abort), and else awaited until the
// deadline.
//
// Such a driver does not notice in time either that its target has died. The engine asks the target itself while
// the guest is copied, and gives the migration up after 15 s in which the target's host gave no answer at
// all, and the source did ([ErrTargetSilent]): a cluster manager may wait for this very move before it fences.
//
// Nor does that driver know a guest's state by itself. One that is paused for a switchover that failed
// is running in its words, so that the hypervisor itself is asked ([Deps].Halted), and the guest resumed
// ([Deps].Wake) where libvirt said that it had told the target to drop it, and the target has none.
//
// # Guarantees
//
// "moved" means that the target's libvirt said the guest of this UUID runs there and that it does not run at
// the source. "stayed" means the reverse, and that no migration is under way any more. All else
// is "unknown", and so is a post-copy that is not done. A paused guest is resumed at the source only when the target answered
// that it has no such guest. Nothing is ever destroyed, defined or undefined.
//
// # Non-guarantees
//
// A Move that is killed leaves libvirt's migration running: start it again, and it sees
// the job, or the moved guest. A client-managed migration ends with it: libvirt aborts it, and the guest stays.
// The pre-flight sees no migration_host of the target's qemu.conf, no socket of vhost-user, and nothing of a firewall
// between the hypervisors. Blackout is not measured here: what QEMU reports is a pause.
package migrate
