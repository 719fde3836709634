// Package supervisor is the process that a running lab consists of.
//
// It lives in a process namespace of its own, below an [Init], with mount, network, IPC and host
// name namespaces of its own: the bridge, the nodes' file systems and every
// process of every node are in there with it. When process 1 ends, by whatever means,
// the kernel takes all of that away; only files and empty cgroups can remain,
// and [Clean] removes those.
//
// Nodes are containers or machines with Xen ([Config].Hypervisor): the supervisor
// boots and kills both through one interface, machine, and what differs is in
// platform.go.
//
// While it lives it boots nodes, and it answers two sockets. The control
// socket is for the lab's own commands. The other one is the power switch that
// the nodes' fence agent reaches; it knows only power actions, and it says
// that a node is off only after it saw that nothing of the node is left.
package supervisor
