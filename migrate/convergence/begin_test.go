package convergence

import (
	"testing"
	"time"
)

// TestCompress has a window of 80 s.
func TestCompress(t *testing.T) {
	const s = time.Second
	busy := State{Left: 70 * s, Used: gib, Link: 100 * mib, ThrottleNeeded: 45, CompressionHelps: true}
	with := func(change func(*State)) State { x := busy; change(&x); return x }
	for _, c := range []struct {
		name     string
		may      func(*Policy)
		state    State
		compress bool
		throttle int
	}{
		{"instead of a throttle", func(*Policy) {}, busy, true, 0},
		{"half of the bytes are no use: a throttle", func(*Policy) {},
			with(func(x *State) { x.CompressionHelps = false }), false, 45},
		{"an easy guest", func(*Policy) {},
			with(func(x *State) { x.CompressionHelps, x.ThrottleNeeded, x.Converges = false, 0, true }), false, 0},
		{"no compressor fills the link", func(*Policy) {}, with(func(x *State) { x.Link = 500 * mib }), false, 45},
		{"a guest that takes more than half of the window", func(*Policy) {},
			with(func(x *State) { x.CompressionHelps, x.Converges, x.ThrottleNeeded, x.Used = false, true, 0, 4*gib }),
			true, 0},
		{"the same, and nothing is known of it: a throttle too", func(*Policy) {},
			State{Left: 70 * s, Used: 4 * gib, Link: 100 * mib}, true, 20},
		{"no link is known", func(*Policy) {}, State{Left: 70 * s, Used: 4 * gib}, false, 20},
		{"post-copy", func(p *Policy) { p.PostCopy = true }, busy, false, 45},
		{"a driver that cannot", func(p *Policy) { p.SingleConnection = true }, busy, false, 45},
		{"not allowed", func(p *Policy) { p.Compress = false }, busy, false, 45},
		{"under way: too late", func(*Policy) {}, with(func(x *State) { x.Active = true }), false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewPolicy(Pause{HandOver: 50 * time.Millisecond}, 80*s)
			p.AutoConverge, p.Compress = true, true
			c.may(&p)
			d := p.Decide(c.state)
			if d.Compress != c.compress || d.Throttle != c.throttle || (d.Connections > 0) != c.compress {
				t.Errorf("compress %v over %d connections, throttle %d; want %v, %d", d.Compress, d.Connections,
					d.Throttle, c.compress, c.throttle)
			}
		})
	}
}

// TestXBZRLE has a window of 80 s.
func TestXBZRLE(t *testing.T) {
	const s = time.Second
	begin := State{Left: 70 * s, Used: gib, Link: 100 * mib, WorkingSet: 200 * mib, XBZRLEHelps: true,
		ThrottleNeeded: 45}
	busy := State{Iteration: 4, Left: 60 * s, Sent: gib, Used: gib, Remaining: 150 * mib, Rate: 100 * mib,
		DirtyRate: 300 * mib,
		Best:      2 * s, Stale: 2, Stagnant: 6 * s, Link: 100 * mib, WorkingSet: 200 * mib}
	with := func(x State, change func(*State)) State { change(&x); return x }
	as := func(*Policy) {}
	for _, c := range []struct {
		name     string
		may      func(*Policy)
		state    State
		cache    uint64 // MiB
		throttle int
	}{
		{"begin, predicted not to converge: before a throttle", as, begin, 512, 0},
		{"begin, a small set: QEMU's own size", as, with(begin, func(x *State) { x.WorkingSet = mib }), 64, 0},
		{"begin, a set of just half a cache", as, with(begin, func(x *State) { x.WorkingSet = 256 * mib }), 512, 0},
		{"begin, a byte more", as, with(begin, func(x *State) { x.WorkingSet = 256*mib + 1 }), 1024, 0},
		{"begin, a set that no cache holds", as, with(begin, func(x *State) { x.WorkingSet = gib }), 0, 45},
		{"begin, no set is known", as, with(begin, func(x *State) { x.WorkingSet = 0 }), 0, 45},
		{"begin, predicted to converge", as, with(begin,
			func(x *State) { x.XBZRLEHelps, x.ThrottleNeeded, x.Converges = false, 0, true }), 0, 0},
		{"begin, what it sent was no smaller the last time", as, with(begin, func(x *State) { x.XBZRLERatio = 0.7 }), 0,
			45},
		{"begin, it was a tenth", as, with(begin, func(x *State) { x.XBZRLERatio = 0.1 }), 512, 0},
		{"begin, one thread does not fill the link", as, with(begin, func(x *State) { x.Link = 500 * mib }), 0, 45},
		{"begin, zstd is enough", func(p *Policy) { p.Compress, p.SingleConnection = true, false },
			with(begin, func(x *State) { x.CompressionHelps = true }), 0, 0},
		{"begin, zstd is not", func(p *Policy) { p.Compress, p.SingleConnection = true, false }, begin, 512, 0},
		{"begin, not allowed", func(p *Policy) { p.XBZRLECache = 0 }, begin, 0, 45},
		{"begin, the source has just enough memory", func(p *Policy) { p.XBZRLECache = 512 * mib }, begin, 512, 0},
		{"begin, the source has less memory", func(p *Policy) { p.XBZRLECache = 512*mib - 1 }, begin, 0, 45},
		{"begin, post-copy takes no deltas", func(p *Policy) { p.PostCopy = true }, begin, 0, 45},
		{"begin, no link is known: one connection", func(p *Policy) { p.SingleConnection = false },
			with(begin, func(x *State) { x.Link = 0 }), 512, 0},

		{"passes do not come below the limit: begin again", as, busy, 512, 0},
		{"no throttle allowed: the same", func(p *Policy) { p.AutoConverge = false }, busy, 512, 0},
		{"a pause of up to 2 s would do: the same", as, with(busy, func(x *State) { x.Best = s }), 512, 0},
		{"they do come below it", as, with(busy, func(x *State) { x.Best = 300 * time.Millisecond }), 0, 0},
		{"they became shorter a moment ago", as, with(busy, func(x *State) { x.Stagnant = s }), 0, 0},
		{"no link is known, and one thread does not fill it", as,
			with(busy, func(x *State) { x.Link, x.Rate = 0, 500*mib }), 0, 20},
		{"the link carries more than was known", as, with(busy, func(x *State) { x.Rate = 500 * mib }), 0, 20},
		{"no time to begin again", as, with(busy, func(x *State) { x.Left = 30 * s }), 0, 0},
		{"begun with a throttle: it has its time", as,
			with(busy, func(x *State) { x.AutoConverge, x.Throttle = true, 20 }), 0, 20},
		{"begun with it, and that is not enough: a throttle too", as,
			with(busy, func(x *State) { x.XBZRLE, x.Best = true, 3*s }), 512, 20},
		{"begun with it, and it converges", as, with(busy, func(x *State) { x.XBZRLE, x.Stale = true, 0 }), 512, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewPolicy(Pause{HandOver: 50 * time.Millisecond}, 80*s)
			p.AutoConverge, p.XBZRLECache, p.SingleConnection = true, MaxXBZRLECache, true
			c.may(&p)
			d := p.Decide(c.state)
			if d.XBZRLECache != c.cache*mib || d.Throttle != c.throttle || d.XBZRLECache > 0 && d.Connections > 0 {
				t.Errorf("%+v, want a cache of %d MiB and a throttle of %d", d, c.cache, c.throttle)
			}
		})
	}
}
