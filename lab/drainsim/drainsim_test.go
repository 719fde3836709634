package drainsim

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/predict"
)

const (
	ms = time.Millisecond
	mb = 1_000_000
	gb = 1_000_000_000
)

// tenGigabit is a node's card, with what libvirt and QEMU take around each copy.
var tenGigabit = drain.Link{Name: "lan", Rate: 1.25 * gb, Setup: 300 * ms, Teardown: 300 * ms}

// guests are as they are met: of 2 to 32 GB, with a budget of 300 ms; every eighth so busy that it must be
// alone to keep it.
func guests(count int) []drain.Guest {
	r := rand.New(rand.NewPCG(1, 1))
	all := make([]drain.Guest, count)
	for i := range all {
		l := predict.Load{Memory: uint64(2*gb + r.Int64N(30*gb)), Device: mb, Budget: 300 * ms, HandOver: 50 * ms}
		l.DirtyRate, l.WorkingSet = r.Float64()*50*mb, l.Memory/8
		if i%8 == 0 {
			l.DirtyRate, l.WorkingSet = 0.8*gb, uint64(100*mb+r.Int64N(150*mb))
		}
		all[i] = drain.Guest{Name: fmt.Sprintf("g%05d", i), Priority: r.IntN(3), Load: l}
	}
	return all
}

func run(t *testing.T, c Config) Result {
	t.Helper()
	r, err := Run(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Wrong) > 0 {
		t.Errorf("%d things must not be, such as: %v", len(r.Wrong), r.Wrong[:min(5, len(r.Wrong))])
	}
	return r
}

// checkBound wants all drains together within the allowance of their bandwidth bounds.
func checkBound(t *testing.T, r Result, allowance float64) {
	t.Helper()
	var took, bound time.Duration
	for _, d := range r.Drains {
		took, bound = took+d.Took, bound+d.Bound
	}
	over := float64(took)/float64(bound) - 1
	t.Logf("%d drains, %d moves, %.2f %% above the bound, %d refusals, %d deaths, %d cold starts", len(r.Drains),
		r.Moved, 100*over, r.Refusals, r.Deaths, r.Cold)
	if over > allowance {
		t.Errorf("%.1f %% above the bandwidth bound, allowed are %.1f %%", 100*over, 100*allowance)
	}
}

// TestAllNodesOneAfterAnother empties a thousand nodes that hold ten thousand guests: as on a day of
// updates, so that most guests move more than once.
func TestAllNodesOneAfterAnother(t *testing.T) {
	r := run(t, Config{Nodes: 1000, Guests: guests(10_000), Link: tenGigabit, Empty: 1000})
	checkBound(t, r, 0.05)
	if len(r.OverPause) > 0 || r.Cold > 0 || r.Moved < 10_000 || len(r.Drains) != 1000 {
		t.Errorf("%d over budget, %d cold starts, %d moves, %d drains", len(r.OverPause), r.Cold, r.Moved,
			len(r.Drains))
	}
}

func TestManyNodesAtATime(t *testing.T) {
	r := run(t, Config{Nodes: 1000, Guests: guests(10_000), Link: tenGigabit, Empty: 300, AtOnce: 100, Jitter: 0.05,
		Window: 20 * time.Minute})
	checkBound(t, r, 0.06) // the truth is off by a twentieth itself
	if len(r.OverPause) > 0 || r.Cold > 0 || len(r.Drains) != 300 {
		t.Errorf("%d over budget, %d cold starts, %d drains", len(r.OverPause), r.Cold, len(r.Drains))
	}
}

// late is how many guests left after the window.
func (r Result) late() (n int) {
	for _, d := range r.Drains {
		n += d.Late
	}
	return n
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		check  func(r Result) bool
	}{
		{"targets that refuse", func(c *Config) { c.Refuse = []int{90, 95, 96} },
			func(r Result) bool { return r.Refusals > 0 && r.Cold == 0 && len(r.OverPause) == 0 }},
		// Who is stopped in the moment in which the link slows down is paused for longer.
		{"a link that slows down in the middle", func(c *Config) { c.Slow = Slow{20 * time.Second, 0.4} },
			func(r Result) bool { return r.Cold == 0 && len(r.OverPause) <= 1 }},
		{"a slow link and too little time",
			func(c *Config) { c.Slow, c.Window = Slow{20 * time.Second, 0.2}, 160*time.Second },
			func(r Result) bool { return r.Cold > 10 && r.Moved > 10 && r.late() == 0 && len(r.OverPause) <= 1 }},
		{"callers that die", func(c *Config) { c.Dying = 0.3 },
			func(r Result) bool { return r.Deaths > 20 && r.Cold == 0 && len(r.OverPause) == 0 }},
		{"estimates that are off by a third", func(c *Config) { c.Jitter, c.Window = 0.3, 10*time.Minute },
			func(r Result) bool { return len(r.OverPause) == 0 && r.late() == 0 }},
		{"everything", func(c *Config) {
			c.Refuse, c.Slow, c.Dying, c.Jitter, c.Window = []int{90, 91}, Slow{30 * time.Second, 0.5}, 0.2, 0.2,
				4*time.Minute
		}, func(r Result) bool { return r.Moved > 10 && r.late() == 0 && len(r.OverPause) <= 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := Config{Nodes: 100, Guests: guests(1000), Link: tenGigabit, Empty: 10, AtOnce: 5, Seed: 7}
			c.change(&config)
			r := run(t, config)
			if !c.check(r) || len(r.Drains) != 10 {
				t.Errorf("%d moved, %d cold, %d refusals, %d deaths, over budget %v, late %d, drains %v", r.Moved,
					r.Cold, r.Refusals, r.Deaths, r.OverPause, r.late(), r.Drains)
			}
			if again := run(t, config); !reflect.DeepEqual(r, again) {
				t.Error("the same again, and another result")
			}
		})
	}
}

// TestPauseOfTheDisturbed shows that a broken budget is seen: 100 MB of last copy take 100 ms alone, and 200 ms when
// another begins to send in that moment.
func TestPauseOfTheDisturbed(t *testing.T) {
	for _, c := range []struct {
		others int
		want   time.Duration
	}{{0, 150 * ms}, {1, 250 * ms}} {
		w := &world{}
		l := &link{clock: &w.clock, given: drain.Link{Rate: gb}, factor: 1}
		var pause time.Duration
		m := &migration{clock: &w.clock, link: l, means: ladder.Live, limit: 100 * ms,
			load: predict.Load{Memory: gb, DirtyRate: 2 * gb, WorkingSet: 100 * mb, HandOver: 50 * ms}}
		m.resumed, m.left = func(p time.Duration) { pause = p }, func() {}
		m.start()
		w.clock.after(time.Second+1, func() {
			for range c.others {
				l.send(gb, func() {})
			}
		})
		w.clock.run()
		if pause.Round(ms) != c.want {
			t.Errorf("with %d others it was paused for %v, want %v", c.others, pause, c.want)
		}
	}
}

func TestWhatCannotBeSimulated(t *testing.T) {
	all := guests(100)
	c := Config{Nodes: 10, Guests: all, Link: tenGigabit, Empty: 1}
	all[10].Load.DirtyRate = -1
	if _, err := Run(c); err == nil {
		t.Error("a guest that makes no sense was taken")
	}
	for _, bad := range []Config{{Nodes: 1, Empty: 1}, {Nodes: 4, Empty: 5},
		{Nodes: 4, AtOnce: 2, Refuse: []int{2, 3}}} {
		if _, err := Run(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestCensus(t *testing.T) {
	w := &world{nodes: []*node{{guests: map[*guest]bool{}}, {guests: map[*guest]bool{}}}}
	twice, never := &guest{}, &guest{}
	w.nodes[0].guests[twice], w.nodes[1].guests[twice] = true, true
	w.guests = []*guest{twice, never}
	if w.census(); len(w.result.Wrong) != 2 {
		t.Errorf("a guest in two places, and one in none: %q", w.result.Wrong)
	}
}

// TestLinkShares checks the link by hand: two senders of 1 and 3 GB on 1 GB/s, halved after 3 s.
func TestLinkShares(t *testing.T) {
	w := &world{}
	l := &link{clock: &w.clock, given: drain.Link{Rate: gb}, factor: 1}
	begin := w.clock.now
	var done []time.Duration
	note := func() { done = append(done, w.clock.now.Sub(begin).Round(ms)) }
	l.send(1*gb, note)
	l.send(3*gb, note)
	w.clock.after(3*time.Second, func() { l.slow(0.5) })
	w.clock.run()
	// Half a GB each per second until 2 s; then 2 GB are left, 1 of which goes until 3 s, and 1 in the 2 s after.
	if want := []time.Duration{2 * time.Second, 5 * time.Second}; !slices.Equal(done, want) {
		t.Errorf("done after %v, want %v", done, want)
	}
}
