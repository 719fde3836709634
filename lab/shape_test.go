package lab

import (
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab/supervisor"
)

func TestNodesOf(t *testing.T) {
	for _, c := range []struct {
		shape     Shape
		nodes     int
		ownName   bool // the host name is the node's name
		hasFailed bool
	}{
		{"", 2, true, false},
		{Plain, 2, true, false},
		{Mirror, 2, true, false},
		{Field, 3, false, false},
		{"star", 0, true, true},
	} {
		nodes, err := NodesOf(c.shape)
		if len(nodes) != c.nodes || (err != nil) != c.hasFailed {
			t.Errorf("%q: %d nodes, %v", c.shape, len(nodes), err)
		}
		for i, n := range nodes {
			if n.ID != i+1 || (n.HostName() == n.Name) != c.ownName || !strings.HasPrefix(n.HostName(), n.Name) {
				t.Errorf("%q: node %d is %+v, host name %q", c.shape, i+1, n, n.HostName())
			}
		}
	}
	if nodes, _ := NodesOf(Plain); nodes[0].Host != "" {
		t.Error("the nodes of a plain lab were changed by the making of another shape")
	}
}

func TestLayOut(t *testing.T) {
	for _, s := range []Shape{Field, Guard, Mirror} {
		if _, err := layOut(s, supervisor.Xen); err == nil {
			t.Errorf("took Xen's nodes for a cluster of the shape %q", s)
		}
	}
	if nodes, err := layOut("", supervisor.Xen); err != nil || len(nodes) != 2 {
		t.Errorf("%d nodes, %v", len(nodes), err)
	}
	if nodes, err := layOut(Field, supervisor.QEMU); err != nil || len(nodes) != 3 {
		t.Errorf("%d nodes, %v", len(nodes), err)
	}
}
