package relay

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/announce"
)

// place is where a card is on this node.
type place struct {
	card   announce.Card
	tap    int          // the kernel's number of the guest's device
	bridge int          // and of the bridge that it is a port of
	ports  map[int]port // the other ports, by number
}

// port is one at which frames can leave.
type port struct {
	announce.Outlet
	mac announce.MAC // its own
}

// placeOf finds the place of a card. The error says why it can have no relay.
func placeOf(host announce.Host, card announce.Card) (place, error) {
	outlets, err := host.Outlets(card.Dev)
	if err != nil {
		return place{}, err
	}
	tap, err := netlink.LinkByName(card.Dev)
	if err != nil {
		return place{}, fmt.Errorf("find device %q: %w", card.Dev, err)
	}
	p := place{card: card, tap: tap.Attrs().Index, bridge: tap.Attrs().MasterIndex, ports: map[int]port{}}
	if p.bridge == 0 {
		return place{}, fmt.Errorf("device %q is on no bridge", card.Dev)
	}
	for _, o := range outlets {
		link, err := netlink.LinkByIndex(o.Index)
		if err != nil || len(link.Attrs().HardwareAddr) != len(announce.MAC{}) {
			continue // it was removed meanwhile, or is no Ethernet
		}
		p.ports[o.Index] = port{o, announce.MAC(link.Attrs().HardwareAddr)}
	}
	return p, nil
}

// learned reports whether a message of the kernel's says that the bridge looks for the card behind a port from now on,
// the tap among them, and behind which.
func (p place) learned(u netlink.NeighUpdate) (index int, ok bool) {
	if u.Type != unix.RTM_NEWNEIGH || u.Family != unix.AF_BRIDGE || u.MasterIndex != p.bridge ||
		!slices.Equal(u.HardwareAddr, p.card.MAC[:]) {
		return 0, false
	}
	if vlan := p.ports[u.LinkIndex].VLAN; vlan != 0 && u.Vlan != int(vlan) {
		return 0, false // another's, in another network
	}
	return u.LinkIndex, true
}
