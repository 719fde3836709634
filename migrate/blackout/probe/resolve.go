package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
	"github.com/vmferry/vmferry/migrate/blackout/socket"
)

// resolve finds the address of an endpoint: of the wanted family (4 or 6), or
// with 0 IPv4 first.
func resolve(ctx context.Context, e endpoint.Endpoint, family int) (netip.AddrPort, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", e.Host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("resolve target %q: %w", e.Name, err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	best := slices.IndexFunc(addrs, func(a netip.Addr) bool { return a.Is4() == (family != 6) })
	if best < 0 && family != 0 {
		return netip.AddrPort{}, fmt.Errorf("resolve target %q: it has no IPv%d address", e.Name, family)
	}
	at := netip.AddrPortFrom(addrs[max(best, 0)], e.Port)
	if _, err := socket.Sockaddr(at); err != nil {
		return netip.AddrPort{}, fmt.Errorf("resolve target %q: %w", e.Name, err)
	}
	return at, nil
}
