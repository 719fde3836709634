package relay

import (
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/announce"
)

// What the kernel reports all bridges and of all neighbours, and what of it is about the card.
func TestLearned(t *testing.T) {
	const tap, bridge, uplink, trunk, other = 1, 2, 3, 4, 5
	p := place{card: announce.Card{MAC: guestMAC}, tap: tap, bridge: bridge, ports: map[int]port{
		uplink: {Outlet: announce.Outlet{Index: uplink}}, trunk: {Outlet: announce.Outlet{Index: trunk, VLAN: 7}},
	}}
	for _, c := range []struct {
		name   string
		change func(u *netlink.NeighUpdate)
		want   int // 0 for what means nothing
	}{
		{"behind another port", func(*netlink.NeighUpdate) {}, uplink},
		{"behind the tap again", func(u *netlink.NeighUpdate) { u.LinkIndex = tap }, tap},
		{"in its VLAN", func(u *netlink.NeighUpdate) { u.LinkIndex, u.Vlan = trunk, 7 }, trunk},
		{"in another VLAN", func(u *netlink.NeighUpdate) { u.LinkIndex, u.Vlan = trunk, 8 }, 0},
		{"behind a port that is new", func(u *netlink.NeighUpdate) { u.LinkIndex = other }, other},
		{"forgotten", func(u *netlink.NeighUpdate) { u.Type = unix.RTM_DELNEIGH }, 0},
		{"an IP neighbour", func(u *netlink.NeighUpdate) { u.Family = unix.AF_INET }, 0},
		{"on another bridge", func(u *netlink.NeighUpdate) { u.MasterIndex = other }, 0},
		{"another MAC", func(u *netlink.NeighUpdate) { u.HardwareAddr = clientMAC[:] }, 0},
		{"no MAC", func(u *netlink.NeighUpdate) { u.HardwareAddr = nil }, 0},
	} {
		u := netlink.NeighUpdate{Type: unix.RTM_NEWNEIGH, Neigh: netlink.Neigh{
			Family: unix.AF_BRIDGE, LinkIndex: uplink, MasterIndex: bridge, HardwareAddr: guestMAC[:]}}
		c.change(&u)
		if got, ok := p.learned(u); got != c.want || ok != (c.want != 0) {
			t.Errorf("%s: %d, %v, want %d", c.name, got, ok, c.want)
		}
	}
}
