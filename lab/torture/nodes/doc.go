// Package nodes carries out the faults of package torture on the nodes of a running lab that are containers, within its
// namespaces: a node is frozen and killed by the lab's supervisor, and cut off by packet filters of its own.
// Its processes are found from outside, by their cgroup, so that a node that hangs can be looked at as well.
//
// Nodes share the machine's clock, so a step of one node's clock is not possible here, and the machine's disk, unless
// the lab gives each a file system of its own: such faults are skipped.
package nodes
