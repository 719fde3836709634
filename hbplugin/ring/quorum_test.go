package ring

import (
	"reflect"
	"testing"
)

func TestParseQuorum(t *testing.T) {
	const nodes = "nodelist.node.0.name (str) = n1\nnodelist.node.0.ring0_addr (str) = 192.0.2.1\n" +
		"nodelist.node.1.ring0_addr (str) = 192.0.2.2\nnodelist.node.x.name (str) = n9\n"
	both := []string{"n1", "192.0.2.2"}
	for text, want := range map[string]Quorum{
		"":                                   {},
		nodes:                                {Nodes: both},
		nodes + "quorum.two_node (u8) = 1\n": {Nodes: both, TwoNode: true, WaitForAll: true},
		"quorum.two_node (u8) = 1\nquorum.wait_for_all (u8) = 0\n":             {TwoNode: true},
		"quorum.wait_for_all (u8) = 1\nruntime.votequorum.two_node (u8) = 1\n": {WaitForAll: true},
	} {
		if got := ParseQuorum(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

func TestCluster(t *testing.T) {
	root := t.TempDir()
	if name, nodes, err := Cluster(root); name != "" || nodes != nil || err != nil {
		t.Errorf("no cluster: %q, %q, %v", name, nodes, err)
	}
	write(t, root, haCf, heartbeat)
	if name, nodes, err := Cluster(root); name != "linux-ha" || len(nodes) != 3 || err != nil {
		t.Errorf("heartbeat: %q, %q, %v", name, nodes, err)
	}
	write(t, root, CorosyncConf, corosync)
	if name, nodes, err := Cluster(root); name != "prod" || !reflect.DeepEqual(nodes, []string{"n1", "n2"}) || err != nil {
		t.Errorf("corosync: %q, %q, %v", name, nodes, err)
	}
}
