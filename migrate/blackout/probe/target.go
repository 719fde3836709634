package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
	"github.com/vmferry/vmferry/migrate/blackout/outage"
	"github.com/vmferry/vmferry/migrate/blackout/socket"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// target is what all probers have for each service: the arithmetic under its
// lock, and the identity of the session.
type target struct {
	endpoint.Endpoint
	clock   clock
	session uint64

	mu     sync.Mutex
	track  *outage.Tracker
	kernel *outage.Tracker // of the other kernel's acknowledgements; nil but for TCP
	cookie wire.Cookie
	again  uint64 // probes that were sent a second time, with a cookie
}

// idle implements prober.
func (t *target) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.track.Pending() == 0
}

// answered hands an answer to the arithmetic, with the kernel's time stamp
// where there is one that can be believed.
func (t *target) answered(p wire.Packet, stamp time.Time, stamped bool, lateness time.Duration) {
	wall, at := t.clock.read()
	if stamped {
		if exact, ok := arrival(t.clock.shown(stamp), wall, at, p.Sent); ok {
			at, lateness = exact, 0
		}
	}
	t.track.Answer(p, at, lateness)
}

// challenged notes that the reflector wants to see a cookie in every probe, and
// reports whether the probe is to be sent again. That much is a sign of life. No more
// are sent again than were sent, whatever the reflector does.
func (t *target) challenged(p wire.Packet) bool {
	if p.Seq > t.track.LastSeq() || t.again >= t.track.LastSeq() {
		return false
	}
	t.again++
	t.cookie = p.Cookie()
	t.track.SignOfLife(p.Seq, t.clock.now())
	return true
}

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
