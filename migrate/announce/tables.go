package announce

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Neighbour is an address that this host has at a MAC.
type Neighbour struct {
	MAC  MAC
	Addr netip.Addr
	Age  time.Duration // since it was last seen there
	Link int           // the kernel's number of the device on which it is
	Set  bool          // by an administrator or a routing daemon; the host need not have seen it
	Past bool          // it was there not long ago, and is not any more
}

// Stacked is a device on top of another.
type Stacked struct {
	Index, Lower int    // the kernel's numbers of both
	VLAN         uint16 // the tag of its frames at the lower device; 0 where they have none there
}

// Tables are what the kernel of this host knows about addresses.
type Tables struct {
	Neighbours []Neighbour
	Own        []netip.Prefix // the host's own addresses, of all devices, with the length of the network's prefix
	Gateways   []netip.Addr   // the next hops of all routes
	Stacked    []Stacked
}

const (
	// seenLately is how long ago an address may have been seen for the last time. An older one may be another
	// guest's by now, whose traffic an announcement would divert.
	seenLately = 5 * time.Minute
	// userTick is the unit of the ages that the kernel reports, 1/USER_HZ (time(7)).
	userTick = 10 * time.Millisecond
	// dumps is how often a table is read that changes meanwhile.
	dumps = 3
)

// tables asks the kernel, within askTime.
func (h Host) tables(ctx context.Context) (Tables, error) {
	if h.Tables != nil {
		return h.Tables()
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var t Tables
	for _, read := range []func(context.Context) error{t.readNeighbours, t.readOwn, t.readGateways, t.readStacked} {
		if err := whole(ctx, read); err != nil {
			return Tables{}, err
		}
	}
	return t, nil
}

// neighbours asks for that table alone.
func (h Host) neighbours(ctx context.Context) ([]Neighbour, error) {
	if h.Tables != nil {
		t, err := h.Tables()
		return t.Neighbours, err
	}
	var t Tables
	err := whole(ctx, t.readNeighbours)
	return t.Neighbours, err
}

// whole reads a table again that changed while it was read.
func whole(ctx context.Context, read func(context.Context) error) error {
	var err error
	for range dumps {
		if err = read(ctx); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
	}
	return err
}

// learned are the states of entries that traffic made, and set those of entries that somebody made (linux/neighbour.h).
const (
	learned = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE
	set     = unix.NUD_PERMANENT | unix.NUD_NOARP
)

// readNeighbours reads the tables for IPv4 and IPv6. An entry that never got an answer has no MAC.
func (t *Tables) readNeighbours(context.Context) error {
	list, err := netlink.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("read the neighbour table: %w", err)
	}
	t.Neighbours = nil
	for _, n := range list {
		addr, ok := netip.AddrFromSlice(n.IP)
		if !ok || n.State&(learned|set) == 0 || len(n.HardwareAddr) != len(MAC{}) {
			continue
		}
		t.Neighbours = append(t.Neighbours, Neighbour{
			MAC: MAC(n.HardwareAddr), Addr: addr.Unmap(), Age: time.Duration(min(n.Confirmed, n.Updated)) * userTick,
			Link: n.LinkIndex, Set: n.State&set != 0,
		})
	}
	return nil
}

func (t *Tables) readOwn(context.Context) error {
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("read the addresses of the node: %w", err)
	}
	t.Own = nil
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			ones, _ := a.Mask.Size()
			t.Own = append(t.Own, netip.PrefixFrom(addr.Unmap(), ones))
		}
	}
	return nil
}

// readGateways reads the routes of all tables, one by one: a router may have a million, and few next hops.
func (t *Tables) readGateways(ctx context.Context) error {
	hops := map[netip.Addr]bool{}
	add := func(ip net.IP, via netlink.Destination) {
		if v, ok := via.(*netlink.Via); ok && v != nil {
			ip = v.Addr
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			hops[addr.Unmap()] = true
		}
	}
	each := func(r netlink.Route) bool {
		add(r.Gw, r.Via)
		for _, hop := range r.MultiPath {
			add(hop.Gw, hop.Via)
		}
		return ctx.Err() == nil
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := netlink.RouteListFilteredIter(family, &netlink.Route{}, netlink.RT_FILTER_TABLE, each)
		if err := errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("read the routes of the node: %w", err)
		}
	}
	t.Gateways = nil
	for addr := range hops {
		t.Gateways = append(t.Gateways, addr)
	}
	return nil
}

// readStacked finds VLAN devices of 802.1Q and those of macvlan.
func (t *Tables) readStacked(context.Context) error {
	list, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list the network devices of the node: %w", err)
	}
	t.Stacked = nil
	for _, l := range list {
		a := l.Attrs()
		s := Stacked{Index: a.Index, Lower: a.ParentIndex}
		switch l := l.(type) {
		case *netlink.Vlan:
			if l.VlanProtocol != netlink.VLAN_PROTOCOL_8021Q {
				continue
			}
			s.VLAN = uint16(l.VlanId)
		case *netlink.Macvlan, *netlink.Macvtap:
		default:
			continue
		}
		if a.NetNsID < 0 { // else the lower device is in another namespace
			t.Stacked = append(t.Stacked, s)
		}
	}
	return nil
}

// over are the devices that get the frames of a VLAN without a tag; vlan is the tag at the lower device, 0 for frames
// that have none there.
func (t Tables) over(lower int, vlan uint16) map[int]bool {
	found := map[int]bool{}
	if vlan == 0 {
		found[lower] = true
	}
	for n := -1; n != len(found); { // devices may be listed before those below them
		n = len(found)
		for _, s := range t.Stacked {
			if s.Lower == lower && s.VLAN == vlan || found[s.Lower] && s.VLAN == 0 {
				found[s.Index] = true
			}
		}
	}
	return found
}

// on are the neighbours on some devices.
func (t Tables) on(links map[int]bool) []Neighbour {
	return slices.DeleteFunc(slices.Clone(t.Neighbours), func(n Neighbour) bool { return !links[n.Link] })
}
