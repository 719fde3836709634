package client

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// told waits for the next turn.
func told(t *testing.T, turns <-chan string) string {
	t.Helper()
	select {
	case s := <-turns:
		return s
	case <-time.After(2 * time.Minute):
		t.Fatal("no turn was told")
		return ""
	}
}

func TestFollow(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	described, err := c.XML(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	turns := make(chan string, 16)
	_, stop, err := c.Follow(ctx, func(domain string, turn libvirt.Turn) { turns <- domain + " " + turn.String() })
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return c.Create(ctx, guestXML) }, "fresh running"},
		{func() error { return c.Destroy(ctx, "fresh") }, "fresh halted"},
		{func() error { return c.Shutdown(ctx, "test", "") }, "test halted"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := told(t, turns); got != step.want {
			t.Errorf("told %q, want %q", got, step.want)
		}
	}
	stop()
	stop() // does nothing
	// libvirt releases a connection with events in its own time, and the next test may get the same
	// host: leave it as it was found.
	if err := errors.Join(c.Create(ctx, guestXML), c.Destroy(ctx, "fresh"), c.Create(ctx, described), c.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Follow(ctx, nil); !errors.Is(err, libvirt.ErrConnect) {
		t.Errorf("follow after close: %v", err)
	}
	if len(turns) > 0 {
		t.Errorf("told %q after the end", <-turns)
	}
}

func TestTurnOf(t *testing.T) {
	for _, c := range []struct {
		event  lv.DomainEventType
		detail int
		want   libvirt.Turn
		ok     bool
	}{
		{lv.DOMAIN_EVENT_STARTED, int(lv.DOMAIN_EVENT_STARTED_BOOTED), libvirt.TurnRunning, true},
		{lv.DOMAIN_EVENT_STARTED, int(lv.DOMAIN_EVENT_STARTED_RESTORED), libvirt.TurnRunning, true},
		{lv.DOMAIN_EVENT_STARTED, int(lv.DOMAIN_EVENT_STARTED_MIGRATED), libvirt.TurnArriving, true},
		{lv.DOMAIN_EVENT_RESUMED, int(lv.DOMAIN_EVENT_RESUMED_MIGRATED), libvirt.TurnRunning, true},
		{lv.DOMAIN_EVENT_RESUMED, int(lv.DOMAIN_EVENT_RESUMED_POSTCOPY), libvirt.TurnRunning, true},
		{lv.DOMAIN_EVENT_STARTED, int(lv.DOMAIN_EVENT_STARTED_WAKEUP), libvirt.TurnResumed, true},
		{lv.DOMAIN_EVENT_RESUMED, int(lv.DOMAIN_EVENT_RESUMED_UNPAUSED), libvirt.TurnResumed, true},
		{lv.DOMAIN_EVENT_RESUMED, int(lv.DOMAIN_EVENT_RESUMED_FROM_SNAPSHOT), libvirt.TurnResumed, true},
		{lv.DOMAIN_EVENT_SUSPENDED, 0, libvirt.TurnPaused, true},
		{lv.DOMAIN_EVENT_SUSPENDED, int(lv.DOMAIN_EVENT_SUSPENDED_IOERROR), libvirt.TurnPaused, true},
		{lv.DOMAIN_EVENT_STOPPED, int(lv.DOMAIN_EVENT_STOPPED_MIGRATED), libvirt.TurnHalted, true},
		{lv.DOMAIN_EVENT_CRASHED, 0, libvirt.TurnHalted, true},
		{lv.DOMAIN_EVENT_PMSUSPENDED, 0, libvirt.TurnPaused, true},
		{lv.DOMAIN_EVENT_SHUTDOWN, 0, 0, false}, // it is about to end, and still runs
		{lv.DOMAIN_EVENT_DEFINED, 0, 0, false},
	} {
		got, ok := turnOf(&lv.DomainEventLifecycle{Event: c.event, Detail: c.detail})
		if got != c.want || ok != c.ok {
			t.Errorf("event %d, detail %d: %v, %v", c.event, c.detail, got, ok)
		}
	}
}

// The test driver makes up a lease for the card of its domain.
func TestInterfaceAddresses(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	got, err := c.InterfaceAddresses(ctx, "test", libvirt.FromLease)
	if err != nil || len(got) != 1 || got[0].MAC != "aa:bb:cc:dd:ee:ff" || len(got[0].Addrs) != 1 || !got[0].Addrs[0].Is4() {
		t.Errorf("addresses of the test domain: %v, %v", got, err)
	}
	if _, err := c.InterfaceAddresses(ctx, "nobody", libvirt.FromARP); !errors.Is(err, libvirt.ErrNoDomain) {
		t.Errorf("no domain: %v", err)
	}
	got = cardAddresses([]lv.DomainInterface{
		{Name: "lo", Hwaddr: "00:00:00:00:00:00"},
		{Name: "eth0", Hwaddr: "52:54:00:12:34:56",
			Addrs: []lv.DomainIPAddress{{Addr: "192.0.2.7"}, {Addr: "?"}, {Addr: "2001:db8::7"}}},
	})
	want := []libvirt.CardAddresses{{MAC: "52:54:00:12:34:56",
		Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !slices.Equal([]libvirt.AddressSource{libvirt.FromLease, libvirt.FromAgent, libvirt.FromARP}, []libvirt.AddressSource{
		libvirt.AddressSource(lv.DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE),
		libvirt.AddressSource(lv.DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT),
		libvirt.AddressSource(lv.DOMAIN_INTERFACE_ADDRESSES_SRC_ARP)}) {
		t.Error("the sources are not libvirt's")
	}
}

// Guests whose agents never answer do not take the connection from others.
func TestAgentsAreBounded(t *testing.T) {
	c, ctx := testConn(t), t.Context()
	c.agents.Store(maxAgents)
	if _, err := c.InterfaceAddresses(ctx, "test", libvirt.FromAgent); err == nil ||
		!strings.Contains(err.Error(), "other guest agents") {
		t.Errorf("a third agent: %v", err)
	}
	if got, err := c.InterfaceAddresses(ctx, "test", libvirt.FromLease); err != nil || len(got) != 1 {
		t.Errorf("leases: %v, %v", got, err)
	}
	c.agents.Store(0)
	if _, err := c.InterfaceAddresses(ctx, "test", libvirt.FromAgent); err != nil &&
		strings.Contains(err.Error(), "other guest agents") {
		t.Errorf("an agent alone: %v", err)
	}
	if n := c.agents.Load(); n != 0 {
		t.Errorf("%d agents are asked after the end", n)
	}
}
