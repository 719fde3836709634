package announce

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Outlet is a device on which a card's frames leave.
type Outlet struct {
	Dev   string
	Index int    // the kernel's number of the device
	VLAN  uint16 // tag that the frames need there, 0 for none
}

// String is the device's name, with the VLAN behind a dot.
func (o Outlet) String() string {
	if o.VLAN == 0 {
		return o.Dev
	}
	return o.Dev + "." + strconv.Itoa(int(o.VLAN))
}

// VLAN is a port's membership in a VLAN of its bridge.
type VLAN struct {
	ID       uint16
	PVID     bool // frames that come in untagged belong to it
	Untagged bool // frames leave the port without a tag
}

// Host is what the kernel of this host knows of its network. The zero value is the real one.
type Host struct {
	Sys    string                         // where sysfs is mounted; empty for /sys
	VLANs  func() (map[int][]VLAN, error) // by device; nil asks the kernel
	Tables func() (Tables, error)         // nil asks the kernel
}

// forwarding is BR_STATE_FORWARDING of linux/if_bridge.h.
const forwarding = "3"

// emulated is how Xen calls the device of a card that QEMU emulates for a guest without Xen's own drivers, behind the
// name of the one for a guest with them. libvirt's XML has the emulated one for as long as the guest runs.
const emulated = "-emu"

// device is what is behind a guest's card now: Xen removes the emulated device once the guest uses the other.
func (h Host) device(dev string) string {
	own, isEmulated := strings.CutSuffix(dev, emulated)
	if _, err := os.Stat(h.path(dev)); err == nil || !isEmulated {
		return dev
	}
	return own
}

// Outlets finds where the frames of the card behind dev leave: at the other ports of its bridge,
// or at dev itself where that is a macvtap. No outlet and no error means that there is nobody to
// tell. The error says why nothing can be announced, see the package's comment.
func (h Host) Outlets(dev string) ([]Outlet, error) {
	if dev == "" {
		return nil, errors.New("the card has no device on this host")
	}
	if _, err := os.Stat(h.path(dev)); err != nil {
		return nil, fmt.Errorf("find device %q: %w", dev, err)
	}
	if _, err := os.Stat(h.path(dev, "macvtap")); err == nil {
		o, err := h.outlet(dev)
		return []Outlet{o}, err
	}
	master, err := os.Readlink(h.path(dev, "master"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("device %q is on no bridge", dev)
	}
	if err != nil {
		return nil, fmt.Errorf("find the bridge of %q: %w", dev, err)
	}
	bridge := filepath.Base(master)
	ports, err := os.ReadDir(h.path(bridge, "brif"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%q, which device %q belongs to, is not a bridge of Linux", bridge, dev)
	}
	if err != nil {
		return nil, fmt.Errorf("list the ports of bridge %q: %w", bridge, err)
	}
	return h.ports(bridge, dev, ports)
}

// ports are the outlets on a bridge.
func (h Host) ports(bridge, own string, ports []os.DirEntry) ([]Outlet, error) {
	tags, err := h.tags(bridge, own)
	if err != nil {
		return nil, err
	}
	isolated := h.read(own, "brport/isolated") == "1"
	var all []Outlet
	for _, p := range ports {
		port := p.Name()
		switch {
		case port == own, h.read(port, "brport/state") != forwarding:
			continue
		case isolated && h.read(port, "brport/isolated") == "1":
			continue
		case h.read(port, "brport/broadcast_flood") == "0": // the guest's own broadcasts do not leave there either
			continue
		}
		o, err := h.outlet(port)
		if err != nil {
			continue // it was removed meanwhile
		}
		var member bool
		if o.VLAN, member = tags(o.Index); member {
			all = append(all, o)
		}
	}
	return all, nil
}

// tags says which tag the frames of the card behind own need at a port; member is false where
// they do not leave there at all.
func (h Host) tags(bridge, own string) (tag func(port int) (vlan uint16, member bool), err error) {
	if h.read(bridge, "bridge/vlan_filtering") != "1" {
		return func(int) (uint16, bool) { return 0, true }, nil
	}
	if p := h.read(bridge, "bridge/vlan_protocol"); p != "" && p != "0x8100" {
		return nil, fmt.Errorf("bridge %q uses VLANs of another protocol than 802.1Q", bridge)
	}
	o, err := h.outlet(own)
	if err != nil {
		return nil, err
	}
	vlans, err := h.vlans()
	if err != nil {
		return nil, fmt.Errorf("ask the VLANs of bridge %q: %w", bridge, err)
	}
	id, ok := pvid(vlans[o.Index])
	if !ok {
		return nil, fmt.Errorf("device %q has no VLAN for untagged frames on bridge %q", own, bridge)
	}
	return func(port int) (uint16, bool) {
		for _, v := range vlans[port] {
			if v.ID == id && v.Untagged {
				return 0, true
			}
			if v.ID == id {
				return id, true
			}
		}
		return 0, false
	}, nil
}

// pvid is the VLAN of frames that come in untagged.
func pvid(vlans []VLAN) (id uint16, ok bool) {
	for _, v := range vlans {
		if v.PVID {
			return v.ID, true
		}
	}
	return 0, false
}

// near are the neighbours that the host has in the network of the card behind dev: on the bridge, or on the VLAN
// device over it with the card's VLAN; on the device below a macvtap. Elsewhere the same MAC and address may be
// another's.
func (h Host) near(dev string, t Tables) ([]Neighbour, error) {
	lower, vlan, err := h.link(dev)
	if err != nil || lower == 0 {
		return nil, err
	}
	return t.on(t.over(lower, vlan)), nil
}

// link is the device where the host itself is in the network of the card behind dev, and the card's tag there.
// lower is 0 where the host is not in that network.
func (h Host) link(dev string) (lower int, vlan uint16, err error) {
	if _, err := os.Stat(h.path(dev, "macvtap")); err == nil {
		lower, err := strconv.Atoi(h.read(dev, "iflink"))
		if err != nil {
			return 0, 0, fmt.Errorf("find the device below %q: it has no index", dev)
		}
		return lower, 0, nil
	}
	master, err := os.Readlink(h.path(dev, "master"))
	if err != nil {
		return 0, 0, fmt.Errorf("find the bridge of %q: %w", dev, err)
	}
	bridge, err := h.outlet(filepath.Base(master))
	if err != nil {
		return 0, 0, err
	}
	tag, err := h.tags(bridge.Dev, dev)
	if err != nil {
		return 0, 0, err
	}
	vlan, member := tag(bridge.Index)
	if !member || vlan == 0 && h.mixes(bridge) {
		return 0, 0, nil
	}
	return bridge.Index, vlan, nil
}

// mixes reports whether a bridge hands the frames of several VLANs to the host without their tags: then it cannot be
// told in which VLAN a neighbour is.
func (h Host) mixes(bridge Outlet) bool {
	if h.read(bridge.Dev, "bridge/vlan_filtering") != "1" {
		return false
	}
	vlans, err := h.vlans()
	untagged := slices.DeleteFunc(slices.Clone(vlans[bridge.Index]), func(v VLAN) bool { return !v.Untagged })
	return err != nil || len(untagged) != 1 || !untagged[0].PVID
}

func (h Host) vlans() (map[int][]VLAN, error) {
	if h.VLANs != nil {
		return h.VLANs()
	}
	list, err := netlink.BridgeVlanList()
	if err != nil {
		return nil, err
	}
	all := make(map[int][]VLAN, len(list))
	for index, vlans := range list {
		for _, v := range vlans {
			all[int(index)] = append(all[int(index)], VLAN{ID: v.Vid, PVID: v.PortVID(), Untagged: v.EngressUntag()})
		}
	}
	return all, nil
}

func (h Host) outlet(dev string) (Outlet, error) {
	index, err := strconv.Atoi(h.read(dev, "ifindex"))
	if err != nil {
		return Outlet{}, fmt.Errorf("find device %q: it has no index", dev)
	}
	return Outlet{Dev: dev, Index: index}, nil
}

func (h Host) path(elements ...string) string {
	root := h.Sys
	if root == "" {
		root = "/sys"
	}
	return filepath.Join(append([]string{root, "class/net"}, elements...)...)
}

// read is an attribute of a device, "" where there is none.
func (h Host) read(dev, attribute string) string {
	raw, _ := os.ReadFile(h.path(dev, attribute)) // what cannot be read has no value
	return strings.TrimSpace(string(raw))
}

// Learn tells the bridge of dev that the card of that MAC is behind dev, as a frame of the guest's
// would, and makes hosts that are reached by other ports leave their stale one. It needs
// CAP_NET_ADMIN. Where the bridge is told not to learn at that port it does nothing.
//
// Source: NTF_USE for a bridge's forwarding table, which the kernel takes as if there had been
// traffic (br_fdb_add of net/bridge/br_fdb.c): static entries stay static, others age.
func (h Host) Learn(dev string, mac MAC) error {
	if h.read(dev, "brport/learning") != "1" {
		return nil
	}
	o, err := h.outlet(dev)
	if err != nil {
		return err
	}
	entry := &netlink.Neigh{
		LinkIndex: o.Index, Family: unix.AF_BRIDGE, State: netlink.NUD_REACHABLE,
		Flags: netlink.NTF_MASTER | netlink.NTF_USE, HardwareAddr: net.HardwareAddr(mac[:]),
	}
	if err := netlink.NeighSet(entry); err != nil {
		return fmt.Errorf("add %s to the forwarding database for %q: %w", mac, dev, err)
	}
	return nil
}
