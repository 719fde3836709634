package scenario

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forgetNeighbours has the clients' kernel forget where the guests were. Guests that are placed on another node than
// before are a new beginning: who keeps to an old entry sends frames to the old node's port, until the entry expires
// after up to three quarters of a minute (RFC 4861, reachable time).
func forgetNeighbours(guests []Guest) error {
	entries, err := netlink.NeighList(0, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list the clients' neighbours: %w", err)
	}
	for _, e := range entries {
		if !slices.ContainsFunc(guests, func(g Guest) bool { return e.IP.Equal(net.ParseIP(g.Address)) }) {
			continue
		}
		if err := netlink.NeighDel(&e); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("forget the clients' neighbour %s: %w", e.IP, err)
		}
	}
	return nil
}
