package cluster

import (
	"context"
	"strings"
	"testing"
)

var twoGuests = []Guest{{Name: "vm1", Config: "/shared/guests/vm1.xml"},
	{Name: "vm2", Config: "/shared/guests/vm2.xml"}}

// heartbeatOn is Heartbeat on a hypervisor, of a lab that is not up.
func heartbeatOn(h Hypervisor) Heartbeat { return Heartbeat{&Cluster{Hypervisor: h}} }

func TestLines(t *testing.T) {
	want := "node1 vmferry::/shared/guests/vm1.xml::hypervisor=qemu:///system::migration_transport=tcp\n" +
		"node1 vmferry::/shared/guests/vm2.xml::hypervisor=qemu:///system::migration_transport=tcp\n"
	if got := heartbeatOn(QEMU).lines(twoGuests, "node1"); got != want {
		t.Errorf("got %q", got)
	}
	want = strings.ReplaceAll(want, "qemu:", "xen:")
	if got := heartbeatOn(Xen).lines(twoGuests, "node1"); got != want {
		t.Errorf("got %q", got)
	}
}

func TestCovers(t *testing.T) {
	lines := heartbeatOn(QEMU).lines
	list := lines(twoGuests, "node1")
	for _, test := range []struct {
		held, name, list string
		want             bool
	}{
		{"all", "node1", list, true},
		{"all", "node2", list, true},
		{"local", "node1", list, true},
		{"foreign", "node2", list, true},
		{"local", "node2", list, false},
		{"foreign", "node1", list, false},
		{"none", "node1", list, false},
		{"transition", "node1", list, false},
		{"local", "node1", list + lines(twoGuests[:1], "node2"), false},
		{"all", "node1", list + lines(twoGuests[:1], "node2"), true},
		{"none", "node1", "", true},
	} {
		err := covers(test.held, test.list, test.name)
		if (err == nil) != test.want {
			t.Errorf("%s on %s: %v", test.held, test.name, err)
		}
	}
}

func TestHeartbeatRunsOurAgentAlone(t *testing.T) {
	c := &Cluster{Control: t.TempDir() + "/none", Nodes: []string{"node1", "node2"}}
	for _, m := range c.Managers() {
		if len(units[m.Name()]) == 0 {
			t.Errorf("nobody knows what %s consists of", m.Name())
		}
	}
	err := Heartbeat{c}.AddGuests(context.Background(), VirtualDomain, twoGuests, "node1")
	if err == nil || err.Error() != "run guests with ocf:heartbeat:VirtualDomain: unknown agent for Heartbeat" {
		t.Errorf("got %v", err)
	}
}
