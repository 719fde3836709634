// Package witness finds the QEMU process of a guest without asking libvirt.
//
// libvirt may be dead, blocked, or have forgotten a guest. The kernel has not:
// a guest runs on a node exactly as long as its QEMU process does. This package
// reads that process from libvirt's pid file and from /proc, names it by the
// -name and -uuid that libvirt put on its command line, and kills it through
// a pidfd, so that neither the kill nor the proof of its end can hit another
// process that got the same number.
//
// Start with [List] for all guests of a node, or [Host.Find] for one. Package xl does the same for the domains of Xen,
// in the words of this package, and package local chooses between the two. [Host.Helpers] finds what works for libvirt's
// daemon beside the guests.
//
// # Whose a process is
//
// Anybody on a node can give a process the name and the command line of a guest's QEMU, or take its command line away
// . So a process counts only when it is libvirt's, which is judged before anything else of it, by what its
// user cannot choose. One of these must hold:
//
//   - Its control group is a machine's, below slices and libvirt's partitions alone. What a user's own service manager, a
//     container or a service names so is none.
//   - libvirt's pid file names it, in a directory that only root may write. The process holds the file's lock, or
//     is no younger than the file.
//   - It runs as root or as QEMU's user of qemu.conf, in libvirt's service or where there are no services, and not in a
//     PID namespace below. In other services and in sessions it must be root's, and the file that it executes
//     must be a QEMU that is not set-user-ID: an administrator may start one by hand. What is in a container never counts.
//
// What libvirt noted goes before the command line as well: a QEMU that claims to be another guest than its
// control group or its pid file says is a doubt about the guest that it is, and no word about the other.
//
// The status, stat and cgroup files of a process need no capability, nor does a command line. Where the file that a process executes
// cannot be read (without CAP_SYS_PTRACE), a QEMU that root runs by hand is not counted, and a
// set-user-ID program is not told from others where no service manager keeps users' processes apart.
//
// # What an answer means
//
// A listing without an error is a proof: what is not in it has no process here.
// A listing with an error may lack some; callers must read it as "cannot tell"
// and never as "stopped". [ErrIncomplete] is in all such errors.
//
// A search for one guest fails only for a process that may be that guest's. Which guest's a process is that cannot be understood is
// told by its control group, which libvirt names after the guest, or else by libvirt's pid file. What works
// beside QEMU (qemu-pr-helper, swtpm, virtiofsd and their kind) is no guest. A process whose
// command line cannot be read, since it holds its memory lock, is judged by what the kernel tells without that.
package witness
