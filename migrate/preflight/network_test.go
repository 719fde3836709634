package preflight

import (
	"fmt"
	"strings"
	"testing"

	"libvirt.org/go/libvirtxml"
)

func domainWith(t testing.TB, devices string) *libvirtxml.Domain {
	t.Helper()
	d := &libvirtxml.Domain{}
	if err := d.Unmarshal(strings.Replace(guestDoc, "</devices>", devices+"</devices>", 1)); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestUplinks(t *testing.T) {
	for _, c := range []struct {
		card string
		want []uplink
	}{
		{bridgeCard, []uplink{{device: "br77", kind: "bridge"}}},
		{bridgeCard + bridgeCard, []uplink{{device: "br77", kind: "bridge"}}},
		{`<interface type='bridge'><source bridge='ovs0'/><virtualport type='openvswitch'/></interface>`, []uplink{{device: "ovs0", kind: "bridge"}}},
		{`<interface type='network'><source network='dmz' portgroup='v7'/></interface>`, []uplink{{network: "dmz", portGroup: "v7"}}},
		{`<interface type='direct'><source dev='eth1' mode='bridge'/></interface>`, []uplink{{device: "eth1", kind: "network device"}}},
		{`<interface type='ethernet'><target dev='tap7' managed='no'/></interface>`, []uplink{{device: "tap7", kind: "network device"}}},
		{`<interface type='ethernet'><target dev='vnet7'/></interface>`, nil},
		{`<interface type='user'/>`, nil},
		{`<interface type='vhostuser'><source type='unix' path='/run/ovs/a.sock' mode='server'/></interface>`,
			[]uplink{{device: "/run/ovs/a.sock", kind: "vhost-user socket", hidden: true}}},
		{`<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>`, []uplink{{device: "/dev/vhost-vdpa-0", kind: "vDPA device", hidden: true}}},
		{``, nil},
	} {
		if got := uplinks(domainWith(t, c.card)); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %+v, want %+v", c.card, got, c.want)
		}
	}
	if got := uplinks(&libvirtxml.Domain{}); got != nil {
		t.Errorf("no devices: %+v", got)
	}
}

func TestDevices(t *testing.T) {
	for _, c := range []struct {
		d           devices
		lacks, sure bool
	}{
		{nil, false, false},
		{devices{}, false, false},       // an empty list is no list
		{devices{"eth0"}, false, false}, // nor one without the loopback device
		{devices{"lo", "eth0"}, true, true},
		{devices{"lo", "br77"}, false, true},
	} {
		if lacks, sure := c.d.lacks("br77"), c.d.sure(); lacks != c.lacks || sure != c.sure {
			t.Errorf("%+v: lacks %v, sure %v", c.d, lacks, sure)
		}
	}
}

const (
	hostBridge = `<network><name>dmz</name><forward mode='bridge'/><bridge name='br77'/></network>`
	otherBr    = `<network><name>dmz</name><forward mode='bridge'/><bridge name='br0'/></network>`
	nat        = `<network><name>dmz</name><forward mode='nat'/><bridge name='virbr9'/></network>`
	isolated   = `<network><name>dmz</name><bridge name='virbr9'/></network>`
	macvtap    = `<network><name>dmz</name><forward mode='passthrough'><interface dev='eth1'/><interface dev='eth2'/></forward></network>`
)

// FuzzNetworks: what another host says of its networks ends no move but by a reason.
func FuzzNetworks(f *testing.F) {
	for _, doc := range []string{hostBridge, otherBr, nat, macvtap, "<network><forward/></network>", ""} {
		f.Add(doc, "lo br77")
	}
	f.Fuzz(func(t *testing.T, doc, names string) {
		d := devices(strings.Fields(names))
		u := uplink{network: "dmz", portGroup: "v7"}
		if _, err := u.judgeNetwork(parseNetwork(doc), parseNetwork(hostBridge), d); err != nil && err.Error() == "" {
			t.Error("a refusal without a reason")
		}
	})
}
