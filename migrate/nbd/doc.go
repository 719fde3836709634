// Package nbd is a client of the Network Block Device protocol over a local socket, as QEMU and qemu-nbd serve it: it
// reads and writes an export, and asks which parts of it are dirty or allocated. Start with [Dial].
//
// The server is not trusted: each length that it sends is checked before it counts, and a reply that does not fit its
// request is an error.
//
// Source: doc/proto.md of github.com/NetworkBlockDevice/nbd, "fixed newstyle" with structured replies;
// docs/interop/nbd.txt of QEMU for the contexts "qemu:dirty-bitmap:NAME".
package nbd
