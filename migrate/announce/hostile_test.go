package announce

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// carried are the addresses in the announcements for the guest's card that have come in at a device. It sends a mark,
// and waits for it: all that was sent before has come in then.
func (e ear) carried(s *Socket) (addrs []netip.Addr) {
	e.Helper()
	mark := netip.MustParseAddr("198.51.100.99")
	e.Must(s.Send(Outlet{Dev: "up", Index: e.Index("up")}, ARPReply(guest, mark)))
	buffer := make([]byte, 2048)
	e.Eventually("the mark is heard", func() bool {
		for {
			size, _, err := unix.Recvfrom(e.fd, buffer, 0)
			if errors.Is(err, unix.EAGAIN) {
				return false
			}
			e.Must(err)
			n, err := Parse(buffer[:size])
			switch {
			case err != nil || n.MAC != guest || !n.Addr.IsValid():
			case n.Addr == mark:
				return true
			case !slices.Contains(addrs, n.Addr):
				addrs = append(addrs, n.Addr)
			}
		}
	})
	return addrs
}

// address gives the node one, on br0.
func (n network) address(dev, prefix string) {
	n.Helper()
	addr, err := netlink.ParseAddr(prefix)
	n.Must(err)
	addr.Flags = unix.IFA_F_NODAD
	n.Must(netlink.AddrAdd(n.Link(dev), addr))
}

// sees makes the node have an address at a MAC.
func (n network) sees(dev, addr string, mac MAC) {
	n.Helper()
	n.Must(netlink.NeighSet(&netlink.Neigh{
		LinkIndex: n.Index(dev), State: unix.NUD_STALE, IP: net.ParseIP(addr), HardwareAddr: mac[:],
	}))
}

const hostileXML = `<domain><devices><interface type='bridge'>
	<mac address='52:54:00:12:34:56'/><target dev='vnet0'/>FILTER</interface></devices></domain>`

// A guest says through its agent what it likes, and makes the node see what it likes. What is heard at the client's is
// only what may be the guest's.
func TestHostileGuest(t *testing.T) {
	for name, c := range map[string]struct {
		setting string
		agent   []string
		build   func(n network)
		want    []netip.Addr
	}{
		"auto does not believe the agent": {setting: "auto", agent: []string{"192.0.2.7", "198.51.100.1"}},
		"the gateway's address": {setting: "agent", agent: []string{"192.0.2.254", "192.0.2.7"}, want: addrs("192.0.2.7"),
			build: func(n network) {
				n.address("br0", "192.0.2.3/24")
				n.Must(netlink.RouteAdd(&netlink.Route{LinkIndex: n.Index("br0"), Gw: net.ParseIP("192.0.2.254")}))
			}},
		"the gateway of IPv6": {setting: "agent", agent: []string{"2001:db8:1::fe"}, build: func(n network) {
			n.address("br0", "2001:db8:1::3/64")
			n.Must(netlink.RouteAdd(&netlink.Route{LinkIndex: n.Index("br0"), Gw: net.ParseIP("2001:db8:1::fe"),
				Dst: &net.IPNet{IP: net.ParseIP("2001:db8:2::"), Mask: net.CIDRMask(48, 128)}}))
		}},
		"the node's own address": {setting: "agent", agent: []string{"203.0.113.3", "2001:db8:3::3"}, build: func(n network) {
			n.address("old", "203.0.113.3/24")
			n.address("old", "2001:db8:3::3/64")
		}},
		"an address at another MAC": {setting: "agent", agent: []string{"192.0.2.9"},
			build: func(n network) { n.sees("br0", "192.0.2.9", MAC{2, 0, 0, 0, 0, 9}) }},
		"multicast, loopback, broadcast": {setting: "agent", agent: []string{"224.0.0.5", "127.0.0.1", "255.255.255.255",
			"192.0.2.255", "0.0.0.0", "ff02::1", "::1", "fe80::1", "240.0.0.1"},
			build: func(n network) { n.address("br0", "192.0.2.3/24") }},
		"a neighbour on an unrelated link": {setting: "auto",
			build: func(n network) { n.sees("old", "192.0.2.66", guest) }},
		"a neighbour on the guest's link": {setting: "auto", want: addrs("192.0.2.7"),
			build: func(n network) { n.sees("br0", "192.0.2.7", guest) }},
		"a gateway that the node sees at the guest": {setting: "auto", build: func(n network) {
			n.address("br0", "192.0.2.3/24")
			n.sees("br0", "192.0.2.254", guest)
			n.Must(netlink.RouteAdd(&netlink.Route{LinkIndex: n.Index("br0"), Gw: net.ParseIP("192.0.2.254")}))
		}},
	} {
		t.Run(name, func(t *testing.T) { hostileGuest(t, c.setting, "", c.agent, c.build, c.want) })
	}
}

// What passes the guest's own device by its filter is all that is announced for it.
func TestHostileGuestBehindAFilter(t *testing.T) {
	const filter = `<filterref filter='clean-traffic'><parameter name='IP' value='192.0.2.7'/></filterref>`
	for name, c := range map[string]struct {
		setting, filter string
		want            []netip.Addr
	}{
		"the filter's address": {"auto", filter, addrs("192.0.2.7")},
		"nor the agent's":      {"agent", filter, addrs("192.0.2.7")},
		"learned by the filter, from what the guest sent": {"agent", `<filterref filter='no-ip-spoofing'/>`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			sees := func(n network) { n.sees("br0", "192.0.2.9", guest) }
			hostileGuest(t, c.setting, c.filter, []string{"192.0.2.8"}, sees, c.want)
		})
	}
}

func hostileGuest(t *testing.T, word, filter string, agent []string, build func(network), want []netip.Addr) {
	n := newNetwork(t)
	s := n.socket()
	if build != nil {
		build(n)
	}
	setting, _ := ParseSetting(word)
	src := newSource()
	src.xml = func() (string, error) { return strings.Replace(hostileXML, "FILTER", filter, 1), nil }
	if agent != nil {
		src.addrs = map[libvirt.AddressSource][]libvirt.CardAddresses{
			libvirt.FromAgent: {{MAC: guest.String(), Addrs: addrs(agent...)}}}
	}
	client := n.listen("client")
	a := n.announcer(s)
	plan, err := a.Refine(t.Context(), src, "vm1", setting)
	n.Must(err)
	a.Announce(t.Context(), plan, nil)
	if got := client.carried(s); !slices.Equal(got, want) {
		t.Errorf("the client heard %v, want %v", got, want)
	}
}
