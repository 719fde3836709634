// Package xendomains says which domains a Xen hypervisor has and whether each of
// them executes, from within its dom0 and without libvirt or xl: neither of
// those may be what judges them.
//
// [Main] is the program that runs in dom0, the lab's own under another name
// ([ProgramName]). It asks the hypervisor itself, many times a second, and
// tells whoever connects: a [Look] as a line of JSON whenever something changed, and a few times
// a second when nothing did, so that whoever reads knows a silent stream from
// a quiet one. [Parse] reads such a line.
//
// A look is one hypercall (XEN_SYSCTL_getdomaininfolist, in Xen's
// public/sysctl.h), which costs an emulated dom0 a fraction of what one call of
// xl does. That interface belongs to one release of Xen: the lab's is 4.20, and
// any other one refuses to answer.
package xendomains
