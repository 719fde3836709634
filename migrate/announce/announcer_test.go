package announce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

func quiet() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// wire takes note of what is sent, and when.
type wire struct {
	began time.Time

	mu   sync.Mutex
	at   []time.Duration // of each round
	sent []string        // outlet, kind and address
	fail func() error
}

func newWire() *wire { return &wire{began: time.Now(), fail: func() error { return nil }} }

func (w *wire) send(o Outlet, frame []byte) error {
	n, err := Parse(tagged(frame, o.VLAN))
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if at := time.Since(w.began); len(w.at) == 0 || w.at[len(w.at)-1] != at {
		w.at = append(w.at, at)
	}
	text := o.String() + " " + string(n.Kind)
	if n.Addr.IsValid() {
		text += " " + n.Addr.String()
	}
	w.sent = append(w.sent, text)
	return w.fail()
}

// heard is what was sent until now.
func (w *wire) heard() (at []time.Duration, sent []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.at), slices.Clone(w.sent)
}

func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at, w.sent = nil, nil
}

func (w *wire) announcer(h Host) Announcer {
	return Announcer{Host: h, Send: w.send, Log: quiet(), Memory: new(Memory)}
}

func planned(addrs ...netip.Addr) Plan {
	return Plan{Guest: "vm1", Cards: []Planned{{
		Card: Card{MAC: guest, Addrs: addrs}, Outlets: []Outlet{{Dev: "eth0", Index: 3}}, frames: Frames(guest, addrs),
	}}}
}

func TestAnnounceKeepsTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		w.announcer(Host{}).Announce(t.Context(), planned(), nil)
		if !slices.Equal(w.at, Schedule) {
			t.Errorf("rounds at %v, want %v", w.at, Schedule)
		}
	})
}

func TestAnnounceEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		w.announcer(Host{}).Announce(ctx, planned(), nil)
		if want := Schedule[:3]; !slices.Equal(w.at, want) || time.Since(w.began) != 400*time.Millisecond {
			t.Errorf("rounds at %v, want %v; ended after %v", w.at, want, time.Since(w.began))
		}
		w = newWire()
		w.announcer(Host{}).Announce(ctx, planned(), nil) // of a guest that left already
		if len(w.at) > 0 {
			t.Errorf("announced at %v", w.at)
		}
	})
}

// The first round waits for nothing. What a plan lacks is found out after it, and used from then on; a whole plan is
// looked at again when the guest has had its second.
func TestAnnounceRefines(t *testing.T) {
	partial := planned()
	partial.Partial = true
	for name, c := range map[string]struct {
		plan  Plan
		asked time.Duration // when
		plain int           // rounds with the first plan
	}{
		"whole":   {planned(), 1100 * time.Millisecond, 4},
		"partial": {partial, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWire()
				w.announcer(Host{}).Announce(t.Context(), c.plan, func(context.Context) (Plan, error) {
					if got := time.Since(w.began); got != c.asked {
						t.Errorf("asked after %v", got)
					}
					time.Sleep(50 * time.Millisecond)
					return planned(guest4), nil
				})
				var want []string
				for i := range Schedule {
					want = append(want, "eth0 RARP")
					if i >= c.plain {
						want = append(want, "eth0 ARP request 192.0.2.7", "eth0 ARP reply 192.0.2.7")
					}
				}
				if !slices.Equal(w.sent, want) {
					t.Errorf("sent %q", w.sent)
				}
				w = newWire()
				w.announcer(Host{}).Announce(t.Context(), c.plan,
					func(context.Context) (Plan, error) { return Plan{}, errors.New("libvirt died") })
				if len(w.sent) != len(Schedule) {
					t.Errorf("sent %q", w.sent)
				}
			})
		})
	}
}

// A device that is down for a moment does not end the announcement.
func TestAnnounceGoesOnAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		w.fail = func() error { return errors.New("network is down") }
		w.announcer(Host{}).Announce(t.Context(), planned(), nil)
		if !slices.Equal(w.at, Schedule) {
			t.Errorf("rounds at %v", w.at)
		}
	})
}

// A guest with many addresses on a bridge with many ports makes no storm: each round has the frames that teach
// switches, and the next of the others.
func TestRoundsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		var many []netip.Addr
		for i := range maxAddrs {
			many = append(many, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}))
		}
		plan := planned(many...)
		plan.Cards[0].Outlets = nil
		for i := range 20 {
			plan.Cards[0].Outlets = append(plan.Cards[0].Outlets, Outlet{Dev: fmt.Sprint("port", i), Index: i + 3})
		}
		w.announcer(Host{}).Announce(t.Context(), plan, nil)
		if want := len(Schedule) * (20 + maxRound); len(w.sent) != want {
			t.Errorf("sent %d frames, want %d", len(w.sent), want)
		}
		first := w.sent[:20+maxRound]
		if slices.ContainsFunc(first[:20], func(s string) bool { return !strings.HasSuffix(s, " RARP") }) {
			t.Errorf("the first frames are %q", first[:20])
		}
		slices.Sort(w.sent)
		if got := len(slices.Compact(w.sent)); got != 20*(1+2*maxAddrs) {
			t.Errorf("%d different frames were sent in all rounds, of %d", got, 20*(1+2*maxAddrs))
		}
	})
}

// world is a libvirt with one guest.
type world struct {
	xml   func() (string, error)
	addrs map[libvirt.AddressSource][]libvirt.CardAddresses
	asked []libvirt.AddressSource
}

func (w *world) XML(context.Context, string) (string, error) { return w.xml() }

func (w *world) InterfaceAddresses(_ context.Context, _ string, s libvirt.AddressSource) ([]libvirt.CardAddresses, error) {
	w.asked = append(w.asked, s)
	if w.addrs[s] == nil {
		return nil, errors.New("not supported")
	}
	return w.addrs[s], nil
}

const twoCards = `<domain><devices>
	<interface type='network'><mac address='52:54:00:12:34:56'/><source network='net'/><target dev='vnet0'/></interface>
	<interface type='bridge'><mac address='52:54:00:12:34:57'/><source bridge='br0'/><target dev='vnet1'/></interface>
	<interface type='hostdev'><mac address='52:54:00:12:34:58'/></interface>
</devices></domain>`

const twoTaps = bridged + `
	vnet1 master br0
	vnet0 brport/state 3
`

func newSource() *world {
	return &world{xml: func() (string, error) { return twoCards, nil }}
}

func card(addr string, mac MAC) []libvirt.CardAddresses {
	return []libvirt.CardAddresses{{MAC: mac.String(), Addrs: addrs(addr)}}
}

func TestPrepare(t *testing.T) {
	second := MAC{0x52, 0x54, 0, 0x12, 0x34, 0x57}
	neighbour := []Neighbour{{MAC: second, Addr: guest6, Link: 1}} // on br0
	for name, c := range map[string]struct {
		setting    string
		addrs      map[libvirt.AddressSource][]libvirt.CardAddresses
		neighbours []Neighbour
		want       [2][]netip.Addr // of the two cards that can be announced
		asked      []libvirt.AddressSource
	}{
		"what can be found": {
			addrs:      map[libvirt.AddressSource][]libvirt.CardAddresses{libvirt.FromLease: card("192.0.2.7", guest)},
			neighbours: neighbour, want: [2][]netip.Addr{{guest4}, {guest6}}, asked: []libvirt.AddressSource{libvirt.FromLease},
		},
		"the agent is not asked, also where nothing is known": {
			addrs: map[libvirt.AddressSource][]libvirt.CardAddresses{libvirt.FromAgent: card("192.0.2.8", second)},
			asked: []libvirt.AddressSource{libvirt.FromLease},
		},
		"the agent is asked": {
			setting: "agent", neighbours: neighbour,
			addrs: map[libvirt.AddressSource][]libvirt.CardAddresses{libvirt.FromAgent: card("192.0.2.8", second)},
			want:  [2][]netip.Addr{nil, append([]netip.Addr{guest6}, addrs("192.0.2.8")...)},
			asked: []libvirt.AddressSource{libvirt.FromLease, libvirt.FromAgent},
		},
		"the agent tells of a card that libvirt does not know": {
			setting: "agent",
			addrs:   map[libvirt.AddressSource][]libvirt.CardAddresses{libvirt.FromAgent: card("192.0.2.8", MAC{2})},
			asked:   []libvirt.AddressSource{libvirt.FromLease, libvirt.FromAgent},
		},
		"a card that nothing is given for": {
			setting: "52:54:00:12:34:56=192.0.2.9", neighbours: neighbour, want: [2][]netip.Addr{addrs("192.0.2.9")},
		},
		"what is given is all": {
			setting: "192.0.2.9,52:54:00:12:34:57=2001:db8::9", neighbours: neighbour,
			want: [2][]netip.Addr{addrs("192.0.2.9"), addrs("2001:db8::9")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			setting, err := ParseSetting(c.setting)
			if err != nil {
				t.Fatal(err)
			}
			h := sysfs(t, twoTaps)
			h.Tables = func() (Tables, error) { return Tables{Neighbours: c.neighbours}, nil }
			src := newSource()
			src.addrs = c.addrs
			plan, err := newWire().announcer(h).Refine(t.Context(), src, "vm1", setting)
			if err != nil || len(plan.Cards) != 2 { // the third is handed through, and has no outlet
				t.Fatalf("plan %+v, %v", plan, err)
			}
			for i, got := range plan.Cards {
				if !slices.Equal(got.Addrs, c.want[i]) || !reflect.DeepEqual(got.frames, Frames(got.MAC, c.want[i])) {
					t.Errorf("card %d has %v, want %v", i, got.Addrs, c.want[i])
				}
			}
			if o := plan.Cards[0].Outlets; len(o) != 2 || o[0].Dev != "eth0" || o[1].Dev != "vnet1" {
				t.Errorf("outlets %v", o)
			}
			if !slices.Equal(src.asked, c.asked) {
				t.Errorf("asked %v, want %v", src.asked, c.asked)
			}
		})
	}
}

// Where this host's own tables cannot be read the guest is announced without addresses.
func TestPrepareWithoutAnswers(t *testing.T) {
	h := sysfs(t, twoTaps)
	h.Tables = func() (Tables, error) { return Tables{}, errors.New("no netlink") }
	a, src := newWire().announcer(h), newSource()
	plan, err := a.Prepare(t.Context(), src, "vm1", Setting{})
	if err != nil || len(plan.Cards) != 2 || len(plan.Cards[0].frames) != 1 {
		t.Errorf("plan %+v, %v", plan, err)
	}
	src.xml = func() (string, error) { return "", libvirt.ErrConnect }
	if _, err := a.Prepare(t.Context(), src, "vm1", Setting{}); !errors.Is(err, libvirt.ErrConnect) {
		t.Errorf("without libvirt: %v", err)
	}
	if plan, err := a.Prepare(t.Context(), src, "vm1", Setting{Off: true}); err != nil || len(plan.Cards) > 0 {
		t.Errorf("off: %+v, %v", plan, err)
	}
}

// A guest of Xen's has a device named by its number. libvirt's XML continues to name the one that was there for a guest
// without drivers, which Xen removes.
func TestPrepareOfXen(t *testing.T) {
	const card = `<domain type='xen'><devices><interface type='bridge'><mac address='00:16:3e:12:34:56'/><source bridge='br0'/><target dev='DEV'/></interface></devices></domain>`
	const ports = `
		vif3.0 master br0
		eth0 brport/state 3
		br0 bridge/vlan_filtering 0
		br0 brif/vif3.0 -
		br0 brif/eth0 -`
	for name, c := range map[string]struct{ dev, more, want string }{
		"its own device":            {"vif3.0", "", "vif3.0"},
		"an emulated one that went": {"vif3.0-emu", "", "vif3.0"},
		"an emulated one in use": {"vif3.0-emu", `
			vif3.0-emu master br0
			br0 brif/vif3.0-emu -`, "vif3.0-emu"},
	} {
		t.Run(name, func(t *testing.T) {
			h := sysfs(t, ports+c.more)
			h.Tables = func() (Tables, error) { return Tables{}, nil }
			src := newSource()
			src.xml = func() (string, error) { return strings.Replace(card, "DEV", c.dev, 1), nil }
			plan, err := newWire().announcer(h).Prepare(t.Context(), src, "vm1", Setting{})
			if err != nil || len(plan.Cards) != 1 || plan.Cards[0].Dev != c.want {
				t.Fatalf("plan %+v, %v", plan, err)
			}
			if o := plan.Cards[0].Outlets; len(o) != 1 || o[0].Dev != "eth0" {
				t.Errorf("outlets %v", o)
			}
		})
	}
}
