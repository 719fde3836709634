package announce

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxAddrs is how many addresses of a card are announced at the most.
const maxAddrs = 64

// origin is who says that an address is a card's.
type origin int

const (
	byOperator origin = iota // the setting names it
	byXML                    // the domain XML does, as an address or as a parameter of the card's filter
	byLease                  // libvirt's DHCP server gave it
	byHost                   // the host has it at the card's MAC
	byAgent                  // the guest says so
)

// configured reports whether an administrator wrote the address down: neither the guest nor a neighbour can.
func (o origin) configured() bool { return o <= byXML }

// claim is an address that may be a card's.
type claim struct {
	addr netip.Addr
	by   origin
}

func claims(by origin, addrs []netip.Addr) []claim {
	all := make([]claim, 0, len(addrs))
	for _, a := range addrs {
		all = append(all, claim{a, by})
	}
	return all
}

// omission is an address that is not announced, and why.
type omission struct {
	addr netip.Addr
	why  string
}

// scene is what the node knows about the addresses of others, on the link of one card.
type scene struct {
	own      []netip.Prefix
	gateways []netip.Addr
	peers    []netip.Addr          // other nodes of the cluster
	others   map[netip.Addr]string // the guest that has an address, without the card's own guest
	near     []Neighbour           // on the link
	blind    error                 // why the kernel's tables could not be read
}

// choose decides which addresses of a card are announced: each once, those of an administrator first.
func choose(c Card, all []claim, s scene) (chosen []netip.Addr, left []omission) {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b claim) int { return cmp.Compare(a.by, b.by) })
	done := map[netip.Addr]bool{}
	for _, cl := range all {
		if !announced(cl.addr) || cl.addr.IsLinkLocalUnicast() && !cl.by.configured() || done[cl.addr] {
			continue // nothing to speak of
		}
		done[cl.addr] = true
		why := s.objection(c, cl)
		if why == "" && len(chosen) == maxAddrs {
			why = fmt.Sprintf("%d addresses of the card are announced already", maxAddrs)
		}
		if why != "" {
			left = append(left, omission{cl.addr, why})
			continue
		}
		chosen = append(chosen, cl.addr)
	}
	return chosen, left
}

// objection is why an address is not announced, "" where there is no reason.
func (s scene) objection(c Card, cl claim) string {
	a := cl.addr
	at := s.at(a, !cl.by.configured())
	other := slices.IndexFunc(at, func(m MAC) bool { return m != c.MAC })
	switch {
	case s.blind != nil && !cl.by.configured():
		return "its owner is not known: " + s.blind.Error()
	case slices.ContainsFunc(s.own, func(p netip.Prefix) bool { return p.Addr() == a }):
		return "it is an address of this node"
	case slices.ContainsFunc(s.own, func(p netip.Prefix) bool { return reserved(p, a) }):
		return "it is the network's own address or its broadcast address"
	case slices.Contains(s.peers, a):
		return "it is an address of a node of the cluster"
	case s.isGateway(cl) && !(cl.by.configured() && slices.Contains(at, c.MAC)):
		return "it is a gateway of this node; if the guest is that gateway, name the address in announce"
	case other >= 0:
		return fmt.Sprintf("this node sees it at %s; if that is out of date, type: ip neigh flush to %s", at[other], a)
	case s.others[a] != "" && !cl.by.configured(): // what another guest claims takes no configured address away
		return fmt.Sprintf("guest %q has it; name the address in announce of the guest that is to have it", s.others[a])
	case !c.Filter.allows(cl):
		return fmt.Sprintf("the filter %q of the card does not allow it, or learns it from the guest; "+
			"add <parameter name='%s' value='%s'/> to the card's filterref", c.Filter.Name, variable(a), a)
	}
	return ""
}

// isGateway reports whether an address is a next hop. One of IPv6 is known by its link-local address: an address with
// the same interface identifier (RFC 4291, section 2.5.1) is taken for the same gateway's unless it is configured.
func (s scene) isGateway(cl claim) bool {
	return slices.ContainsFunc(s.gateways, func(g netip.Addr) bool {
		g16, a16 := g.As16(), cl.addr.As16()
		return g == cl.addr || g.Is6() && g.IsLinkLocalUnicast() && cl.addr.Is6() && !cl.by.configured() &&
			[8]byte(g16[8:]) == [8]byte(a16[8:])
	})
}

// at are the MACs at which the node has an address, or where past also had it not long ago.
func (s scene) at(a netip.Addr, past bool) []MAC {
	var at []MAC
	for _, n := range s.near {
		if n.Addr == a && (past || !n.Past) {
			at = append(at, n.MAC)
		}
	}
	return at
}

// reserved reports whether an address is no host's in the network of a prefix: the first, which in IPv6 is the anycast
// address of its routers (RFC 4291, section 2.6.1), or in IPv4 the last.
func reserved(p netip.Prefix, a netip.Addr) bool {
	if p.Addr().BitLen() != a.BitLen() || p.Bits() >= a.BitLen()-1 || p.Bits() == 0 || !p.Contains(a) {
		return false
	}
	return a == p.Masked().Addr() || a.Is4() && !p.Contains(a.Next())
}

// seen are the addresses that the host has seen lately at a MAC.
func (s scene) seen(mac MAC) []netip.Addr {
	var addrs []netip.Addr
	for _, n := range s.near {
		if n.MAC == mac && !n.Set && !n.Past && n.Age <= seenLately {
			addrs = append(addrs, n.Addr)
		}
	}
	return addrs
}

// Filter is what libvirt's packet filter of a card says about its addresses. The zero value filters nothing.
type Filter struct {
	Name  string       // of the filter; "" for none
	Addrs []netip.Addr // its parameters IP and IPV6
	four  bool         // it has parameters IP
	six   bool         // it has parameters IPV6
}

// variable is the parameter for addresses of a family.
func variable(a netip.Addr) string {
	if a.Is4() {
		return "IP"
	}
	return "IPV6"
}

// add takes a parameter. libvirt's own filters know the two names (no-ip-spoofing, no-ipv6-spoofing).
func (f *Filter) add(name, value string) {
	f.four, f.six = f.four || name == "IP", f.six || name == "IPV6"
	a, err := netip.ParseAddr(strings.TrimSpace(value))
	if err != nil || name != "IP" && name != "IPV6" {
		return
	}
	f.Addrs = append(f.Addrs, a)
	f.four, f.six = f.four || a.Is4(), f.six || a.Is6()
}

// addressless are filters of libvirt's own that say nothing of a guest's addresses (/etc/libvirt/nwfilter).
var addressless = []string{"no-mac-spoofing", "no-mac-broadcast", "no-arp-mac-spoofing", "no-ip-multicast",
	"no-ipv6-multicast", "no-other-l2-traffic", "no-other-rarp-traffic", "qemu-announce-self",
	"qemu-announce-self-rarp", "allow-arp", "allow-dhcp", "allow-dhcpv6", "allow-ipv4", "allow-ipv6",
	"allow-incoming-ipv4", "allow-incoming-ipv6"}

// allows reports whether the card may have an address. A filter without addresses learns them from what the guest
// sends (CTRL_IP_LEARNING of libvirt's nwfilter), and does not say what it learned: then only libvirt's leases
// count. What an administrator configured is held against the filter's addresses of the same family.
func (f Filter) allows(cl claim) bool {
	switch {
	case f.Name == "" || slices.Contains(f.Addrs, cl.addr):
		return true
	case slices.Contains(addressless, f.Name) && !f.four && !f.six:
		return true
	case cl.by.configured():
		return cl.addr.Is4() && !f.four || cl.addr.Is6() && !f.six
	}
	return cl.by == byLease && !f.four && !f.six
}
