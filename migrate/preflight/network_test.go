package preflight

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/libvirt"
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
		{`<interface type='bridge'><source bridge='ovs0'/><virtualport type='openvswitch'/></interface>`,
			[]uplink{{device: "ovs0", kind: "bridge"}}},
		{`<interface type='network'><source network='dmz' portgroup='v7'/></interface>`,
			[]uplink{{network: "dmz", portGroup: "v7"}}},
		{`<interface type='direct'><source dev='eth1' mode='bridge'/></interface>`,
			[]uplink{{device: "eth1", kind: "network device"}}},
		{`<interface type='ethernet'><target dev='tap7' managed='no'/></interface>`,
			[]uplink{{device: "tap7", kind: "network device"}}},
		{`<interface type='ethernet'><target dev='vnet7'/></interface>`, nil},
		{`<interface type='user'/>`, nil},
		{`<interface type='vhostuser'><source type='unix' path='/run/ovs/a.sock' mode='server'/></interface>`,
			[]uplink{{device: "/run/ovs/a.sock", kind: "vhost-user socket", hidden: true}}},
		{`<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>`,
			[]uplink{{device: "/dev/vhost-vdpa-0", kind: "vDPA device", hidden: true}}},
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

// TestNetworks has a guest on a network or a bridge, and a target with what is named.
func TestNetworks(t *testing.T) {
	const card = `<interface type='network'><source network='dmz' portgroup='v7'/></interface>`
	active := func(doc string) map[string]libvirt.Network {
		return map[string]libvirt.Network{"dmz": {XML: strings.Replace(doc, "</network>",
			"<portgroup name='v7'/></network>", 1), Active: true}}
	}
	for _, c := range []struct {
		name, card string
		networks   map[string]libvirt.Network
		devices    []string // nil where they cannot be had
		starts     bool
		refused    string // "" for a move
		note       string // "" for none
	}{
		{"bridge is there", bridgeCard, nil, []string{"lo", "br77"}, false, "", ""},
		{"bridge is missing", bridgeCard, nil, []string{"lo", "br0"}, false, `no bridge "br77"`, ""},
		{"a hook may make the bridge", bridgeCard, nil, []string{"lo", "br0"}, false, "",
			"unless the hook script there makes it"},
		{"bridge cannot be looked for", bridgeCard, nil, nil, false, "", `bridge "br77" was not checked`},
		{"a socket is in no list", `<interface type='vhostuser'><source type='unix' path='/a.sock' mode='server'/></interface>`, nil, []string{"lo"}, false, "", `socket "/a.sock" was not checked`},
		{"macvtap's device is missing", `<interface type='direct'><source dev='eth1' mode='bridge'/></interface>`, nil,
			[]string{"lo"}, false, `no network device "eth1"`, ""},
		{"no network", card, nil, []string{"lo"}, false, "net-define", ""},
		{"network is not active", card, map[string]libvirt.Network{"dmz": {XML: nat}}, []string{"lo"}, false,
			"net-start dmz", ""},
		{"network will be started", card,
			map[string]libvirt.Network{"dmz": {XML: strings.Replace(nat, "</network>",
				"<portgroup name='v7'/></network>", 1)}}, []string{"lo"}, true, "", ""},
		{"libvirt's own bridge", card, active(nat), []string{"lo"}, false, "", ""},
		{"isolated network", card, active(isolated), []string{"lo"}, false, "", ""},
		{"its bridge is there", card, active(hostBridge), []string{"lo", "br77"}, false, "", ""},
		{"its bridge is missing", card, active(hostBridge), []string{"lo", "br0"}, false, `not its bridge "br77"`, ""},
		{"it is another bridge there", card, active(otherBr), []string{"lo", "br0"}, false, "",
			`is the bridge "br77" here, and "br0" at the target`},
		{"one of its devices is there", card, active(macvtap), []string{"lo", "eth2"}, false, "", ""},
		{"none of its devices is there", card, active(macvtap), []string{"lo", "eth0"}, false, `none of its devices`, ""},
		{"no port group", card, map[string]libvirt.Network{"dmz": {XML: nat, Active: true}}, []string{"lo"}, false, "",
			`no port group "v7"`},
		{"a description that is none", card, map[string]libvirt.Network{"dmz": {XML: "<", Active: true}},
			[]string{"lo"}, false, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.Source.Doc = strings.Replace(guestDoc, "</devices>", c.card+"</devices>", 1)
				p.Source.Networks, p.Target.Networks, p.req.StartsNetworks = active(hostBridge), c.networks, c.starts
				if c.devices != nil {
					p.Target.Dirs = map[string][]string{"/sys/class/net": c.devices}
				}
				if strings.HasPrefix(c.name, "a hook") {
					p.Target.Dirs["/etc/libvirt/hooks"] = []string{"qemu"}
				}
				x, err := p.run(t)
				if err != nil || (len(x.Refusals) > 0) != (c.refused != "") || len(x.Refusals) > 0 &&
					!strings.Contains(x.Refusals[0].Error(), c.refused) {
					t.Errorf("refused %v, want %q; %v", x.Refusals, c.refused, err)
				}
				notes := strings.Join(x.Notes, "; ")
				if (notes != "") != (c.note != "") || !strings.Contains(notes, c.note) {
					t.Errorf("notes %q, want %q", notes, c.note)
				}
			})
		})
	}
}
