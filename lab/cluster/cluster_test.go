package cluster

import (
	"context"
	"encoding/xml"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const twoNodes = `<pacemaker-result api-version="2.38" request="crm_mon">
  <summary><current_dc present="true" version="3.0.0" name="node1" id="1" with_quorum="true"/></summary>
  <nodes>
    <node name="node1" id="1" online="true" standby="false" unclean="false" pending="false" type="member"/>
    <node name="node2" id="2" online="true" standby="true" unclean="false" pending="false" type="member"/>
  </nodes>
  <resources>
    <resource id="vm1" resource_agent="ocf:vmferry:Domain" role="Started" active="true" blocked="false" failed="false">
      <node name="node1" id="1" cached="true"/>
    </resource>
  </resources>
</pacemaker-result>`

func TestParseMonitor(t *testing.T) {
	m, err := parseMonitor([]byte(twoNodes))
	if err != nil {
		t.Fatal(err)
	}
	if !m.Ready("node1") {
		t.Error("node1 is a member")
	}
	for _, name := range []string{"node2", "node3"} {
		if m.Ready(name) {
			t.Errorf("%s is not a full member", name)
		}
	}
	vm := m.Resources["vm1"]
	if vm.Agent != Ours.String() || vm.Role != "Started" || !slices.Equal(vm.On, []string{"node1"}) {
		t.Errorf("got %+v", vm)
	}
	for _, change := range []string{`present="true"`, `with_quorum="true"`} {
		m, err := parseMonitor([]byte(strings.Replace(twoNodes, change, strings.Replace(change, "true", "false", 1),
			1)))
		if err != nil || m.Ready("node1") {
			t.Errorf("ready without %s: %v", change, err)
		}
	}
	if _, err := parseMonitor([]byte("crm_mon: Connection to cluster failed")); err == nil {
		t.Error("took a complaint for an answer")
	}
}

func FuzzParseMonitor(f *testing.F) {
	f.Add([]byte(twoNodes))
	f.Add([]byte("<a>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := parseMonitor(text); err == nil && m.Nodes == nil {
			t.Error("no error and no answer")
		}
	})
}

// Only the agent's name may differ between what the two agents are given.
func TestConfigurationIsTheSameForBothAgents(t *testing.T) {
	render := func(a Agent) string {
		text, err := Configuration(QEMU, a,
			[]Guest{{Name: "vm1", Config: `/shared/"a&b".xml`}, {Name: "vm2", Config: "/shared/vm2.xml"}}, "node1")
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	ours, peer := render(Ours), render(VirtualDomain)
	ours = strings.NewReplacer(`provider="vmferry"`, `provider="heartbeat"`, `type="Domain"`,
		`type="VirtualDomain"`).Replace(ours)
	if ours != peer {
		t.Error("the agents are given different parameters")
	}
	if err := xml.Unmarshal([]byte(peer), new(struct{ XMLName xml.Name })); err != nil {
		t.Errorf("not XML: %v", err)
	}
	if !strings.Contains(peer, "a&amp;b") {
		t.Error("a path was not escaped")
	}
}

// On Xen the peer reads another file of the same guest; how long it may take is the same.
func TestConfigurationOnXen(t *testing.T) {
	for _, test := range []struct {
		agent     Agent
		has, lack string
	}{
		{Ours, `name="hypervisor" value="xen:///system"`, "xmfile"},
		{HeartbeatXen, `name="xmfile" value="/shared/vm1.cfg"`, "hypervisor"},
	} {
		text, err := Configuration(Xen, test.agent,
			[]Guest{{Name: "vm1", Config: "/shared/vm1.xml", XMFile: "/shared/vm1.cfg"}}, "node1")
		if err != nil || xml.Unmarshal([]byte(text), new(struct{ XMLName xml.Name })) != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !strings.Contains(text, test.has) || strings.Contains(text, test.lack) ||
			!strings.Contains(text, `name="migrate_to" interval="0s" timeout="240s"`) {
			t.Errorf("%s is configured so:\n%s", test.agent, text)
		}
	}
}

func TestHypervisorNamed(t *testing.T) {
	for _, want := range []Hypervisor{QEMU, Xen} {
		if got, err := HypervisorNamed(want.Name); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", want.Name, got, err)
		}
	}
	if _, err := HypervisorNamed("bhyve"); err == nil {
		t.Error("found one that is not there")
	}
}

// Looks that take long are few.
func TestAwaitLeavesTheNodeAlone(t *testing.T) {
	for look, want := range map[time.Duration]int{time.Millisecond: 120, time.Second: 20, 8 * time.Second: 6} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 59900*time.Millisecond)
			defer cancel()
			looks := 0
			_ = Await(ctx, "the end", func(context.Context) (bool, error) {
				looks++
				time.Sleep(look)
				return false, nil
			})
			if looks != want {
				t.Errorf("%d looks of %v, want %d", looks, look, want)
			}
		})
	}
}

func TestAwaitSaysWhatItWaitedFor(t *testing.T) {
	patience := errors.New("nobody came")
	why := errors.New("the door is shut")
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Millisecond, patience)
	defer cancel()
	err := Await(ctx, "visitors", func(context.Context) (bool, error) { return false, why })
	if !errors.Is(err, patience) || !errors.Is(err, why) || !strings.Contains(err.Error(), "visitors") {
		t.Errorf("got %v", err)
	}
	if err := Await(context.Background(), "nothing",
		func(context.Context) (bool, error) { return true, nil }); err != nil {
		t.Errorf("got %v", err)
	}
}
