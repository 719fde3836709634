package preflight

import (
	"net/netip"
	"testing"
	"testing/synctest"
)

func addrs(texts ...string) (all []netip.Addr) {
	for _, a := range texts {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

func TestReachOf(t *testing.T) {
	own := addrs("192.0.2.1", "2001:db8::1", "fe80::1%eth0")
	for _, c := range []struct {
		addrs []netip.Addr
		want  reach
	}{
		{nil, nowhere},
		{addrs("192.0.2.2"), elsewhere},
		{addrs("2001:db8::2"), elsewhere},
		{addrs("127.0.1.1"), home},
		{addrs("::1"), home},
		{addrs("::ffff:127.0.0.1"), home},
		{addrs("0.0.0.0"), home},
		{addrs("192.0.2.1"), home},
		{addrs("::ffff:192.0.2.1"), home},
		{addrs("fe80::1%eth1"), home},
		{addrs("192.0.2.2", "127.0.1.1"), home},
	} {
		if got := reachOf(c.addrs, own); got != c.want {
			t.Errorf("%v: %q, want %q", c.addrs, got, c.want)
		}
	}
}

func TestRoute(t *testing.T) {
	for _, c := range []struct {
		name    string
		r       route
		uri     string
		refused bool
	}{
		{"its own name is known", route{"n2", elsewhere, "n2", elsewhere}, "", false},
		{"its own name is known, and no other", route{"n2", elsewhere, "", ""}, "", false},
		{"unknown", route{"kvm-b.site", nowhere, "n2", elsewhere}, "tcp://n2", false},
		{"means this node", route{"kvm-b.site", home, "192.0.2.2", elsewhere}, "tcp://192.0.2.2", false},
		{"an IPv6 address", route{"kvm-b.site", nowhere, "2001:db8::2", elsewhere}, "tcp://[2001:db8::2]", false},
		{"localhost, whatever it resolves to", route{"localhost.localdomain", elsewhere, "n2", elsewhere}, "tcp://n2", false},
		{"a tunnel to this node's own port", route{"kvm-b.site", nowhere, "localhost", home}, "", true},
		{"a name of ssh's own", route{"kvm-b.site", nowhere, "b", nowhere}, "", true},
		{"no host", route{"kvm-b.site", nowhere, "", ""}, "", true},
	} {
		uri, why, err := c.r.decide()
		if uri != c.uri || (err != nil) != c.refused || (uri != "") != (why != "") {
			t.Errorf("%s: %q because %q, %v", c.name, uri, why, err)
		}
	}
}

func TestGivenAddressIsLookedUp(t *testing.T) {
	for _, c := range []struct {
		given   string
		refused bool
	}{
		{"tcp://node2", false}, {"tcp://node2:49152", false}, {"tcp://192.0.2.9", false}, {"tcp://[2001:db8::2]:7", false},
		{"tcp://self:7", false}, // a tunnel
		{"unix:///run/x.sock", false}, {"rdma://node2", false},
		{"tcp://no-such-host.example", true}, {"rdma://no-such-host.example:7", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t)
			p.req.MigrateURI = c.given
			x, err := p.run(t)
			refused := len(x.Refusals) == 1 && x.Refusals[0].Check == CheckAddress
			if err != nil || refused != c.refused || len(x.Refusals) > 1 {
				t.Errorf("%s: %+v, %v", c.given, x, err)
			}
		})
	}
}
