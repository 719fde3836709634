// Package resource is the OCF resource agent ocf:vmferry:Domain: a guest of libvirt's
// QEMU or Xen driver as a resource of Pacemaker, and a drop-in for ocf:heartbeat:VirtualDomain
// and ocf:heartbeat:Xen.
//
// Start with [Agent.Run], which does one action ("start", "stop", "monitor", …) and
// returns nil or an [*Error] with the OCF exit code and the reason in words. [Environ]
// is what Pacemaker says in OCF_RESKEY_* variables, read by [ParseEnviron]. The program
// around it is cmd/vmferry-agent.
//
// # Truth
//
// Each decision starts from an observation by package observe: libvirt's answer, and the QEMU process as the kernel
// shows it (package hostproc) or the domain as Xen lists it (package hostproc/xl). Package hostproc/local chooses.
// "Cannot tell" is a state of its own and is never reported as stopped.
//
// Of a guest of Xen's the hypervisor is believed before libvirt, whose driver says what it did last. One that reboots
// is nowhere for a moment, which is waited for.
//
// # Actions
//
// action.go has the list of actions, and [Agent.Run]. Each action is in the file of its name or of its kind: one pure
// rule, such as decideStop, and what carries it out. decide_test.go has the tables of all rules.
//
//   - start: find out where the guest is (locate.go, package elsewhere), then boot it or fetch it (start.go).
//   - stop: save, shut down, destroy, kill. Its doc comment says what happens while libvirtd does not answer (stop.go).
//   - migrate_to and migrate_from (migrate.go), monitor and reload-agent (monitor.go), validate-all (validate.go).
//
// Of a guest whose disks are mirrored, a start judges first whether the current copy is here, and makes a replica here
// the current one where it may; a stop has the replica get the rest (mirror.go, mirrorknown.go, package migrate/mirror).
//
// Where a guard is set up on the node, start and migrate_to ask it (lease.go). A guest that runs is the guard's to
// kill.
//
// What several actions use is below them: the notes of the guest (guestnotes.go), its disks (images.go),
// its saved state (saved.go), its config file (config.go), what a migration left behind (arrival.go), and the state of
// a call (agent.go).
//
// # Time
//
// The action's timeout comes from OCF_RESKEY_CRM_meta_timeout. All work ends a
// little before it, each question to libvirt has a deadline of its own, and a stop keeps
// a reserve in which it can destroy and then kill (budget.go).
//
// # Files
//
// What is to be known at the next call is noted in small files below /run/vmferry and /var/lib/vmferry: package notes
// has a table of them.
//
// Beside the guest's disks, where they are copied when it moves (disks): which copy is the truth,
// see package migrate/disks.
//
// # The ladder
//
// A guest that cannot be moved live is saved to shared storage, shut down or destroyed by the stop with
// which the cluster manager follows a migrate_to that failed (evacuation.go). What is
// saved is restored by a start, on whichever node, exactly once (saved.go, package savedstate).
package resource
