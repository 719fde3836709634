package relay

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/migrate/announce/bridgetest"
)

var (
	guestMAC  = announce.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	clientMAC = announce.MAC{0x02, 0, 0, 0, 0, 0x01}
)

const guestXML = `<domain><devices><interface type='bridge'><mac address='52:54:00:12:34:56'/><target dev='vnet0'/></interface></devices></domain>`

// network is three network namespaces of the test's own: the client's, the guest's, and between them
// that of the nodes and their switch:
//
//	client ── sw3 ┐
//	              switch ─ sw1 ── up ┐
//	              │                  br0 ─ vnet0 ── old ┐
//	              └─ sw2 ────────────────────────── new ┴ guest
//
// br0 is the bridge of the guest's old node. The guest's card is a bridge in its namespace, of which
// one of "old" and "new" is a port: so it is at its old place or at its new one.
type network struct {
	bridgetest.Space
	host                 announce.Host
	nodes, client, guest int // the namespaces
}

// newNetwork locks the goroutine to a thread of its own, that ends with the test.
func newNetwork(t *testing.T) network {
	t.Helper()
	space := bridgetest.New(t)
	n := network{Space: space, host: announce.Host{Sys: space.Sys}}
	n.nodes = n.own()
	n.guest, n.client = n.namespace(), n.namespace()
	for _, pair := range [][2]string{{"client", "sw3"}, {"old", "vnet0"}, {"new", "sw2"}, {"up", "sw1"}} {
		n.Pair(pair[0], pair[1])
		n.Up(pair[1])
	}
	n.Up("up")
	n.Must(netlink.LinkSetNsFd(n.Link("client"), n.client))
	n.Must(netlink.LinkSetNsFd(n.Link("old"), n.guest))
	n.Must(netlink.LinkSetNsFd(n.Link("new"), n.guest))
	n.in(n.client, func() { n.card("client", clientMAC, guestMAC, "192.0.2.1", "192.0.2.7") })
	n.in(n.guest, func() {
		n.Must(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "card"}}))
		n.Must(netlink.LinkSetUp(n.Link("old")))
		n.Must(netlink.LinkSetUp(n.Link("new")))
		n.Must(netlink.LinkSetMaster(n.Link("old"), n.Link("card")))
		n.card("card", guestMAC, clientMAC, "192.0.2.7", "192.0.2.1")
	})
	n.Bridge("br0", "up", "vnet0")
	n.Bridge("switch", "sw1", "sw2", "sw3")
	return n
}

// namespace makes one, and returns what setns takes.
func (n network) namespace() int {
	n.Helper()
	n.Must(unix.Unshare(unix.CLONE_NEWNET))
	defer func() { n.Must(unix.Setns(n.nodes, unix.CLONE_NEWNET)) }()
	return n.own()
}

// own is the namespace of the thread.
func (n network) own() int {
	n.Helper()
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	n.Must(err)
	n.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// in does something in another namespace than that of the nodes.
func (n network) in(namespace int, do func()) {
	n.Helper()
	n.Must(unix.Setns(namespace, unix.CLONE_NEWNET))
	defer func() { n.Must(unix.Setns(n.nodes, unix.CLONE_NEWNET)) }()
	do()
}

// card gives a device its addresses, and makes TCP over it one that never retransmits in the time of a test: what
// arrives was forwarded.
func (n network) card(dev string, mac, other announce.MAC, addr, otherAddr string) {
	n.Helper()
	l := n.Link(dev)
	n.Must(netlink.LinkSetHardwareAddr(l, mac[:]))
	n.Must(netlink.LinkSetUp(l))
	a, err := netlink.ParseAddr(addr + "/32")
	n.Must(err)
	n.Must(netlink.AddrAdd(l, a))
	n.Must(netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK, RtoMin: 60_000,
		Dst: &net.IPNet{IP: net.ParseIP(otherAddr), Mask: net.CIDRMask(32, 32)}}))
	n.Must(netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: unix.NUD_PERMANENT,
		IP: net.ParseIP(otherAddr), HardwareAddr: other[:]}))
	n.Must(os.WriteFile("/proc/sys/net/ipv4/tcp_early_retrans", []byte("0"), 0)) // no tail loss probe
}

// stop has the guest hear nothing more at its old place.
func (n network) stop() {
	n.Helper()
	n.in(n.guest, func() { n.Must(netlink.LinkSetNoMaster(n.Link("old"))) })
}

// move has the guest run at its new place.
func (n network) move() {
	n.Helper()
	n.in(n.guest, func() {
		n.Must(netlink.LinkSetMaster(n.Link("new"), n.Link("card")))
		n.Eventually("the guest's card is connected", func() bool {
			l, ok := n.Link("new").(*netlink.Veth)
			return ok && l.Attrs().OperState == netlink.OperUp
		})
	})
}

// announce does at the new place what its node does when the guest runs.
func (n network) announce() {
	n.Helper()
	n.in(n.guest, func() {
		s, err := announce.Open()
		n.Must(err)
		defer func() { n.Must(s.Close()) }()
		o := announce.Outlet{Dev: "new", Index: n.Link("new").Attrs().Index}
		n.Must(s.Send(o, announce.RARP(guestMAC)))
	})
	n.Eventually("the switch looks for the guest at its new node", func() bool { return n.Behind("switch", guestMAC) == "sw2" })
}

func quiet() logrus.FieldLogger {
	log, _ := test.NewNullLogger()
	return log
}

// relay opens the guest's.
func (n network) relay() *Relay {
	n.Helper()
	r, err := open(n.host, "vm1", guestXML, quiet())
	n.Must(err)
	if len(r.cards) != 1 {
		n.Fatalf("%d cards have a relay", len(r.cards))
	}
	n.Cleanup(func() { _, _ = r.Close(n.Context()) })
	return r
}

// connect makes a TCP connection from the client to the guest.
func (n network) connect() (client, guest *net.TCPConn) {
	n.Helper()
	addr := netip.MustParseAddrPort("192.0.2.7:7")
	var listener *net.TCPListener
	var err error
	n.in(n.guest, func() { listener, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(addr)) })
	n.Must(err)
	defer func() { n.Must(listener.Close()) }()
	n.Must(listener.SetDeadline(time.Now().Add(2 * time.Minute)))
	n.in(n.client, func() { client, err = net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(addr)) })
	n.Must(err)
	guest, err = listener.AcceptTCP()
	n.Must(err)
	n.Cleanup(func() { _, _ = client.Close(), guest.Close() })
	for _, c := range []*net.TCPConn{client, guest} {
		n.Must(c.SetDeadline(time.Now().Add(2 * time.Minute)))
	}
	return client, guest
}
