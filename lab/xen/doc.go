// Package xen boots and breaks the lab's nodes that run Xen.
//
// Xen wants a machine of its own, so each node is one: QEMU emulates it, Debian's
// hypervisor boots in it, and the node that the rest of the lab knows is domain 0,
// with the same Debian, the same cluster managers and the same vmferry as a node
// that is a container (package lab/node). Nothing of the machine's processor is
// needed but its patience: hardware virtualisation is neither used nor wanted,
// as the emulator has AMD's SVM with nested paging, which is what a PVH guest needs.
//
// [Image] is the recipe of what the machines boot. [Host] prepares a lab with
// machines in it and boots them; a [Machine] is a running one, and can be killed
// as a power cut would. [Command] runs a program in a domain 0.
//
// # How a machine is made
//
// QEMU loads Xen, with domain 0's kernel and a small initramfs ([Stock]; its
// process 1 is lab/xen/init) beside it. Three disks are stacked into one root, as
// the layers of a container are: the image and the product, which both machines
// read, and the node's own, which is written to. /shared is a folder of the host
// that both machines have through 9p; a file lock that one of them takes there is not seen by
// the other.
//
// A machine has two links. host0 is on the lab's bridge, where the clients are, and
// domain 0 puts it into a bridge br0 that its guests join. lab0 is for what
// does without a cable in a container: commands ([Command], over ssh) and the power
// switch ([Switch]). It stays when a test cuts host0.
//
// QEMU itself comes from the image too, and runs with the image as its root: the
// host need not have one.
package xen
