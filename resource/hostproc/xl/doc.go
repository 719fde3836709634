// Package xl sees and ends the guests of Xen on this node without asking libvirt.
//
// libvirt's driver for Xen says what it did last with a guest: it does not know of a domain that it lost, nor
// that one is paused since a migration failed. The hypervisor does, and xl(1) asks it. Start with [Host.Find].
//
// # What an answer means
//
// A listing without an error is a proof, as package hostproc has it: what is not in it has no domain here. A
// listing is believed only where every line of it was understood and Domain-0, which cannot be missing,
// is among them. Else the error is [hostproc.ErrIncomplete], "cannot tell".
//
// A domain has many names in its life. xl receives one as NAME--incoming and leaves it behind as
// NAME--migratedaway; one that is being destroyed has none, which is written (null). The UUID stays, and goes
// before the name. A domain is here until it is in no listing any more: one that was shut down or is dying
// may still have its disks open, and one that reboots is made again under another number, so that for
// a second or two there is none.
//
// # What copies a guest
//
// libvirt's driver for Xen cannot abort a migration or a save. libxl, which it calls, can: it copies in a process of
// its own, a child of libvirt's daemon, which ends in order on SIGTERM. [Host.Abort] finds the one that copies this
// guest, and never sends anything else.
//
// # Not to be mixed
//
// libvirt does not know a domain that xl made or moved. So nothing here makes or moves one; what ends one
// is for a libvirt that does not answer.
package xl
