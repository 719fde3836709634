// Package local chooses who sees the guests of a hypervisor on this node without its libvirt: package hostproc for
// QEMU's, package xl for Xen's. Start with [Of].
package local
