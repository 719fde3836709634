// Package local chooses how the guests of a hypervisor on this node are found without its libvirt: package hostproc for
// QEMU's, package xl for Xen's. Start with [Of].
package local
