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
// # What an answer means
//
// A listing without an error is a proof: what is not in it has no process here.
// A listing with an error may lack some; callers must read it as "cannot tell"
// and never as "stopped". [ErrIncomplete] is in all such errors.
//
// A search for one guest fails only for a process that may be that guest's. Whose a process is that cannot be understood is
// told by its control group, which libvirt names after the guest, or else by libvirt's pid file. What works
// beside QEMU (qemu-pr-helper, swtpm, virtiofsd and their kind) is no guest. A process whose
// command line cannot be read, since it holds its memory lock, is judged by what the kernel tells without that.
package witness
