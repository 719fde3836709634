// Package hostproc finds the QEMU process of a guest without asking libvirt.
//
// libvirt may be dead, blocked, or have forgotten a guest. The kernel has not:
// a guest runs on a node exactly as long as its QEMU process does. This package
// reads that process from libvirt's pid file and from /proc, names it by the
// -name and -uuid that libvirt put on its command line, and kills it through
// a pidfd, so that neither the kill nor the proof of its end can hit another
// process that got the same number.
//
// Start with [Host.List] for all guests of a node, [Host.ListAll] for these and what libvirt has started beside them, or
// [Host.Find] for one. Package xl does the same for the domains of
// Xen, in the words of this package, and package local chooses between the two. [Host.Helpers] finds what works for
// libvirt's daemon beside the guests.
//
// # Whose a process is
//
// Any user can give a process the name and the command line of a guest's QEMU, or remove its command line. So a process
// counts only when it is libvirt's. That is judged first, by facts that the user of the process cannot choose. One of
// these must hold:
//
//   - Its control group is a guest's, below slices and libvirt's partitions only. A group of that name below a user's own
//     service manager, a service or a container is not a guest's.
//   - libvirt's pid file names it, in a directory that only root may write. The process holds the lock of the file, or
//     is not younger than the file.
//   - It runs as root or as QEMU's user (qemu.conf), in libvirt's service or where there are no services, and not in a
//     PID namespace below. In another service or in a session root must run it, and the file that it executes must be
//     a QEMU that is not set-user-ID, as when an administrator starts one by hand. Nothing in a container counts.
//
// What libvirt noted overrides the command line too: a QEMU whose command line names another guest than its control
// group or its pid file is a doubt about the guest of these, and proves nothing about the other.
//
// To read stat, status, cgroup and cmdline needs no capability, unless /proc is mounted with hidepid. To read exe and
// auxv needs CAP_SYS_PTRACE. Without that, a QEMU that root started by hand is not found, and on a node without
// services a set-user-ID program is not recognised.
//
// # Why not prometheus/procfs
//
// It parses stat, status and cgroup too, and nothing else of what this package does: it has no auxiliary vector, judges
// no control group, opens the files by the process's number alone, and reads in the caller's goroutine, so that one
// QEMU in a storage stall would block the scan. Here the start time is read before and after all
// else of a process, so that facts of two processes with one number are not mixed, and what can block is read beside
// the scan.
//
// # What an answer means
//
// A listing without an error is a proof: what is not in it has no process here.
// A listing with an error may lack some; callers must read it as "cannot tell"
// and never as "stopped". [ErrIncomplete] is in all such errors.
//
// A search for one guest fails only for a process that may be that guest's. Where the command line does not tell, the
// guest is known by the control group, which libvirt names after it, or else by libvirt's pid file. What works
// beside QEMU (qemu-pr-helper, swtpm, virtiofsd and their kind) is no guest. A process whose
// command line cannot be read, since it holds its memory lock, is judged by what the kernel tells without that.
//
// # What blocks
//
// A read of a process's file may wait for what that process waits for, such as a storage that is cut off:
//
//   - auxv and environ while the process is in execve(2), which closes files and gives up memory under exec_update_lock. So
//     do stat, exe and the links in fd on newer kernels (seen with 6.18). A file that is open on a FUSE or network file
//     system without a server is enough: the close waits for its flush.
//   - cmdline while the process, or who maps memory for it, holds its memory lock.
//   - stat and status where the process ends meanwhile: the reader then takes its memory apart, as the last who has it.
//
// To read status, cgroup and comm takes none of these locks. So each process is asked about in goroutines beside the
// caller, first with all files, then without auxv, then by status, cgroup and cmdline alone. By these a process that is
// not QEMU's user's or root's, is in a container, or is in execve outside a guest's control group is no guest's, and
// the listing stays a proof. Any other is a doubt. [Host.Daemons] has the same for what libvirt has forked: such a
// process in libvirt's service, or on a node without services of an unknown parent, is a doubt there. A process that
// blocks is waited for once, not again before the read of it has returned, and costs a few threads at most; there is a
// limit for all together.
package hostproc
