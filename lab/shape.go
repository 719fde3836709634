package lab

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vmferry/vmferry/lab/node"
	"github.com/vmferry/vmferry/lab/supervisor"
)

// Shape is how a lab's cluster is laid out: which nodes there are, and how alike they are.
type Shape string

// The shapes. Those that run Xen are plain.
const (
	// Plain is two nodes that have the same of everything, whose libvirt knows the name by which the other one reaches it.
	Plain Shape = "plain"
	// Field is a cluster as people have them: three nodes, each with a host name that nothing resolves and a libvirt that
	// knows no other; a file system for the guests' definitions that the cluster itself mounts; an ISO image, a
	// bridge and a network that only the first node has. See [cluster.Cluster.Furnish].
	Field Shape = "field"
	// Guard is two nodes that have no power switch: vmferry's guard fences them. See package guarded.
	Guard Shape = "guard"
	// Mirror is two nodes that share no disk: what a guest writes is mirrored to the other one. See package mirrored.
	Mirror Shape = "mirror"
)

// Nodes are the cluster of a plain lab.
var Nodes = []node.Spec{
	{Name: "node1", ID: 1, Address: netip.MustParseAddr("10.77.0.1")},
	{Name: "node2", ID: 2, Address: netip.MustParseAddr("10.77.0.2")},
}

// NodesOf are the nodes of a shape; "" is [Plain].
func NodesOf(s Shape) ([]node.Spec, error) {
	switch s {
	case Plain, Guard, Mirror, "":
		return Nodes, nil
	case Field:
		all := append(slices.Clone(Nodes), node.Spec{Name: "node3", ID: 3, Address: netip.MustParseAddr("10.77.0.3")})
		for i := range all {
			all[i].Host = all[i].Name + ".kvm.example"
		}
		return all, nil
	}
	return nil, fmt.Errorf("the lab knows no shape %q: use %s, %s, %s or %s", s, Plain, Field, Guard, Mirror)
}

// layOut says which nodes a lab with the hypervisor has in the shape.
func layOut(s Shape, hypervisor string) ([]node.Spec, error) {
	nodes, err := NodesOf(s)
	if err == nil && s != Plain && s != "" && hypervisor != supervisor.QEMU {
		err = fmt.Errorf("a lab of the shape %q runs on %s alone", s, supervisor.QEMU)
	}
	return nodes, err
}
