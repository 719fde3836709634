// Package disks keeps track of which copy of a disk image is current, for guests whose images
// are not on shared storage and are copied when they move.
//
// After such a move two nodes have an image of the same name, and only one may ever be used again.
// What says so lies beside the image, where an operator sees it with ls, and where it stays with
// the image whatever becomes of the rest of the node:
//
//	/srv/web.img.vmferry           on the node that the guest moves away from: to whom, when, how far; a [Note]
//	/srv/web.img.vmferry-arriving  on the node that it moves to: the image is not whole yet; nothing but zeros
//	/srv/web.img.vmferry-old       on the node that it has left: the image itself, renamed
//	/srv/web.img.vmferry-old-1     what had that name, and was not of a move: nothing removes it
//
// Start with [Check], which says whether a guest may be started with an image, and
// [Begin], which is what a move does first.
//
// # The course of a move
//
// At the node that the guest leaves:
//
//	Begin → copying → HandOver → handing over → Moved: the image is renamed, and the note says "moved"
//	                                          → Stayed: there is no note, or one of an incomplete copy that is left over
//
// At the other the mark "arriving" is made before the image, and removed once the guest runs there, by whoever
// sees it first: the one who moves it, or the agent there ([Arrived]).
//
// # What may be removed
//
// The mark is as many bytes long as the note says, a number drawn for this move (it takes up no room). An incomplete
// copy is removed only where the note says that the move made it, and the mark of that size lies in the same directory:
// so not after a file system was mounted over that, nor where another move, or a person, put a file there. The check
// and the removal are two calls of libvirt's, some milliseconds apart. An old copy is removed where the note beside it
// is of the same guest. Nothing is copied from, or put aside on, a file system that other nodes may have mounted
// ([SharedBy]).
//
// # Whose files count
//
// A file counts only where it is a regular one of root, QEMU's user, or who owns the image or its directory: others may
// be allowed to create files there, and would keep the guest from being started. All else is ignored ([Foreign]), and
// is renamed where a note needs its name.
//
// # What a crash leaves
//
//   - While disks are copied: the source's image is current, and may be started from. The
//     target's is marked, and may not.
//   - Between the end of the copying and the end of the move, usually less than a
//     second, it is not known: the guest may have run at the target. Both nodes refuse, and say
//     what to remove once a person has found out.
//   - Afterwards the source has no image of the name at all, so that nothing can start from
//     the old one by mistake, also vmferry or another tool.
//
// # Limits
//
// The note is written when the memory begins to flow, not in one step with it. Where
// the source and the target both crash within that moment of a few milliseconds, the source's
// image passes for the current one.
package disks
