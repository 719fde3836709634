// Package lab makes a cluster of real nodes on one machine, and takes it away
// again without a trace.
//
// [Lab.Up] builds the node image and the guest's kernel and initramfs (kept in
// a cache), starts the lab's supervisor in namespaces of its own, and the
// nodes boot. [Lab.Enter] runs a command inside those namespaces, where every
// node's processes can be seen and its addresses reached. [Lab.Down] ends the
// supervisor and removes what is left.
//
// Nodes are containers that run QEMU, or, where [Lab].Hypervisor says so, emulated
// machines that run Xen. [Lab].Shape says how many there are and how alike: a cluster of
// the shape [Field] has none of a laboratory's conveniences.
//
// The parts: lab/image builds the node's Debian tree, lab/guest the guests,
// lab/node boots and kills one node that is a container, lab/xen one that is
// a machine with Xen, lab/supervisor holds the running lab
// together, lab/cluster speaks with the software in the nodes, lab/scenario
// breaks things on purpose and measures what clients saw, with lab/xendomains as its
// eye in a domain 0, lab/partition parts nodes of the shape [Guard], which lab/guarded
// fits out, lab/torture breaks them at random, and lab/report writes that down.
// lab/mirrored fits out nodes of the shape [Mirror]. lab/hostile is a neighbour
// without rights who attacks the nodes.
//
// Nothing here is for production: the lab's network has no authentication,
// and it must not be reachable from anywhere. It is not: it has no link out.
package lab
