package relay

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/announce"
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
	*testing.T
	host                 announce.Host
	nodes, client, guest int // the namespaces
}

// newNetwork locks the goroutine to a thread of its own, that ends with the test.
func newNetwork(t *testing.T) network {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs root")
		}
		t.Skip("this test needs root")
	}
	runtime.LockOSThread() // and never unlocked: the thread is not to be used again
	n := network{T: t, host: announce.Host{Sys: t.TempDir()}}
	n.guest, n.client, n.nodes = n.namespace(), n.namespace(), n.namespace()
	n.must(unix.Unshare(unix.CLONE_NEWNS))
	n.must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	n.must(unix.Mount("sysfs", n.host.Sys, "sysfs", 0, ""))
	t.Cleanup(func() { n.must(unix.Unmount(n.host.Sys, unix.MNT_DETACH)) }) // else the directory cannot be removed
	for _, pair := range [][2]string{{"client", "sw3"}, {"old", "vnet0"}, {"new", "sw2"}, {"up", "sw1"}} {
		n.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: pair[0]}, PeerName: pair[1]}))
		n.must(netlink.LinkSetUp(n.link(pair[1])))
	}
	n.must(netlink.LinkSetUp(n.link("up")))
	n.must(netlink.LinkSetNsFd(n.link("client"), n.client))
	n.must(netlink.LinkSetNsFd(n.link("old"), n.guest))
	n.must(netlink.LinkSetNsFd(n.link("new"), n.guest))
	n.in(n.client, func() { n.card("client", clientMAC, guestMAC, "192.0.2.1", "192.0.2.7") })
	n.in(n.guest, func() {
		n.must(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "card"}}))
		n.must(netlink.LinkSetUp(n.link("old")))
		n.must(netlink.LinkSetUp(n.link("new")))
		n.must(netlink.LinkSetMaster(n.link("old"), n.link("card")))
		n.card("card", guestMAC, clientMAC, "192.0.2.7", "192.0.2.1")
	})
	n.bridge("br0", "up", "vnet0")
	n.bridge("switch", "sw1", "sw2", "sw3")
	return n
}

func (n network) must(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

// namespace makes one, goes into it, and returns what setns takes.
func (n network) namespace() int {
	n.Helper()
	n.must(unix.Unshare(unix.CLONE_NEWNET))
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	n.must(err)
	n.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// in does something in another namespace than that of the nodes.
func (n network) in(namespace int, do func()) {
	n.Helper()
	n.must(unix.Setns(namespace, unix.CLONE_NEWNET))
	defer func() { n.must(unix.Setns(n.nodes, unix.CLONE_NEWNET)) }()
	do()
}

func (n network) link(name string) netlink.Link {
	n.Helper()
	l, err := netlink.LinkByName(name)
	n.must(err)
	return l
}

// card gives a device its addresses, and makes TCP over it one that never retransmits in the time of a test: what
// arrives was handed on.
func (n network) card(dev string, mac, other announce.MAC, addr, otherAddr string) {
	n.Helper()
	l := n.link(dev)
	n.must(netlink.LinkSetHardwareAddr(l, mac[:]))
	n.must(netlink.LinkSetUp(l))
	a, err := netlink.ParseAddr(addr + "/32")
	n.must(err)
	n.must(netlink.AddrAdd(l, a))
	n.must(netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK, RtoMin: 60_000,
		Dst: &net.IPNet{IP: net.ParseIP(otherAddr), Mask: net.CIDRMask(32, 32)}}))
	n.must(netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: unix.NUD_PERMANENT, IP: net.ParseIP(otherAddr), HardwareAddr: other[:]}))
	n.must(os.WriteFile("/proc/sys/net/ipv4/tcp_early_retrans", []byte("0"), 0)) // no tail loss probe
}

func (n network) bridge(name string, ports ...string) {
	n.Helper()
	n.must(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}))
	n.must(netlink.LinkSetUp(n.link(name)))
	for _, p := range ports {
		n.must(netlink.LinkSetMaster(n.link(p), n.link(name)))
	}
	n.eventually("the ports of "+name+" forward", func() bool {
		return !slices.ContainsFunc(ports, func(p string) bool {
			state, _ := os.ReadFile(n.host.Sys + "/class/net/" + p + "/brport/state")
			return string(state) != "3\n"
		})
	})
}

// eventually waits for what the kernel does in its own time.
func (n network) eventually(what string, done func() bool) {
	n.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range 2500 {
		if done() {
			return
		}
		<-tick.C
	}
	n.Fatalf("it never came about that %s", what)
}

// behind is the port at which a bridge looks for a MAC, "" for none.
func (n network) behind(bridge string, mac announce.MAC) string {
	n.Helper()
	entries, err := netlink.NeighList(0, unix.AF_BRIDGE)
	n.must(err)
	for _, e := range entries {
		if e.MasterIndex == n.link(bridge).Attrs().Index && slices.Equal(e.HardwareAddr, mac[:]) && e.State&unix.NUD_PERMANENT == 0 {
			l, err := netlink.LinkByIndex(e.LinkIndex)
			n.must(err)
			return l.Attrs().Name
		}
	}
	return ""
}

// stop has the guest hear nothing more at its old place.
func (n network) stop() {
	n.Helper()
	n.in(n.guest, func() { n.must(netlink.LinkSetNoMaster(n.link("old"))) })
}

// move has the guest run at its new place.
func (n network) move() {
	n.Helper()
	n.in(n.guest, func() {
		n.must(netlink.LinkSetMaster(n.link("new"), n.link("card")))
		n.eventually("the guest's card is connected", func() bool {
			l, ok := n.link("new").(*netlink.Veth)
			return ok && l.Attrs().OperState == netlink.OperUp
		})
	})
}

// announce does at the new place what its node does when the guest runs.
func (n network) announce() {
	n.Helper()
	n.in(n.guest, func() {
		s, err := announce.Open()
		n.must(err)
		defer func() { n.must(s.Close()) }()
		o := announce.Outlet{Dev: "new", Index: n.link("new").Attrs().Index}
		n.must(s.Send(o, announce.RARP(guestMAC)))
	})
	n.eventually("the switch looks for the guest at its new node", func() bool { return n.behind("switch", guestMAC) == "sw2" })
}

func quiet() logrus.FieldLogger {
	log, _ := test.NewNullLogger()
	return log
}

// relay opens the guest's.
func (n network) relay() *Relay {
	n.Helper()
	r, err := open(n.host, "vm1", guestXML, quiet())
	n.must(err)
	if len(r.lines) != 1 {
		n.Fatalf("%d cards have a relay", len(r.lines))
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
	n.must(err)
	defer func() { n.must(listener.Close()) }()
	n.must(listener.SetDeadline(time.Now().Add(10 * time.Second)))
	n.in(n.client, func() { client, err = net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(addr)) })
	n.must(err)
	guest, err = listener.AcceptTCP()
	n.must(err)
	n.Cleanup(func() { _, _ = client.Close(), guest.Close() })
	for _, c := range []*net.TCPConn{client, guest} {
		n.must(c.SetDeadline(time.Now().Add(10 * time.Second)))
	}
	return client, guest
}
