package announce

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Neighbour is an address that this host has seen at a MAC.
type Neighbour struct {
	MAC  MAC
	Addr netip.Addr
	Age  time.Duration // since it was last seen there
}

const (
	// seenLately is how long ago an address may have been seen for the last time. An older one may be another
	// guest's by now, whose traffic an announcement would divert.
	seenLately = 5 * time.Minute
	// userTick is the unit of the ages that the kernel tells, 1/USER_HZ (time(7)).
	userTick = 10 * time.Millisecond
	// maxAddrs keeps a guest that answers for many addresses from making a storm.
	maxAddrs = 32
)

// seen are the addresses that the host has seen lately at each MAC.
func (h Host) seen() (map[MAC][]netip.Addr, error) {
	ask := h.Neighbours
	if ask == nil {
		ask = neighbours
	}
	all, err := ask()
	if err != nil {
		return nil, err
	}
	at := map[MAC][]netip.Addr{}
	for _, n := range all {
		if n.Age <= seenLately {
			at[n.MAC] = append(at[n.MAC], n.Addr)
		}
	}
	return at, nil
}

// neighbours reads the kernel's tables for IPv4 and IPv6. An entry that never got an answer has no MAC.
func neighbours() ([]Neighbour, error) {
	list, err := netlink.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	const told = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE
	var all []Neighbour
	for _, n := range list {
		addr, ok := netip.AddrFromSlice(n.IP)
		if !ok || n.State&told == 0 || len(n.HardwareAddr) != len(MAC{}) {
			continue
		}
		age := time.Duration(min(n.Confirmed, n.Updated)) * userTick
		all = append(all, Neighbour{MAC: MAC(n.HardwareAddr), Addr: addr.Unmap(), Age: age})
	}
	return all, nil
}

// merge is the addresses that can be announced, each once, in their order.
func merge(lists ...[]netip.Addr) []netip.Addr {
	var all []netip.Addr
	for _, a := range slices.Concat(lists...) {
		if announced(a) && !slices.Contains(all, a) && len(all) < maxAddrs {
			all = append(all, a)
		}
	}
	return all
}
