// Package image builds what the lab's nodes boot from: a Debian tree with
// systemd, Corosync, Pacemaker, libvirt and QEMU in it.
//
// A built image is kept in a cache folder under a name that is a digest of
// everything that went into it, so a changed package list makes a new image
// and an unchanged one is never built twice.
package image
