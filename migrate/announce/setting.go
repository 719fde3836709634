package announce

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// The words of the parameter announce.
const (
	Auto  = "auto"
	Agent = "agent"
	Off   = "off"
)

// words are all of them, for messages.
const words = Auto + ", " + Agent + ", " + Off

// Setting is what an operator wants for a guest. The zero value is [Auto]: what this host and its libvirt know.
type Setting struct {
	Off   bool                 // say nothing
	Agent bool                 // believe the guest agent too
	First []netip.Addr         // addresses of the guest's first card
	Cards map[MAC][]netip.Addr // and of those that are named by MAC
}

// ParseSetting reads "auto" (or nothing), "agent", "off", or a list with commas between of IP addresses, each
// of them alone for the guest's first card or as MAC=ADDRESS. The error says what is wrong with
// the text, and what to write.
func ParseSetting(text string) (Setting, error) {
	switch strings.TrimSpace(text) {
	case "", Auto:
		return Setting{}, nil
	case Agent:
		return Setting{Agent: true}, nil
	case Off:
		return Setting{Off: true}, nil
	}
	s := Setting{Cards: map[MAC][]netip.Addr{}}
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(", \t\n", r) }) {
		card, address, named := strings.Cut(word, "=")
		if !named {
			card, address = "", word
		}
		addr, err := parseAddr(address)
		if err != nil {
			return Setting{}, err
		}
		if !named {
			s.First = append(s.First, addr)
			continue
		}
		mac, err := ParseMAC(card)
		if err != nil {
			return Setting{}, fmt.Errorf("%w: write it like 52:54:00:12:34:56=192.0.2.7", err)
		}
		s.Cards[mac] = append(s.Cards[mac], addr)
	}
	if !s.fixed() {
		return Setting{}, fmt.Errorf("it names no address: use %s, or addresses with commas between", words)
	}
	return s, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is not an IP address: use %s, or addresses like 192.0.2.7,2001:db8::7",
			s, words)
	case a.Is6() && a.IsLinkLocalUnicast():
		return netip.Addr{}, fmt.Errorf("%q is a link-local address, which a router is known by and is not announced: "+
			"leave it out", s)
	case !announced(a):
		return netip.Addr{}, fmt.Errorf("%q is not an address of a network card: leave it out", s)
	}
	return a, nil
}

// announced reports whether an address is one to announce: of one host, in its network, and
// not link-local IPv6 (see the package's comment).
func announced(a netip.Addr) bool {
	if a.Is4() { // 0.0.0.0/8 and 240.0.0.0/4 are no host's (RFC 6890)
		return a.As4()[0] != 0 && a.As4()[0] < 240 && !a.IsLoopback() && !a.IsMulticast()
	}
	return a.Is6() && a.Zone() == "" && !a.Is4In6() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() &&
		!a.IsLinkLocalUnicast()
}

// fixed reports whether the operator gave addresses: then these alone are announced.
func (s Setting) fixed() bool { return len(s.First) > 0 || len(s.Cards) > 0 }

// Addrs are the given addresses of all cards.
func (s Setting) Addrs() []netip.Addr {
	return slices.Concat(append(slices.Collect(maps.Values(s.Cards)), s.First)...)
}

// of are the given addresses of a card; i is its place among the guest's.
func (s Setting) of(i int, mac MAC) []netip.Addr {
	if i > 0 {
		return s.Cards[mac]
	}
	return append(s.First[:len(s.First):len(s.First)], s.Cards[mac]...)
}
