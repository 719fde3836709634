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
	h := heartbeatOn(QEMU)
	list := h.lines(twoGuests[:1], "node1") + h.lines(twoGuests[1:], "node2")
	for _, test := range []struct {
		held, name  string
		first, last bool
	}{
		{"all", "node1", true, true},
		{"all", "node2", true, true},
		{"local", "node1", true, false},
		{"local", "node2", false, true},
		{"foreign", "node1", false, true},
		{"foreign", "node2", true, false},
		{"none", "node1", false, false},
		{"transition", "node1", false, false},
	} {
		for i, want := range []bool{test.first, test.last} {
			if err := covers(test.held, list, h.resource(twoGuests[i]), test.name); (err == nil) != want {
				t.Errorf("%s on %s, guest %d: %v", test.held, test.name, i+1, err)
			}
		}
	}
	if covers("all", h.lines(twoGuests[:1], "node1"), h.resource(twoGuests[1]), "node1") == nil {
		t.Error("a guest that is not on the list is held")
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
