// Package cpio writes the "newc" archives from which the Linux kernel fills its
// first root file system.
//
// The format is the one of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst:
// members one after the other, each a header of 110 ASCII characters, a name
// and a body, padded to four bytes. Only what a lab guest needs is here:
// directories, regular files and character devices, uncompressed, because an
// emulated processor decompresses slowly. Device nodes are entries of the
// archive, so building one needs no privilege.
package cpio
