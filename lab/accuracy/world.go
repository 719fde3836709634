package accuracy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxLanes is how many lanes have an address.
const maxLanes = 250

// world is both namespaces and the links between them.
type world struct{ client, server *space }

func newWorld() (*world, error) {
	client, err := newSpace()
	if err != nil {
		return nil, err
	}
	server, err := newSpace()
	if err != nil {
		client.close()
		return nil, err
	}
	return &world{client, server}, nil
}

func (w *world) close() {
	w.client.close()
	w.server.close()
}

// lane is one link of a world: a cable of its own between the namespaces, with a
// network of its own, of a range that is for benchmarks (RFC 2544) and that nothing
// outside has.
type lane struct {
	*world
	near, far              netlink.Link // the client's end and the server's
	clientAddr, serverAddr string
}

// newLane makes link number i, of up to maxLanes.
func (w *world) newLane(i int) (*lane, error) {
	if i >= maxLanes {
		return nil, fmt.Errorf("no more than %d links at a time", maxLanes)
	}
	name := fmt.Sprintf("lane%d", i)
	l := &lane{world: w, clientAddr: fmt.Sprintf("198.18.%d.1", i), serverAddr: fmt.Sprintf("198.18.%d.2", i)}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name,
		PeerNamespace: netlink.NsFd(w.server.fd)}
	if err := w.client.net.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("%w: add a veth: %w", ErrUnsupported, err)
	}
	var err error
	if l.near, err = w.client.address(name, l.clientAddr); err != nil {
		return nil, err
	}
	if l.far, err = w.server.address(name, l.serverAddr); err != nil {
		return nil, err
	}
	err = errors.Join(
		w.client.know(l.near, l.serverAddr, l.far), w.server.know(l.far, l.clientAddr, l.near),
		w.client.gates.add(name), w.server.gates.add(name))
	return l, err
}

func (l *lane) name() string { return l.near.Attrs().Name }

// at is a port of the server's end.
func (l *lane) at(port string) string { return net.JoinHostPort(l.serverAddr, port) }

// cut sets the server's end of the link down, or up again; then the client's end
// has lost its carrier, or has it back.
func (l *lane) cut(on bool) error {
	if on {
		return l.server.net.LinkSetDown(l.far)
	}
	if err := l.server.net.LinkSetUp(l.far); err != nil {
		return err
	}
	for begun := time.Now(); time.Since(begun) < patience; {
		near, err := l.client.net.LinkByIndex(l.near.Attrs().Index)
		if err != nil {
			return err
		}
		if near.Attrs().OperState == netlink.OperUp {
			return nil
		}
	}
	return fmt.Errorf("link %q does not come up", l.name())
}

// address gives an interface its address and sets it up, and returns it.
func (s *space) address(name, addr string) (netlink.Link, error) {
	link, err := s.net.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %q: %w", name, err)
	}
	at, err := netlink.ParseAddr(addr + "/24")
	if err != nil {
		return nil, fmt.Errorf("address of interface %q: %w", name, err)
	}
	if err := errors.Join(s.net.AddrAdd(link, at), s.net.LinkSetUp(link)); err != nil {
		return nil, fmt.Errorf("set interface %q up: %w", name, err)
	}
	return link, nil
}

// know tells a namespace the hardware address of the other end, once and for all:
// a neighbour that is looked for again has an outage of its own.
func (s *space) know(link netlink.Link, addr string, other netlink.Link) error {
	err := s.net.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(addr),
		HardwareAddr: other.Attrs().HardwareAddr,
	})
	if err != nil {
		return fmt.Errorf("make a neighbour known at %q: %w", link.Attrs().Name, err)
	}
	return nil
}

// await waits until somebody accepts connections at an address of the server.
func (w *world) await(ctx context.Context, addr string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var failed error
		err := w.client.do(func() {
			var conn net.Conn
			if conn, failed = net.DialTimeout("tcp", addr, time.Second); failed == nil {
				failed = conn.Close()
			}
		})
		if err = errors.Join(err, failed); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("nobody listens at %s of the server: %w", addr, err)
		}
	}
}

// crowd makes the server's end answer at every address of crowdNet.
func (l *lane) crowd() error {
	_, all, err := net.ParseCIDR(crowdNet)
	if err != nil {
		return err
	}
	lo, err := l.server.net.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback interface: %w", err)
	}
	err = errors.Join(
		l.server.net.LinkSetUp(lo),
		l.server.net.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Type: unix.RTN_LOCAL,
			Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST}),
		l.client.net.RouteAdd(&netlink.Route{LinkIndex: l.near.Attrs().Index, Dst: all, Gw: net.ParseIP(l.serverAddr)}))
	if err != nil {
		return fmt.Errorf("make routes to many addresses: %w", err)
	}
	return nil
}
