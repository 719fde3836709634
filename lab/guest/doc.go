// Package guest makes the virtual machines that the lab moves, breaks and
// restarts.
//
// A guest is Debian's own kernel and an initramfs with three things in it: the
// program of lab/guest/init as process 1, the blackout reflector, and the few
// modules that both need. It has one network card on the node's bridge and one
// qcow2 disk on shared storage, whose record (lab/guest/disk) proves afterwards
// that the guest ran once and lost nothing.
//
// What a hypervisor makes of a guest (its devices, the modules for them, its
// description) is a platform: QEMU's PC, emulated or with KVM, and Xen's PVH
// domain, which has no disk. Everything else is the same.
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
