package announce

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// sysfs writes a tree of network devices; each line is "device attribute value", or "device master
// bridge". Indexes are the order of their first mention, from 1.
func sysfs(t *testing.T, lines string) Host {
	t.Helper()
	h := Host{Sys: t.TempDir()}
	indexes := map[string]int{}
	put := func(dev, attribute, value string) {
		path := h.path(dev, attribute)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(value+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		dev := words[0]
		if indexes[dev] == 0 {
			indexes[dev] = len(indexes) + 1
			put(dev, "ifindex", strconv.Itoa(indexes[dev]))
		}
		switch {
		case len(words) < 3:
		case words[1] == "master":
			if err := os.Symlink("../"+words[2], h.path(dev, "master")); err != nil {
				t.Fatal(err)
			}
		default:
			put(dev, words[1], words[2])
		}
	}
	return h
}

// bridged is a bridge with the guest's tap, a card of the host, another guest and a port that is blocked.
const bridged = `
	br0 bridge/vlan_filtering 0
	vnet0 master br0
	eth0 brport/state 3
	vnet1 brport/state 3
	eth1 brport/state 4
	br0 brif/vnet0 -
	br0 brif/eth0 -
	br0 brif/vnet1 -
	br0 brif/eth1 -
`

const filtering = bridged + `
	br0 bridge/vlan_filtering 1
	br0 bridge/vlan_protocol 0x8100
`

func TestOutlets(t *testing.T) {
	for name, c := range map[string]struct {
		sysfs string
		vlans map[int][]VLAN // by index: br0 1, vnet0 2, eth0 3, vnet1 4, eth1 5
		want  string         // outlets, or a part of the error
	}{
		"all ports but its own that forward": {sysfs: bridged, want: "eth0 vnet1"},
		"isolated from another guest": {sysfs: bridged + `
			vnet0 brport/isolated 1
			vnet1 brport/isolated 1
			eth0 brport/isolated 0`, want: "eth0"},
		"no broadcasts there": {sysfs: bridged + `
			vnet1 brport/broadcast_flood 0
			eth0 brport/broadcast_flood 1`, want: "eth0"},
		"alone on its bridge": {sysfs: `
			vnet0 master br0
			br0 brif/vnet0 -`, want: ""},
		"tagged at the card, untagged at the guest": {sysfs: filtering, want: "eth0.10 vnet1", vlans: map[int][]VLAN{
			2: {{ID: 20}, {ID: 10, PVID: true, Untagged: true}},
			3: {{ID: 1, PVID: true, Untagged: true}, {ID: 10}}, 4: {{ID: 10, PVID: true, Untagged: true}}}},
		"others are in another VLAN": {sysfs: filtering, want: "", vlans: map[int][]VLAN{
			2: {{ID: 10, PVID: true}}, 3: {{ID: 1, PVID: true, Untagged: true}}}},
		"the guest tags itself": {sysfs: filtering, want: "no VLAN for untagged frames", vlans: map[int][]VLAN{2: {{ID: 10}}}},
		"another protocol": {sysfs: bridged + `
			br0 bridge/vlan_filtering 1
			br0 bridge/vlan_protocol 0x88a8`, want: "another protocol"},
		"macvtap": {sysfs: `
			vnet0 macvtap/tap5/dev 240:1
			eth0`, want: "vnet0"},
		"Open vSwitch": {sysfs: `
			vnet0 master ovs-system
			ovs-system`, want: "not a bridge of Linux"},
		"routed":  {sysfs: `vnet0`, want: "on no bridge"},
		"no such": {want: "find device"},
	} {
		t.Run(name, func(t *testing.T) {
			h := sysfs(t, c.sysfs)
			h.VLANs = func() (map[int][]VLAN, error) { return c.vlans, nil }
			outlets, err := h.Outlets("vnet0")
			var names []string
			for _, o := range outlets {
				names = append(names, o.String())
				if want, _ := strconv.Atoi(h.read(o.Dev, "ifindex")); o.Index != want || want == 0 {
					t.Errorf("%s has the index %d, not %d", o, want, o.Index)
				}
			}
			got := strings.Join(names, " ")
			if err != nil {
				got = err.Error()
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if _, err := (Host{}).Outlets(""); err == nil {
		t.Error("outlets of a card without a device")
	}
	h := sysfs(t, filtering)
	h.VLANs = func() (map[int][]VLAN, error) { return nil, errors.New("no netlink") }
	if _, err := h.Outlets("vnet0"); err == nil || !strings.Contains(err.Error(), "no netlink") {
		t.Errorf("VLANs that cannot be told: %v", err)
	}
}

// A bridge that must not learn at the port is left alone: nothing is asked of the kernel, which
// has no such device.
func TestLearnObeysTheBridge(t *testing.T) {
	h := sysfs(t, "vnet0 brport/learning 0")
	if err := h.Learn("vnet0", guest); err != nil {
		t.Error(err)
	}
}

// An entry of the neighbour table counts where the node is in the card's own network.
func TestNear(t *testing.T) {
	const br0, eth0, vlan20, vlan30, mac0, macOn20 = 1, 3, 20, 30, 40, 41
	tables := Tables{Stacked: []Stacked{
		{Index: macOn20, Lower: vlan20}, {Index: mac0, Lower: br0},
		{Index: vlan20, Lower: br0, VLAN: 20}, {Index: vlan30, Lower: br0, VLAN: 30},
	}}
	for _, link := range []int{br0, eth0, vlan20, vlan30, mac0, macOn20, 99} {
		tables.Neighbours = append(tables.Neighbours, Neighbour{MAC: guest, Addr: guest4, Link: link})
	}
	tap := []VLAN{{ID: 20, PVID: true, Untagged: true}}
	for name, c := range map[string]struct {
		sysfs string
		vlans map[int][]VLAN // by index: br0 1, vnet0 2
		want  []int          // devices
	}{
		"a bridge without VLANs": {sysfs: bridged, want: []int{br0, mac0}},
		"the VLAN leaves the bridge with its tag": {sysfs: filtering, want: []int{vlan20, macOn20},
			vlans: map[int][]VLAN{1: {{ID: 1, PVID: true, Untagged: true}, {ID: 20}}, 2: tap}},
		"the node is in that VLAN": {sysfs: filtering, want: []int{br0, mac0},
			vlans: map[int][]VLAN{1: {{ID: 20, PVID: true, Untagged: true}}, 2: tap}},
		"the node is not in that VLAN": {sysfs: filtering,
			vlans: map[int][]VLAN{1: {{ID: 1, PVID: true, Untagged: true}}, 2: tap}},
		"the node hears several VLANs without tags": {sysfs: filtering,
			vlans: map[int][]VLAN{1: {{ID: 1, PVID: true, Untagged: true}, {ID: 20, Untagged: true}}, 2: tap}},
		"macvtap": {sysfs: `
			br0
			vnet0 macvtap/tap5/dev 240:1
			vnet0 iflink 3`, want: []int{eth0}},
	} {
		t.Run(name, func(t *testing.T) {
			h := sysfs(t, c.sysfs)
			h.VLANs = func() (map[int][]VLAN, error) { return c.vlans, nil }
			near, err := h.near("vnet0", tables)
			var got []int
			for _, n := range near {
				got = append(got, n.Link)
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("neighbours on %v, %v, want %v", got, err, c.want)
			}
		})
	}
	if _, err := sysfs(t, "vnet0").near("vnet0", tables); err == nil {
		t.Error("neighbours of a card on no bridge")
	}
}
