package announce

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Which claims are announced, and why not.
func TestChoose(t *testing.T) {
	a := netip.MustParseAddr
	configured, unconfigured := []origin{byOperator, byXML}, []origin{byLease, byHost, byAgent}
	both, anybody := []origin{byOperator, byAgent}, slices.Concat(configured, unconfigured)
	elsewhere := MAC{2, 0, 0, 0, 0, 9}
	filter := func(params ...string) Filter {
		f := Filter{Name: "clean-traffic"}
		for _, p := range params {
			name, value, _ := strings.Cut(p, "=")
			f.add(name, value)
		}
		return f
	}
	s := scene{
		own: []netip.Prefix{netip.MustParsePrefix("192.0.2.3/24"), netip.MustParsePrefix("203.0.113.3/32"),
			netip.MustParsePrefix("2001:db8::3/64"), netip.MustParsePrefix("198.51.100.0/31")},
		gateways: addrs("192.0.2.254", "192.0.2.253", "fe80::fe"),
		peers:    addrs("192.0.2.4"),
		others:   map[netip.Addr]string{a("192.0.2.8"): "vm2"},
		near: []Neighbour{
			{MAC: elsewhere, Addr: a("192.0.2.9"), Age: time.Hour}, {MAC: elsewhere, Addr: a("192.0.2.10"), Set: true},
			{MAC: elsewhere, Addr: a("192.0.2.11")}, {MAC: guest, Addr: a("192.0.2.11")},
			{MAC: guest, Addr: a("192.0.2.253")}, {MAC: guest, Addr: guest4},
			{MAC: guest, Addr: a("192.0.2.12")}, {MAC: elsewhere, Addr: a("192.0.2.12"), Past: true},
		},
	}
	for name, c := range map[string]struct {
		claim  string
		by     []origin
		filter Filter
		blind  bool
		why    string // "" announces it
	}{
		"an address of its own":                 {claim: "192.0.2.7", by: anybody},
		"the node's":                            {claim: "192.0.2.3", by: anybody, why: "address of this node"},
		"the node's in another network":         {claim: "203.0.113.3", by: both, why: "address of this node"},
		"the node's of IPv6":                    {claim: "2001:db8::3", by: both, why: "address of this node"},
		"a broadcast address":                   {claim: "192.0.2.255", by: both, why: "broadcast"},
		"a network's address":                   {claim: "192.0.2.0", by: both, why: "broadcast"},
		"the anycast address of routers":        {claim: "2001:db8::", by: both, why: "the network's own"},
		"the last address of IPv6":              {claim: "2001:db8::ffff:ffff:ffff:ffff", by: both},
		"point to point":                        {claim: "198.51.100.1", by: both},
		"a gateway's":                           {claim: "192.0.2.254", by: anybody, why: "gateway"},
		"a guest that is the gateway":           {claim: "192.0.2.253", by: configured},
		"a guest that plays the gateway":        {claim: "192.0.2.253", by: unconfigured, why: "gateway"},
		"a peer's":                              {claim: "192.0.2.4", by: anybody, why: "node of the cluster"},
		"at another MAC, stale":                 {claim: "192.0.2.9", by: anybody, why: "02:00:00:00:00:09"},
		"at another MAC, permanent":             {claim: "192.0.2.10", by: []origin{byAgent}, why: "02:00:00:00:00:09"},
		"at another MAC as well":                {claim: "192.0.2.11", by: []origin{byHost, byAgent}, why: "02:00:00:00:00:09"},
		"a gateway's of IPv6, by its interface": {claim: "2001:db8::fe", by: unconfigured, why: "gateway"},
		"at another MAC a moment ago":           {claim: "192.0.2.12", by: unconfigured, why: "02:00:00:00:00:09"},
		"given, and moved here":                 {claim: "192.0.2.12", by: configured},
		"another guest's": {claim: "192.0.2.8", by: []origin{byLease, byHost, byAgent},
			why: `guest "vm2" has it`},
		"given to two guests": {claim: "192.0.2.8", by: []origin{byOperator, byXML}},
		"the filter's": {claim: "192.0.2.7", by: anybody,
			filter: filter("IP=192.0.2.7", "IP=192.0.2.6")},
		"a filter that names none": {claim: "192.0.2.7", by: anybody, filter: Filter{Name: "no-mac-spoofing"}},
		"not the filter's": {claim: "192.0.2.5", by: anybody, filter: filter("IP=192.0.2.7"),
			why: "does not allow"},
		"the filter's, broken": {claim: "192.0.2.5", by: []origin{byOperator, byLease, byAgent},
			filter: filter("IP=?"), why: "does not allow"},
		"the filter's of the other kind": {claim: "2001:db8::7", by: unconfigured,
			filter: filter("IP=192.0.2.7"), why: "does not allow"},
		"given, of the other kind": {claim: "2001:db8::7", by: configured, filter: filter("IP=192.0.2.7")},
		"the filter's of IPv6": {claim: "2001:db8::7", by: both, filter: filter("IPV6=2001:db8::8"),
			why: "does not allow"},
		"a filter that learns": {claim: "192.0.2.7", by: []origin{byHost, byAgent},
			filter: filter("CTRL_IP_LEARNING=any"), why: "does not allow"},
		"what libvirt knows of a learner": {claim: "192.0.2.7", by: []origin{byOperator, byXML, byLease},
			filter: filter("CTRL_IP_LEARNING=dhcp")},
		"the tables cannot be read": {claim: "192.0.2.7", by: unconfigured, blind: true, why: "owner is not known"},
		"given, and no tables":      {claim: "192.0.2.7", by: configured, blind: true},
	} {
		for _, by := range c.by {
			t.Run(fmt.Sprint(name, by), func(t *testing.T) {
				s := s
				if c.blind {
					s.blind = errors.New("no netlink")
				}
				got, left := choose(Card{MAC: guest, Filter: c.filter}, []claim{{a(c.claim), by}}, s)
				switch {
				case c.why == "" && (len(left) > 0 || !slices.Equal(got, addrs(c.claim))):
					t.Errorf("announced %v, left out %v", got, left)
				case c.why != "" && (len(got) > 0 || len(left) != 1 || !strings.Contains(left[0].why, c.why)):
					t.Errorf("announced %v, left out %v, want %q", got, left, c.why)
				}
			})
		}
	}
}

// What is not an address of a host is not spoken of.
func TestChooseIsSilent(t *testing.T) {
	got, left := choose(Card{MAC: guest}, claims(byAgent, addrs("127.0.0.1", "::1", "fe80::7", "224.0.0.1", "ff02::1",
		"0.0.0.0", "::", "255.255.255.255", "240.0.0.1", "0.0.0.9", "169.254.169.254", "::ffff:192.0.2.7",
		"2001:db8::7%eth0")), scene{})
	if len(got)+len(left) > 0 {
		t.Errorf("announced %v, left out %v", got, left)
	}
	got, _ = choose(Card{MAC: guest}, claims(byOperator, addrs("169.254.1.7")), scene{})
	if !slices.Equal(got, addrs("169.254.1.7")) {
		t.Errorf("announced %v", got)
	}
}

// The guest's words take no room from those of an administrator.
func TestChooseIsBounded(t *testing.T) {
	all := claims(byOperator, addrs("192.0.2.7"))
	for i := range 5 * maxAddrs {
		all = slices.Insert(all, 0, claim{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), byAgent})
	}
	got, left := choose(Card{MAC: guest}, append(all, all...), scene{})
	if len(got) != maxAddrs || got[0] != guest4 || len(left) != 4*maxAddrs+1 {
		t.Errorf("announced %d, the first %v; left out %d", len(got), got[0], len(left))
	}
}

func TestSceneSeen(t *testing.T) {
	s := scene{near: []Neighbour{
		{MAC: guest, Addr: guest4, Age: time.Second}, {MAC: guest, Addr: guest6, Age: seenLately},
		{MAC: MAC{2}, Addr: netip.MustParseAddr("192.0.2.8")},
		{MAC: guest, Addr: netip.MustParseAddr("192.0.2.9"), Age: seenLately + 1}, // perhaps somebody else's by now
		{MAC: guest, Addr: netip.MustParseAddr("192.0.2.10"), Set: true},
	}}
	if got := s.seen(guest); !slices.Equal(got, []netip.Addr{guest4, guest6}) {
		t.Errorf("got %v", got)
	}
}

// What is left out is said once for each guest and address, however often the guest is prepared for.
func TestLeftOutIsSaidOnce(t *testing.T) {
	log, hook := test.NewNullLogger()
	h := sysfs(t, twoTaps)
	h.Tables = func() (Tables, error) { return Tables{Own: []netip.Prefix{netip.MustParsePrefix("192.0.2.3/24")}}, nil }
	a := newWire().announcer(h)
	a.Log, a.Memory = log, new(Memory)
	src := newSource()
	src.addrs = map[libvirt.AddressSource][]libvirt.CardAddresses{
		libvirt.FromAgent: card("192.0.2.3", guest), libvirt.FromLease: card("192.0.2.3", guest)}
	for range 5 {
		for _, guest := range []string{"vm1", "vm2"} {
			if _, err := a.Refine(t.Context(), src, guest, Setting{Agent: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var said int
	for _, e := range hook.AllEntries() {
		if strings.Contains(e.Message, "192.0.2.3") {
			said++
		}
	}
	if said != 2 {
		t.Errorf("said %d times", said)
	}
}

// A guest that claims thousands of addresses gets few lines.
func TestFewLinesAreSaid(t *testing.T) {
	log, hook := test.NewNullLogger()
	h := sysfs(t, twoTaps)
	h.Tables = func() (Tables, error) { return Tables{}, nil }
	a := newWire().announcer(h)
	a.Log = log
	src := newSource()
	told := []libvirt.CardAddresses{{MAC: guest.String()}}
	for i := range 5000 {
		told[0].Addrs = append(told[0].Addrs, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	src.addrs = map[libvirt.AddressSource][]libvirt.CardAddresses{libvirt.FromAgent: told, libvirt.FromLease: {}}
	if _, err := a.Refine(t.Context(), src, "vm1", Setting{Agent: true}); err != nil {
		t.Fatal(err)
	}
	said := slices.DeleteFunc(hook.AllEntries(), func(e *logrus.Entry) bool {
		return !strings.Contains(e.Message, "address")
	})
	if len(said) != maxLines+1 {
		t.Errorf("said %d lines", len(said))
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var s Memory
	for i := range 3 * maxSaid {
		if text := fmt.Sprint(i); !s.first(text) || s.first(text) {
			t.Fatalf("%s is not said once", text)
		}
	}
	if len(s.said) > maxSaid {
		t.Errorf("%d texts are remembered", len(s.said))
	}
}

// An address of one guest is not announced for a second one that comes to claim it, until the first is gone.
func TestAddressOfAnotherGuest(t *testing.T) {
	h := sysfs(t, twoTaps)
	h.Tables = func() (Tables, error) { return Tables{}, nil }
	a := newWire().announcer(h)
	a.Memory = new(Memory)
	src := newSource()
	src.addrs = map[libvirt.AddressSource][]libvirt.CardAddresses{
		libvirt.FromAgent: card("192.0.2.7", guest), libvirt.FromLease: {}}
	for _, c := range []struct {
		guest string
		want  int
	}{{"vm1", 1}, {"vm2", 0}, {"vm1", 1}} {
		plan, err := a.Refine(t.Context(), src, c.guest, Setting{Agent: true})
		if err != nil || len(plan.Cards[0].Addrs) != c.want {
			t.Errorf("guest %s: %v, %v", c.guest, plan.Cards, err)
		}
	}
	a.Memory.keep("vm1", nil)
	if plan, err := a.Refine(t.Context(), src, "vm2", Setting{Agent: true}); err != nil || len(plan.Cards[0].Addrs) != 1 {
		t.Errorf("after it left: %v, %v", plan.Cards, err)
	}
	// What is configured for a guest is its own, also while it is elsewhere.
	a.Others = func() map[netip.Addr]string { return map[netip.Addr]string{guest4: "vm9"} }
	if plan, err := a.Refine(t.Context(), src, "vm2", Setting{Agent: true}); err != nil || len(plan.Cards[0].Addrs) != 0 {
		t.Errorf("configured for another: %v, %v", plan.Cards, err)
	}
}

// An address that another MAC had a few minutes ago is not announced for the guest that took it over in the table.
func TestTakenOverAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Memory
		victim := Neighbour{MAC: MAC{2}, Addr: guest4, Link: 1, Age: time.Minute}
		m.watch(time.Now(), []Neighbour{victim})
		spoofed := []Neighbour{{MAC: guest, Addr: guest4, Link: 1}}
		m.watch(time.Now(), spoofed)
		for _, c := range []struct{ later, want int }{{0, 0}, {3, 0}, {5, 1}} { // in minutes
			began := time.Now()
			time.Sleep(time.Duration(c.later)*time.Minute - time.Since(began))
			s := scene{near: append(slices.Clone(spoofed), m.past(time.Now())...)}
			if got, left := choose(Card{MAC: guest}, claims(byHost, s.seen(guest)), s); len(got) != c.want {
				t.Errorf("after %d more minutes: announced %v, left out %v", c.later, got, left)
			}
		}
		var many []Neighbour
		for i := range 2 * maxSightings {
			addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			many = append(many, Neighbour{MAC: guest, Addr: addr, Link: 1})
		}
		if m.watch(time.Now(), many); len(m.seen) > maxSightings {
			t.Errorf("%d sightings are remembered", len(m.seen))
		}
	})
}

// The watcher remembers the table while there are guests.
func TestWatcherRemembersNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second)
		defer cancel()
		n := &node{world: newSource(), wire: newWire(), began: time.Now()}
		read := 0
		h := Host{Tables: func() (Tables, error) {
			read++
			return Tables{Neighbours: []Neighbour{{MAC: guest, Addr: guest4, Link: 1}}}, nil
		}}
		w := &Watcher{Announcer: n.wire.announcer(h), Dial: n.dial, Guests: func() ([]Guest, error) {
			return []Guest{{Name: "vm1", URI: "qemu:///system"}}, nil
		}}
		w.Run(ctx)
		if got := w.Memory.past(time.Now()); len(got) != 1 || read != 6 {
			t.Errorf("read %d times, remembered %v", read, got)
		}
	})
}

// What is configured in the XML of a guest that was here before the daemon is not announced for another.
func TestWatcherRecallsGuests(t *testing.T) {
	watch(t, func(n *node) {
		n.mu.Lock()
		n.guests = append(n.guests, Guest{Name: "vm2", URI: "qemu:///system"})
		n.mu.Unlock()
		n.xml = func() (string, error) {
			return `<domain><devices><interface><mac address='52:54:00:12:34:58'/><target dev='vnet1'/>
				<filterref filter='clean-traffic'><parameter name='IP' value='192.0.2.7'/></filterref></interface></devices></domain>`, nil
		}
		close(n.lost) // and a new connection is made
		pass(time.Minute)
		addrs := map[netip.Addr]string{}
		n.watcher.Memory.others("vm1", addrs)
		if addrs[guest4] != "vm2" {
			t.Errorf("recalled %v", addrs)
		}
		n.tell("vm2", libvirt.TurnHalted)
		synctest.Wait()
		clear(addrs)
		if n.watcher.Memory.others("vm1", addrs); len(addrs) > 0 {
			t.Errorf("remembered after it is gone: %v", addrs)
		}
	})
}

func TestFramesOfTheNodeAreBounded(t *testing.T) {
	var m Memory
	now := time.Unix(0, 0)
	sent := 0
	for range 1000 { // a second
		for range 1000 {
			if m.allow(now) {
				sent++
			}
		}
		now = now.Add(time.Millisecond)
	}
	if sent < framesPerSecond || sent > framesPerSecond+framesAtOnce {
		t.Errorf("sent %d frames in a second", sent)
	}
}

// An agent that tells without end is not listened to for long.
func TestClaimsAreBounded(t *testing.T) {
	src := newSource()
	var told []libvirt.CardAddresses
	for i := range 2000 {
		told = append(told, card(fmt.Sprintf("10.0.%d.%d", i>>8, i&255), guest)...)
	}
	src.addrs = map[libvirt.AddressSource][]libvirt.CardAddresses{libvirt.FromAgent: told}
	got := newWire().announcer(Host{}).ask(t.Context(), src, "vm1", libvirt.FromAgent)
	if len(got[guest]) != maxClaims {
		t.Errorf("%d claims", len(got[guest]))
	}
}
