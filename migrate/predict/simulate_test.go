package predict

import (
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/ladder"
)

// TestSimulate: the link carries 20 MiB/s where nothing else is said, and nobody has a budget.
func TestSimulate(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	slow := conditions{used: 100 * mib, rate: 20 * mib, last: 200 * mib, shrink: 2, xbzrleRatio: 0.1, restart: s}
	with := func(change func(*conditions)) conditions { o := slow; change(&o); return o }
	writes := func(rate, set uint64) conditions {
		return with(func(o *conditions) { o.dirty, o.set = rate*mib, set*mib })
	}
	for _, c := range []struct {
		name        string
		conditions  conditions
		may         func(*convergence.Policy)
		least, most time.Duration
		rest        [2]uint64 // MiB in the last copy
		rung        ladder.Rung
		compression string
	}{
		{"idle: one pass", slow, func(*convergence.Policy) {}, 4900 * ms, 5100 * ms, [2]uint64{0, 1}, ladder.Live, ""},
		{"idle over a fast link, at the pace of the first passes",
			with(func(o *conditions) { o.rate, o.pace = 1000*mib, 100*mib }), func(*convergence.Policy) {}, 900 * ms,
			1100 * ms, [2]uint64{0, 2}, ladder.Live, ""},
		// 5, 0.5, 0.05 s
		{"a tenth of the link", writes(2, 50), func(*convergence.Policy) {}, 5400 * ms, 5600 * ms, [2]uint64{0, 1},
			ladder.Live, ""},
		// 5 + 1.6 × 0.8ⁿ: 13 s, less what the limit spares.
		{"four fifths of the link", writes(16, 32), func(*convergence.Policy) {}, 10 * s, 14 * s, [2]uint64{0, 10},
			ladder.Live, ""},
		// Passes of 1.6 s do not come below half a second: after two that are no shorter and half a first pass, a
		// pause of 1.6 s.
		{"three times the link, always the same 32 MiB", writes(60, 32), func(*convergence.Policy) {}, 7 * s, 13 * s,
			[2]uint64{25, 32}, ladder.Live, ""},
		{"the same over a link that carries all at once",
			with(func(o *conditions) { o.dirty, o.set, o.rate = 60*mib, 32*mib, 200*mib }),
			func(*convergence.Policy) {},
			700 * ms, 2 * s, [2]uint64{0, 1}, ladder.Live, ""},
		{"three times the link, and the guest may be slowed down", writes(60, 90),
			func(p *convergence.Policy) { p.AutoConverge = true },
			20 * s, 120 * s, [2]uint64{0, 90}, ladder.Converge, ""},
		{"XBZRLE when passes show it", writes(60, 32),
			func(p *convergence.Policy) { p.XBZRLECache = convergence.MaxXBZRLECache }, 14 * s, 20 * s, [2]uint64{0, 2},
			ladder.Live, "xbzrle"},
		{"XBZRLE from the begin on", with(func(o *conditions) {
			o.dirty, o.set, o.expected.XBZRLEHelps = 60*mib, 32*mib,
				true
		}), func(p *convergence.Policy) { p.XBZRLECache = convergence.MaxXBZRLECache },
			6600 * ms, 8 * s, [2]uint64{0, 2}, ladder.Live, "xbzrle"},
		{"post-copy", writes(60, 90), func(p *convergence.Policy) { p.PostCopy = true }, 7 * s, 15 * s, [2]uint64{0, 0},
			ladder.PostCopy, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := convergence.NewPolicy(convergence.Pause{HandOver: 30 * ms}, 0)
			c.may(&p)
			got := simulate(p, c.conditions)
			rest := got.LastCopy / mib
			if !got.ends || got.took < c.least || got.took > c.most || rest < c.rest[0] || rest > c.rest[1] ||
				got.Rung != c.rung || got.Compression != c.compression {
				t.Errorf("%+v: took %v", got, got.took)
			}
			t.Logf("%v, %d MiB, %d passes, throttle %d", got.took, rest, got.Passes, got.Throttle)
		})
	}
}

// What never ends is not simulated for ever, and a window ends it.
func TestSimulationEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		o      conditions
		window time.Duration
		ends   bool
	}{
		{"a budget that nothing keeps", conditions{used: 100 * mib, dirty: 60 * mib, rate: 20 * mib, last: 20 * mib,
			shrink: 2, xbzrleRatio: 0.1}, 0, false},
		{"the same in a minute", conditions{used: 100 * mib, dirty: 60 * mib, rate: 20 * mib, last: 20 * mib, shrink: 2,
			xbzrleRatio: 0.1, window: time.Minute}, time.Minute, false},
		{"a link that carries nothing to speak of",
			conditions{used: 1 << 50, dirty: 1 << 50, rate: 1, last: 1, shrink: 2, xbzrleRatio: 0.1}, 0, false},
		{"a big guest behind a bound", conditions{used: 1 << 40, dirty: mib, rate: 100 * mib, last: 200 * mib,
			shrink: 2, xbzrleRatio: 0.1}, 0, true},
		{"all at once", conditions{used: 1 << 62, dirty: 1 << 62, rate: 1 << 62, last: 1 << 62, shrink: 1e9,
			xbzrleRatio: 1e-9}, 0, false},
	} {
		p := convergence.NewPolicy(convergence.Pause{Budget: 100 * time.Millisecond, HandOver: 30 * time.Millisecond},
			c.window)
		p.Firm = true
		got := simulate(p, c.o)
		if got.ends != c.ends || got.took < 0 || c.window > 0 && got.took > c.window+time.Second {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// TestXBZRLEHelps: the link carries 20 MiB/s, and the first pass takes 5 s.
func TestXBZRLEHelps(t *testing.T) {
	base := conditions{used: 100 * mib, rate: 20 * mib, last: 200 * mib, shrink: 2, xbzrleRatio: 0.1}
	for _, c := range []struct {
		name  string
		may   func(*convergence.Policy)
		guest func(*conditions)
		want  bool
	}{
		{"an idle guest", func(*convergence.Policy) {}, func(*conditions) {}, false},
		{"a tenth of the link", func(*convergence.Policy) {}, func(o *conditions) { o.dirty, o.set = 2*mib, 20*mib },
			false},
		{"four fifths of the link: half of the time", func(*convergence.Policy) {},
			func(o *conditions) { o.dirty, o.set = 16*mib, 32*mib }, true},
		{"three times the link", func(*convergence.Policy) {}, func(o *conditions) { o.dirty, o.set = 60*mib, 32*mib },
			true},
		{"the same, and QEMU knows that the last copy gets more than the passes", func(*convergence.Policy) {},
			func(o *conditions) { o.dirty, o.set, o.switchover = 60*mib, 32*mib, 64*mib }, true},
		{"of which XBZRLE spares nothing", func(*convergence.Policy) {},
			func(o *conditions) { o.dirty, o.set, o.xbzrleRatio = 60*mib, 32*mib, 0.9 }, false},
		{"not allowed", func(p *convergence.Policy) { p.XBZRLECache = 0 },
			func(o *conditions) { o.dirty, o.set = 60*mib, 32*mib }, false},
		{"post-copy", func(p *convergence.Policy) { p.PostCopy = true },
			func(o *conditions) { o.dirty, o.set = 60*mib, 32*mib }, false},
	} {
		p := convergence.NewPolicy(convergence.Pause{HandOver: 30 * time.Millisecond}, 0)
		p.XBZRLECache, p.AutoConverge = convergence.MaxXBZRLECache, true
		c.may(&p)
		o := base
		c.guest(&o)
		if got := xbzrleHelps(p, o); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
