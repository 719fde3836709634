// Package guest makes the virtual machines that the lab moves, breaks and
// restarts.
//
// A guest is Debian's own kernel and an initramfs with three things in it: the
// program of lab/guest/init as process 1, the blackout reflector, and the few
// modules that both need. A guest with a game server has that too, in an
// initramfs of its own. It has one network card on the node's bridge and one
// qcow2 disk on shared storage, whose record (lab/guest/disk) proves afterwards
// that the guest ran once and lost nothing.
//
// What a hypervisor makes of a guest (its devices, the modules for them, its
// description) is a platform: QEMU's PC, emulated or with KVM, and Xen's PVH
// domain, which has no disk. Everything else is the same.
//
// A move is measured at three depths, as an emulated guest starts without
// translated code on its new node and does different amounts of work before it
// answers:
//
//	kernel         ICMP echo and TCP acknowledgements: what the network and the
//	               hypervisor decide, and the interrupt path of the guest's kernel
//	light service  [ReflectorPort], lab/guest/light: in addition one process that is
//	               woken and makes two or three system calls
//	real service   [GamePort], Debian's teeworlds-server: a game server with one
//	               thread and 50 ticks a second, for guests with [DomainSpec].Game;
//	               package lab/game is its client
//
// The full reflector of the product is on [BlackoutPort]. It is a Go program, which
// an emulator translates for tenths of a second after a move: tests use it that need
// its cookies and quotas, and no figure of a move is taken from it.
//
// [Build] makes kernel and initrd, once for all guests. [CreateDisk] makes a
// disk, [Domain] the libvirt XML of one guest, [XLConfig] the same for xl, [Ask] reads the status line of a
// running guest, and [ReadDisk] the record of any image. Only Build and
// CreateDisk run programs (xz, zstd, qemu-img).
//
// The boot is as short as an emulated processor allows: the kernel is handed
// over uncompressed and entered through PVH, so that neither the guest nor its
// firmware unpacks anything.
package guest
