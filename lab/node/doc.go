// Package node boots and breaks the lab's nodes.
//
// A node is a systemd-nspawn container that boots a real systemd from an
// overlay of the lab's image: to libvirt, Corosync and Pacemaker it is a
// machine of its own. Everything a node consists of lives in the process,
// mount and network namespaces of the lab's supervisor, so that nothing can
// survive it.
//
// [Spec] says what a node is, [Boot] starts one, and [Node] is a running one:
// it can be entered ([Node.Command]) and killed as a power cut would
// ([Node.Kill]). A node that reboots ends as one that powers off does, and says
// so ([Node.Rebooted]): whoever holds the power switch boots it again.
//
// What makes a node one of the cluster ([PrepareAs], filled from files/) is the same
// for nodes that are no containers; what is different for those is an [Outfit].
package node
