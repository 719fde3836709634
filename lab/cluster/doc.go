// Package cluster speaks with the software inside the lab's nodes: it waits
// for the cluster manager, gives it guests to run, and asks what it thinks.
//
// The nodes have two managers, [Pacemaker] and [Heartbeat], of which one is
// masked; both keep the [Manager] contract, and [Manager.Take] moves the mask.
// A lab begins with Pacemaker.
//
// It must run inside the lab's namespaces ([lab.Lab.Enter]). Every call is a
// program of the node itself, started as an operator would start it on the node's
// console: in all of the node's namespaces, or over ssh where the node is a machine.
//
// [lab.Lab.Enter]: https://pkg.go.dev/github.com/vmferry/vmferry/lab#Lab.Enter
package cluster
