// Package diskcopy copies the disks of a guest that are not on shared storage, with the guest that is migrated live.
//
// The pre-flight decides which disks are copied, and hands over a [Plan] of each. libvirt itself copies them, before
// the first byte of memory; a [Copy] does the rest:
//
//	Create → images at the target, each behind a mark, and a note here → (libvirt copies, a Meter judges) →
//	HandOver: from here on the guest may run at the target → Finish: by how the move ended
//
// What is beside an image, and which copy of it may be used after a crash, is package disks'. What Finish does:
//
//	moved      the image here is put aside; at the target the mark goes, with what an earlier stay left there
//	stayed     the unfinished copy at the target is removed, if this move made it, and then the mark and the note
//	undecided  nothing is touched: neither node starts the guest before a person has looked
//
// # How libvirt copies
//
// Over NBD, all disks before the first byte of memory. That takes as long as it takes: only the window and a link that
// carries nothing end it ([Meter]). libvirt mirrors what the guest writes until its switchover, and ends that while the
// guest is paused: some 4 ms of its pause, for a guest that writes little. Synchronous writes were measured to make
// that no shorter.
//
// The images at the target are made here, through a storage pool, before libvirt would: so they lie behind a mark from
// their first byte on, and are removed where a move fails, which libvirt does not promise. libvirt overwrites a file
// that is there already without a question; so none may be. What is on storage that other nodes may have mounted is not
// copied, and nothing is removed that the move did not make.
package diskcopy
