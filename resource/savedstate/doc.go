// Package savedstate keeps a guest's memory in a file beside its disks, from a stop on one node to a start on
// whichever.
//
// The file is libvirt's, NAME.state in the directory that the parameter snapshot or save_dir names. The agent of a stop
// has libvirt write it; the agent of a start reads it, and has libvirt restore it exactly once. While it is being
// written or restored it has another name; see [Files]. It is removed when the guest runs, and set aside where it is no
// use.
//
// [Place] is whose files lie there; libvirt opens a saved state by its name. [Decide] is the rule: what is known of the
// file, of the disks and of libvirt → restore it, boot the guest instead, or refuse to start.
package savedstate
