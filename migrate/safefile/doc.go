// Package safefile reads files from places where others may write, too: beside disk images, in directories for saved
// guests, on shared storage.
//
// Start with [Read], or [Open] for a file that is not read whole. They never wait for a FIFO, never read from a
// device, and read no more than the caller allows. With [Only] they take a file only from owners that the caller
// trusts. [Access] says who can replace a file between two looks at it, as its name is all that libvirt gets.
//
// # Links
//
// A symbolic link counts as its owner's word for where the file is: it is followed where the owner is trusted, which
// keeps an administrator's own links working, and is foreign otherwise. The kernel follows links in the path to the
// file; for a directory, Access judges these as well.
//
// # Limits
//
// A hard link has the owner of the file that it leads to. The kernel lets a user make one only to a file that the user
// may write to (fs.protected_hardlinks), so that it is no way to pass a foreign file for a trusted one. Access control
// lists that let others write show in the mode of the group (acl(5), the mask), and count as that.
package safefile
