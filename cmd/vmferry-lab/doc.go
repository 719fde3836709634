// Vmferry-lab makes a cluster of real nodes on this machine, shows what
// vmferry does on it, and takes it away again.
//
// It is one static program with three faces. An operator's is in commands.go
// and demo.go: up, demo, shell, status, down. As `vmferry-lab supervise` it is
// the running lab itself (package lab/supervisor), and under the name fence_lab
// it is the fence agent that Pacemaker calls in a node (package lab/fence).
//
// The commands that work inside the lab's namespaces begin with "inside-":
// [lab.Lab.Enter] starts this program once more to run them.
package main
