package announce

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/vishvananda/netlink"
	"github.com/vmferry/vmferry/migrate/announce/bridgetest"
	"golang.org/x/sys/unix"
)

// network is a network namespace of the test's own:
//
//	guest ─ vnet0 ┐
//	              br0 ─ up ── sw1 ┐
//	other ─ vnet1 ┘               switch ─ sw3 ── client
//	                    old ─ sw2 ┘
//
// br0 is the bridge of the guest's new node and "switch" the one that all nodes are on. "old" is where
// the guest was. Each line is a pair of veth devices.
type network struct {
	bridgetest.Space
	host Host
}

// newNetwork locks the goroutine to a thread that lives in the namespace, and ends with the test.
func newNetwork(t *testing.T) network {
	t.Helper()
	space := bridgetest.New(t)
	n := network{space, Host{Sys: space.Sys}}
	for _, pair := range [][2]string{{"guest", "vnet0"}, {"other", "vnet1"}, {"up", "sw1"}, {"old", "sw2"}, {"client", "sw3"}} {
		n.Pair(pair[0], pair[1])
		n.Up(pair[0], pair[1])
	}
	n.Bridge("br0", "vnet0", "vnet1", "up")
	n.Bridge("switch", "sw1", "sw2", "sw3")
	for _, a := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
		addr, err := netlink.ParseAddr(a)
		n.Must(err)
		addr.Flags = unix.IFA_F_NODAD
		n.Must(netlink.AddrAdd(n.Link("client"), addr))
	}
	return n
}

// behind is the port at which a bridge looks for the guest, "" for none.
func (n network) behind(bridge string) string { n.Helper(); return n.Behind(bridge, guest) }

// believes sets what the client believes the guest's MAC to be.
func (n network) believes(addr netip.Addr, mac MAC) {
	n.Helper()
	n.Must(netlink.NeighSet(&netlink.Neigh{
		LinkIndex: n.Index("client"), State: unix.NUD_REACHABLE, IP: net.IP(addr.AsSlice()), HardwareAddr: mac[:],
	}))
}

func (n network) belief(addr netip.Addr) (mac MAC) {
	n.Helper()
	entries, err := netlink.NeighList(n.Index("client"), netlink.FAMILY_ALL)
	n.Must(err)
	for _, e := range entries {
		if e.IP.Equal(net.IP(addr.AsSlice())) {
			copy(mac[:], e.HardwareAddr)
		}
	}
	return mac
}

// ear hears the announcements that come in at a device.
type ear struct {
	network
	fd int
}

func (n network) listen(dev string) ear {
	n.Helper()
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
	n.Must(err)
	n.Cleanup(func() { _ = unix.Close(fd) })
	n.Must(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: n.Index(dev)}))
	return ear{n, fd}
}

// heard are the announcements that have come in since the last call.
func (e ear) heard() (kinds []Kind) {
	e.Helper()
	buffer := make([]byte, 2048)
	for {
		size, from, err := unix.Recvfrom(e.fd, buffer, 0)
		if errors.Is(err, unix.EAGAIN) {
			return kinds
		}
		e.Must(err)
		n, err := Parse(buffer[:size])
		if ll, ok := from.(*unix.SockaddrLinklayer); err == nil && ok && ll.Pkttype != unix.PACKET_OUTGOING && n.MAC == guest {
			kinds = append(kinds, n.Kind)
		}
	}
}

// awaits waits until these have come in, and no others.
func (e ear) awaits(want ...Kind) {
	e.Helper()
	var got []Kind
	e.Eventually("these are heard", func() bool {
		got = append(got, e.heard()...)
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		e.Errorf("heard %v, want %v", got, want)
	}
}

func (n network) socket() *Socket {
	n.Helper()
	s, err := Open()
	n.Must(err)
	n.Cleanup(func() { n.Must(s.Close()) })
	return s
}

// moved makes both bridges believe that the guest is at its old place, and the client that it has
// another MAC.
func (n network) moved(s *Socket) {
	n.Helper()
	for _, addr := range []netip.Addr{guest4, guest6} {
		n.believes(addr, MAC{2, 0, 0, 0, 0, 0x99})
	}
	old := Outlet{Dev: "old", Index: n.Index("old")}
	n.Eventually("the bridges look for the guest at the old place", func() bool {
		// Said again each time: a device that has just come up has words of its own to say.
		n.Must(s.Send(old, RARP(guest)))
		return n.behind("switch") == "sw2" && n.behind("br0") == "up"
	})
}

func (n network) announcer(s *Socket) Announcer {
	return Announcer{Host: n.host, Send: s.Send, Schedule: []time.Duration{0}, Log: quiet(),
		Memory: new(Memory)}
}

// One round moves the guest in the switch, in the node's own bridge, and in the client's tables; the
// other guest hears it, and the guest itself does not.
func TestNetworkLearns(t *testing.T) {
	n := newNetwork(t)
	s := n.socket()
	self, other := n.listen("guest"), n.listen("other")
	n.moved(s)
	self.awaits(KindRARP) // the old place's
	other.awaits(KindRARP)

	src := &world{xml: func() (string, error) {
		return `<domain><devices><interface type='bridge'><mac address='52:54:00:12:34:56'/><target dev='vnet0'/></interface></devices></domain>`, nil
	}}
	a := n.announcer(s)
	plan, err := a.Prepare(t.Context(), src, "vm1", Setting{First: []netip.Addr{guest4, guest6}})
	n.Must(err)
	a.Announce(t.Context(), plan, nil)

	n.Eventually("the switch looks for the guest at its new node", func() bool { return n.behind("switch") == "sw1" })
	n.Eventually("the node looks for the guest at its tap", func() bool { return n.behind("br0") == "vnet0" })
	n.Eventually("the client has the guest's MAC for IPv4", func() bool { return n.belief(guest4) == guest })
	n.Eventually("the client has the guest's MAC for IPv6", func() bool { return n.belief(guest6) == guest })
	other.awaits(KindRARP, KindARPRequest, KindARPReply, KindAdvertisement)
	if got := self.heard(); len(got) > 0 {
		t.Errorf("the guest heard %v of itself", got)
	}
}

// Each form that carries an address is heeded by itself, also while the client thinks it knows better.
func TestEachFormIsHeeded(t *testing.T) {
	n := newNetwork(t)
	s := n.socket()
	for kind, c := range map[Kind]struct {
		frame []byte
		addr  netip.Addr
	}{
		KindARPRequest:    {ARPRequest(guest, guest4), guest4},
		KindARPReply:      {ARPReply(guest, guest4), guest4},
		KindAdvertisement: {Advertisement(guest, guest6), guest6},
	} {
		n.moved(s)
		n.Must(s.Send(Outlet{Dev: "up", Index: n.Index("up")}, c.frame))
		n.Eventually("the client heeds an "+string(kind), func() bool { return n.belief(c.addr) == guest })
	}
}

// Why the frames are sent at the ports: on the bridge itself they reach the guest as well, and
// the bridge learns nothing.
func TestTheBridgeItselfIsNoOutlet(t *testing.T) {
	n := newNetwork(t)
	s := n.socket()
	self := n.listen("guest")
	n.moved(s)
	self.awaits(KindRARP)
	n.Must(s.Send(Outlet{Dev: "br0", Index: n.Index("br0")}, Advertisement(guest, guest6)))
	self.awaits(KindAdvertisement) // which is what must not be
	n.Eventually("the switch looks for the guest at its new node", func() bool { return n.behind("switch") == "sw1" })
	if got := n.behind("br0"); got != "up" {
		t.Errorf("the bridge learned that the guest is at %q", got)
	}
}

// The daemon may send frames and no more (CAP_NET_RAW). Its bridge then continues to believe what it
// does, until the guest is heard; all others learn.
func TestWithoutNetAdmin(t *testing.T) {
	n := newNetwork(t)
	s := n.socket()
	n.moved(s)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // of this thread
	var caps [2]unix.CapUserData
	n.Must(unix.Capget(&header, &caps[0]))
	caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	n.Must(unix.Capset(&header, &caps[0]))
	if err := n.host.Learn("vnet0", guest); !errors.Is(err, unix.EPERM) {
		t.Fatalf("told the bridge: %v", err)
	}
	outlets, err := n.host.Outlets("vnet0")
	n.Must(err)
	log, hook := test.NewNullLogger()
	a := n.announcer(s)
	a.Log = log
	plan := Plan{Guest: "vm1", Cards: []Planned{{Card: Card{MAC: guest, Dev: "vnet0"}, Outlets: outlets,
		frames: Frames(guest, []netip.Addr{guest4})}}}
	a.Announce(t.Context(), plan, nil)
	n.Eventually("the switch looks for the guest at its new node", func() bool { return n.behind("switch") == "sw1" })
	n.Eventually("the client has the guest's MAC", func() bool { return n.belief(guest4) == guest })
	if got := n.behind("br0"); got != "up" {
		t.Errorf("the bridge looks for the guest at %q", got)
	}
	for _, e := range hook.AllEntries() {
		if e.Level <= logrus.WarnLevel {
			t.Errorf("complained: %s", e.Message)
		}
	}
}

// A macvtap hands the frames to the network as it does the guest's.
func TestMacvtap(t *testing.T) {
	n := newNetwork(t)
	s := n.socket()
	n.Must(netlink.LinkAdd(&netlink.Macvtap{Macvlan: netlink.Macvlan{
		LinkAttrs: netlink.LinkAttrs{Name: "macvtap0", ParentIndex: n.Index("guest"), HardwareAddr: guest[:]},
		Mode:      netlink.MACVLAN_MODE_BRIDGE,
	}}))
	n.Must(netlink.LinkSetUp(n.Link("macvtap0")))
	n.moved(s)
	outlets, err := n.host.Outlets("macvtap0")
	if err != nil || len(outlets) != 1 || outlets[0].Dev != "macvtap0" {
		t.Fatalf("outlets %v, %v", outlets, err)
	}
	n.Must(s.Send(outlets[0], ARPReply(guest, guest4)))
	n.Eventually("the client has the guest's MAC", func() bool { return n.belief(guest4) == guest })
	if got := n.behind("switch"); got != "sw1" {
		t.Errorf("the switch looks for the guest at %q", got)
	}
}

// The kernel's own tables tell what others have: neighbours and on which device, the node's addresses, next hops, and
// the devices on top of others.
func TestTablesOfTheKernel(t *testing.T) {
	n := newNetwork(t)
	n.believes(guest4, guest)
	n.believes(guest6, guest)
	n.Must(netlink.LinkAdd(&netlink.Macvlan{
		LinkAttrs: netlink.LinkAttrs{Name: "mac0", ParentIndex: n.Index("br0")}, Mode: netlink.MACVLAN_MODE_BRIDGE,
	}))
	gateway := netip.MustParseAddr("192.0.2.254")
	n.Must(netlink.RouteAdd(&netlink.Route{LinkIndex: n.Index("client"), Table: 77, Gw: net.IP(gateway.AsSlice())}))
	got, err := n.host.tables(t.Context())
	n.Must(err)
	s := scene{near: got.on(got.over(n.Index("client"), 0))}
	if seen := s.seen(guest); !slices.Contains(seen, guest4) || !slices.Contains(seen, guest6) || len(seen) != 2 {
		t.Errorf("seen %v", seen)
	}
	for _, want := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
		if !slices.Contains(got.Own, netip.MustParsePrefix(want)) {
			t.Errorf("own addresses %v, without %s", got.Own, want)
		}
	}
	if !slices.Equal(got.Gateways, []netip.Addr{gateway}) {
		t.Errorf("gateways %v", got.Gateways)
	}
	if want := (Stacked{Index: n.Index("mac0"), Lower: n.Index("br0")}); !slices.Equal(got.Stacked, []Stacked{want}) {
		t.Errorf("stacked devices %v, want %v", got.Stacked, want)
	}
}
