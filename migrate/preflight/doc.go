// Package preflight finds out, before anything is changed, whether a guest can be migrated live to a target.
//
// Start with [Run]. It asks the libvirts at both ends, reads what they say, and returns [Findings]: what the engine
// needs to know of the guest, the parameters that the migration begins with, and the disks that it copies. What keeps
// the guest from being migrated is a [Refusal], with what to do about it.
//
//	connect to the source → state and job of the guest there → connect to the target → checks, in their order → Findings
//
// The table of the checks is in preflight.go: the name of each, its time limit, and the function that makes it. Each
// reads what it needs from the hosts, and lets a pure rule decide. A new check is one function and one line there.
//
// # What is checked
//
// Of the target: is it another host, without the guest; has it the emulator, machine type and devices (its libvirt
// makes the command line), memory (too little is a warning, as [JudgeMemory] says), huge pages, processor, disks,
// networks and bridges, firmware files, swtpm. Of the way there: does the name that the target calls itself by resolve
// to it from here? libvirt's target has the memory sent to that name; where it does not, the URI of the migration is
// set to the host of the target's libvirt URI.
//
// Whether the target has a disk is asked of its libvirt in each mode: of every image, of those that it is based on, and
// of volumes. What it lacks is a refusal, but for a medium that libvirt leaves out (startupPolicy).
//
// The last check is libvirt's own: the source's daemon gets the request for the very migration, with a description for
// the target that it cannot read, and so makes all of its own checks, connects to the target, and stops
// (client.Conn.Rehearse). That finds what no list here has: snapshots, devices that cannot migrate, unsafe caches, keys
// that root's daemon does not have. Where the daemon cannot connect and this process can, the migration is
// client-managed, and a note says so.
//
// # What is not checked
//
// What cannot be asked is a note, and no refusal: a list of network devices without the loopback device, a libvirt
// without storage driver, Xen's driver, which has no rehearsal. A migration_host of the target's qemu.conf, a socket of
// vhost-user, and a firewall between the hypervisors are not seen.
package preflight
