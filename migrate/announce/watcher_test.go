package announce

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// node is a node with one libvirt, vm1 on its first card, and a Watcher. Its clock is that of the
// test's bubble.
type node struct {
	*world
	wire    *wire
	mu      sync.Mutex
	guests  []Guest
	dials   []time.Duration // when libvirt was called
	refuses error
	tell    func(domain string, t libvirt.Turn)
	lost    chan struct{}
	open    int // connections made and not closed yet
	begun   []string
	began   time.Time
	watcher *Watcher
}

// watch runs a Watcher on a node for as long as f takes.
func watch(t *testing.T, f func(n *node)) {
	h := sysfs(t, twoTaps) // outside of the bubble, whose goroutines must not do I/O with the clock
	h.Tables = func() (Tables, error) { return Tables{}, nil }
	synctest.Test(t, func(t *testing.T) {
		n := &node{world: newSource(), wire: newWire(), began: time.Now(), guests: []Guest{{Name: "vm1", URI: "qemu:///system"}}}
		n.xml = func() (string, error) {
			return `<domain><devices><interface><mac address='52:54:00:12:34:56'/><target dev='vnet0'/></interface></devices></domain>`, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		w := &Watcher{Announcer: n.wire.announcer(h), Dial: n.dial, Guests: n.list, Begun: n.note}
		n.watcher = w
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }()
		synctest.Wait()
		f(n)
		cancel()
		<-done
		if n.open != 0 {
			t.Errorf("%d connections were not closed", n.open)
		}
	})
}

func (n *node) note(g Guest) { n.mu.Lock(); defer n.mu.Unlock(); n.begun = append(n.begun, g.Name) }

func (n *node) list() ([]Guest, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.guests), nil
}

func (n *node) dial(context.Context, string) (Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials = append(n.dials, time.Since(n.began))
	if n.refuses != nil {
		return nil, n.refuses
	}
	n.open++
	return n, nil
}

// Follow implements Conn.
func (n *node) Follow(_ context.Context, f func(string, libvirt.Turn)) (<-chan struct{}, func(), error) {
	n.tell, n.lost = f, make(chan struct{})
	return n.lost, func() { n.tell = nil }, nil
}

// Close implements Conn.
func (n *node) Close() error { n.mu.Lock(); n.open--; n.mu.Unlock(); return nil }

// pass lets time go by, and what is due in it happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// after tells a turn of vm1, and waits until all that follows from it at once has been done.
func (n *node) after(d time.Duration, t libvirt.Turn) {
	pass(d)
	n.tell("vm1", t)
	synctest.Wait()
}

// rounds are the times at which something was sent, from a given one on.
func (n *node) rounds(from time.Duration) []time.Duration {
	var at []time.Duration
	all, _ := n.wire.heard()
	for _, a := range all {
		at = append(at, a-from)
	}
	return at
}

func (n *node) wantRounds(t *testing.T, from time.Duration, want []time.Duration) {
	t.Helper()
	pass(10 * time.Second)
	if got := n.rounds(from); !slices.Equal(got, want) {
		t.Errorf("rounds at %v after the guest ran, want %v", got, want)
	}
}

func TestWatcherAnnouncesAtResume(t *testing.T) {
	watch(t, func(n *node) {
		n.after(time.Second, libvirt.TurnArriving)
		prepared := false
		n.xml = func() (string, error) { prepared = true; return "", errors.New("libvirt is busy with the migration") }
		n.after(time.Minute, libvirt.TurnRunning) // QEMU's word, and then libvirt's
		if _, sent := n.wire.heard(); !slices.Equal(sent, []string{"eth0 RARP", "vnet1 RARP"}) {
			t.Errorf("at once: %q", sent)
		}
		n.after(10*time.Millisecond, libvirt.TurnRunning)
		n.wantRounds(t, 61*time.Second, beyondQEMU)
		if !prepared {
			t.Error("nothing was asked again")
		}
	})
}

// beyondQEMU is the schedule without the rounds in which QEMU sends the same.
var beyondQEMU = []time.Duration{0, 1100 * time.Millisecond, 2 * time.Second, 3500 * time.Millisecond}

// A guest whose address is known, which QEMU does not announce, has all rounds.
func TestWatcherAnnouncesAnAddress(t *testing.T) {
	watch(t, func(n *node) {
		n.mu.Lock()
		n.guests[0].Setting = Setting{First: []netip.Addr{guest4}}
		n.mu.Unlock()
		n.after(time.Second, libvirt.TurnArriving)
		n.after(time.Minute, libvirt.TurnRunning)
		n.wantRounds(t, 61*time.Second, Schedule)
	})
}

func TestWatcherAnnouncesAStart(t *testing.T) {
	watch(t, func(n *node) {
		n.after(time.Second, libvirt.TurnRunning)
		n.wantRounds(t, time.Second, Schedule)
	})
}

// What a guest can do by itself, at any rate, announces nothing new: it suspends and wakes, reboots, is paused for an
// I/O error and resumed.
func TestWatcherAnnouncesAnArrivalOnce(t *testing.T) {
	watch(t, func(n *node) {
		n.after(time.Second, libvirt.TurnRunning)
		pass(time.Minute)
		n.wire.forget()
		n.xml = func() (string, error) { t.Error("libvirt is asked"); return "", errors.New("no") }
		for range 1000 {
			n.after(time.Millisecond, libvirt.TurnPaused)
			n.after(time.Millisecond, libvirt.TurnResumed)
		}
		n.after(0, libvirt.TurnRunning) // libvirt's late word about the end of the migration
		n.wantRounds(t, 0, nil)
	})
}

// Nothing is known of a guest that was here before the daemon: its wake is no arrival.
func TestWatcherIgnoresTheWakeOfAGuestThatWasHere(t *testing.T) {
	watch(t, func(n *node) {
		n.after(time.Second, libvirt.TurnPaused)
		n.after(time.Second, libvirt.TurnResumed)
		n.wantRounds(t, 0, nil)
	})
}

// A guest that left and comes back is announced again.
func TestWatcherAnnouncesAgain(t *testing.T) {
	watch(t, func(n *node) {
		n.after(time.Second, libvirt.TurnRunning)
		n.after(time.Minute, libvirt.TurnHalted)
		n.after(0, libvirt.TurnArriving)
		n.wire.forget()
		n.after(0, libvirt.TurnResumed) // QEMU's word, before libvirt's
		n.wantRounds(t, 61*time.Second, beyondQEMU)
	})
}

// No round is sent while the guest is paused, as at the end of a migration to elsewhere, and none is sent twice.
func TestWatcherWaitsDuringAPause(t *testing.T) {
	watch(t, func(n *node) {
		n.after(time.Second, libvirt.TurnRunning)
		n.after(300*time.Millisecond, libvirt.TurnPaused)
		n.after(10*time.Second, libvirt.TurnResumed)
		const held = 9200 * time.Millisecond
		want := slices.Clone(Schedule)
		for i := range want[3:] {
			want[3+i] += held
		}
		n.wantRounds(t, time.Second, want)
	})
}

// What was prepared is out of date after a long pause.
func TestWatcherGivesUpInALongPause(t *testing.T) {
	watch(t, func(n *node) {
		n.after(time.Second, libvirt.TurnRunning)
		n.after(300*time.Millisecond, libvirt.TurnPaused)
		n.after(maxPause+time.Second, libvirt.TurnResumed)
		n.wantRounds(t, time.Second, Schedule[:3])
	})
}

func TestCoalesce(t *testing.T) {
	const a, r, p, s, h = libvirt.TurnArriving, libvirt.TurnRunning, libvirt.TurnPaused, libvirt.TurnResumed, libvirt.TurnHalted
	for _, c := range []struct{ turns, want []libvirt.Turn }{
		{[]libvirt.Turn{p, s, p, s}, []libvirt.Turn{s}},
		{[]libvirt.Turn{a, s, p, r}, []libvirt.Turn{a, r}},
		{[]libvirt.Turn{h, r, p, s, r}, []libvirt.Turn{h, r}},
		{[]libvirt.Turn{h, r, p, s, p}, []libvirt.Turn{h, r, p}},
		{[]libvirt.Turn{r, r}, []libvirt.Turn{r}},
		{[]libvirt.Turn{r, p, h}, []libvirt.Turn{h}},
		{[]libvirt.Turn{h, a, s}, []libvirt.Turn{a, s}},
	} {
		var got []libvirt.Turn
		for _, turn := range c.turns {
			got = coalesce(got, turn)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v becomes %v, want %v", c.turns, got, c.want)
		}
	}
}

// The turns of one guest take no room from those of others.
func TestInboxIsBounded(t *testing.T) {
	b := newInbox()
	for range 100_000 {
		b.put("hostile", libvirt.TurnPaused)
		b.put("hostile", libvirt.TurnResumed)
	}
	b.put("vm1", libvirt.TurnRunning)
	if got := b.take(); !slices.Equal(got, []turn{{"hostile", libvirt.TurnResumed}, {"vm1", libvirt.TurnRunning}}) {
		t.Errorf("%d turns wait", len(got))
	}
	if got := b.take(); len(got) > 0 {
		t.Errorf("taken twice: %v", got)
	}
}

func TestWatcherFallsSilentWhenTheGuestStops(t *testing.T) {
	watch(t, func(n *node) {
		n.after(time.Second, libvirt.TurnRunning)
		n.after(500*time.Millisecond, libvirt.TurnHalted)
		n.after(0, libvirt.TurnHalted)
		n.wantRounds(t, time.Second, Schedule[:3])
		if !slices.Equal(n.begun, []string{"vm1"}) {
			t.Errorf("begun %v", n.begun)
		}
	})
}

// Where no frame leaves, the agent's action has to announce the guest; where the first leaves late, it need not.
func TestWatcherHasBegunWhenAFrameLeft(t *testing.T) {
	for name, c := range map[string]struct {
		down  time.Duration // for how long no frame leaves
		fails int           // how many questions libvirt does not answer
		want  int
	}{
		"at once":               {want: 1},
		"no frame leaves":       {down: time.Minute},
		"frames leave later":    {down: 200 * time.Millisecond, want: 1},
		"libvirt never answers": {fails: 100},
		"libvirt answers later": {fails: 1, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			watch(t, func(n *node) {
				ran, xml, asked := time.Now(), n.xml, 0
				n.wire.fail = func() error {
					if time.Since(ran) < c.down {
						return errors.New("network is down")
					}
					return nil
				}
				n.xml = func() (string, error) {
					if asked++; asked <= c.fails {
						return "", errors.New("libvirt is busy")
					}
					return xml()
				}
				n.after(0, libvirt.TurnRunning)
				pass(10 * time.Second)
				if len(n.begun) != c.want {
					t.Errorf("begun %v", n.begun)
				}
			})
		})
	}
}

func TestWatcherForgetsAMigrationThatFailed(t *testing.T) {
	watch(t, func(n *node) {
		n.after(time.Second, libvirt.TurnArriving)
		n.after(time.Second, libvirt.TurnHalted)
		n.wantRounds(t, 0, nil)
	})
}

// What could not be prepared is announced as soon as libvirt answers.
func TestWatcherWithoutPreparation(t *testing.T) {
	watch(t, func(n *node) {
		answer := n.xml
		n.xml = func() (string, error) { return "", errors.New("busy") }
		n.after(time.Second, libvirt.TurnArriving)
		n.xml = answer
		n.after(time.Second, libvirt.TurnRunning)
		n.wantRounds(t, 2*time.Second, Schedule[1:])
	})
}

func TestWatcherLeavesOthersAlone(t *testing.T) {
	watch(t, func(n *node) {
		n.mu.Lock()
		n.guests = []Guest{{Name: "vm1", URI: "qemu:///system", Setting: Setting{Off: true}},
			{Name: "vm2", URI: "qemu:///system"}}
		n.mu.Unlock()
		n.after(time.Second, libvirt.TurnArriving)
		n.after(time.Second, libvirt.TurnRunning)
		n.tell("vm3", libvirt.TurnRunning)
		n.wantRounds(t, 0, nil)
	})
}

// A lost connection ends what is under way, and is made again; nobody is called while there is no guest.
func TestWatcherReconnects(t *testing.T) {
	watch(t, func(n *node) {
		n.after(time.Second, libvirt.TurnRunning)
		pass(300 * time.Millisecond)
		n.mu.Lock()
		n.refuses = errors.New("connection refused")
		n.mu.Unlock()
		close(n.lost)
		pass(10 * time.Second)
		if want := Schedule[:3]; !slices.Equal(n.rounds(time.Second), want) {
			t.Errorf("rounds at %v", n.rounds(time.Second))
		}
		const lost = 1300 * time.Millisecond
		if want := []time.Duration{0, lost + 2*time.Second, lost + 6*time.Second}; !slices.Equal(n.dials, want) {
			t.Errorf("called at %v, want %v", n.dials, want)
		}
		n.mu.Lock()
		n.refuses = nil
		n.mu.Unlock()
		pass(time.Minute)
		n.wire.forget()
		now := time.Since(n.began)
		n.after(0, libvirt.TurnRunning)
		n.wantRounds(t, now, Schedule)
	})
}

// What is wrong with the list is said once, and again when it is something else.
func TestWatcherComplainsOnce(t *testing.T) {
	log, hook := test.NewNullLogger()
	w := &Watcher{Announcer: Announcer{Log: log}}
	said := ""
	for _, err := range []error{nil, errors.New("a"), errors.New("a"), errors.New("b"), nil, errors.New("b")} {
		said = w.complain(err, said)
	}
	if n := len(hook.AllEntries()); n != 3 {
		t.Errorf("said %d times", n)
	}
}

func TestWatcherWaitsForAGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{world: newSource(), wire: newWire(), began: time.Now()}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w := &Watcher{Announcer: n.wire.announcer(Host{}), Dial: n.dial, Guests: func() ([]Guest, error) {
			if time.Since(n.began) < 10*time.Second {
				return nil, errors.New("not yet")
			}
			return []Guest{{Name: "vm1", URI: "qemu:///system"}, {Name: "vm2", URI: "qemu:///system"}}, nil
		}}
		w.Run(ctx)
		if want := []time.Duration{10 * time.Second}; !slices.Equal(n.dials, want) {
			t.Errorf("called at %v, want %v", n.dials, want)
		}
	})
}
