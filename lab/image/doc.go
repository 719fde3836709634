// Package image builds what the lab's nodes boot from: a Debian tree with
// systemd, Corosync, Pacemaker, Heartbeat and libvirt in it, and the
// operators' programs pcs and crmsh. A [Recipe] is of one kind of image: [Node] is
// that of containers, with QEMU; other kinds add what they need.
//
// A built image is kept in a cache folder under a name that is a digest of
// everything that went into it, so a changed package list makes a new image
// and an unchanged one is never built twice.
package image
