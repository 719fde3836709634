package convergence

import (
	"strings"
	"testing"
	"time"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// TestPolicyDecide has a window of 80 s and a last copy of 50 ms at most, unless it says otherwise.
func TestPolicyDecide(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	all := func(p *Policy) { p.AutoConverge, p.PostCopy = true, true }
	throttle := func(p *Policy) { p.AutoConverge = true }
	postCopy := func(p *Policy) { p.PostCopy = true }
	plain := func(*Policy) {}
	// A guest of 2 GiB that writes 90 MiB/s to a link of 100 MiB/s, 25 s after its begin.
	busy := State{Elapsed: 25 * s, Left: 45 * s, Iteration: 4, Repeated: 5 * s, Stale: 2, Stagnant: 4 * s,
		Sent: 2500 * mib, Remaining: 200 * mib,
		Rate: 100 * mib, DirtyRate: 90 * mib, Best: 2100 * ms, AutoConverge: true, Throttle: 20}
	with := func(s State, change func(*State)) State { change(&s); return s }
	cases := []struct {
		name     string
		may      func(*Policy)
		state    State
		throttle int
		conns    int
		postCopy bool
		giveUp   string
	}{
		{"begin, nothing measured: the passes will tell", all, State{Left: 70 * s, Used: gib}, 0, 0, false, ""},
		{"begin, nothing measured, and no time for a second begin", all, State{Left: 70 * s, Used: 8 * gib}, 20, 0,
			false, ""},
		{"begin, the same over a faster link", all, State{Left: 70 * s, Used: 8 * gib, Link: gib}, 0, 0, false, ""},
		{"set up, with no time for a second begin", all, State{Active: true, Left: 70 * s, Used: 8 * gib}, 0, 0, false,
			""},
		{"begin, measured to be easy", all, State{Left: 70 * s, Converges: true}, 0, 0, false, ""},
		{"begin, measured to need 45 per cent", all, State{Left: 70 * s, ThrottleNeeded: 45}, 45, 0, false, ""},
		{"begin, nothing would be enough", all, State{Left: 70 * s, ThrottleNeeded: 99}, 80, 0, false, ""},
		{"begin, no throttle allowed", plain, State{Left: 70 * s, ThrottleNeeded: 45}, 0, 0, false, ""},
		{"begin, a wide link and a big guest", plain, State{Left: 70 * s, Link: 2 * gib, Used: 8 * gib}, 0, 4, false,
			""},
		{"begin, the same with a driver that cannot", func(p *Policy) { p.SingleConnection = true },
			State{Left: 70 * s, Link: 2 * gib, Used: 8 * gib}, 0, 0, false, ""},
		{"begin, a wide link and a small guest", plain, State{Left: 70 * s, Link: 2 * gib, Used: 1 * gib}, 0, 0, false,
			""},
		{"begin, a wide link, and post-copy wants one connection", postCopy,
			State{Left: 70 * s, Link: 2 * gib, Used: 8 * gib}, 0, 0, false, ""},

		{"busy: the throttle has its time", all, busy, 20, 0, false, ""},
		{"busy: the throttle has had half of the window", all, with(busy, func(x *State) { x.Left = 39 * s }), 20, 0,
			true, ""},
		{"busy: the throttle can take no more", all, with(busy, func(x *State) { x.Throttle = 80 }), 80, 0, true, ""},
		{"busy: no throttle allowed, so at once", postCopy, with(busy, func(x *State) { x.AutoConverge = false }), 0, 0,
			true, ""},
		{"busy: post-copy not allowed", throttle, with(busy, func(x *State) { x.Left = 39 * s }), 20, 0, false, ""},
		{"busy, but a pass came below the budget: QEMU will switch over", all,
			with(busy, func(x *State) { x.Left, x.Best = 39*s, 40*ms }), 20, 0, false, ""},
		{"second pass, measured as fast as the link", postCopy,
			with(busy, func(x *State) { x.Iteration, x.Stale, x.DirtyRate = 2, 0, 100*mib }), 0, 0, false, ""},
		{"third pass, and no shorter", postCopy, with(busy,
			func(x *State) { x.Iteration, x.Stale, x.DirtyRate = 3, 1, 100*mib }), 0, 0, true, ""},
		{"the same, measured at nine tenths of the link", postCopy,
			with(busy, func(x *State) { x.Iteration, x.Stale = 3, 1 }), 0, 0, false, ""},
		{"the same, but passes take no time", postCopy,
			with(busy, func(x *State) { x.Iteration, x.Stale, x.Stagnant, x.DirtyRate = 3, 1, 900*ms, 100*mib }), 0, 0,
			false, ""},
		{"second pass, slower than that: it may converge", postCopy,
			with(busy, func(x *State) { x.Iteration, x.Stale, x.DirtyRate = 2, 0, 60*mib }), 0, 0, false, ""},
		{"no shorter passes, but for less than half of a first one", postCopy,
			with(busy, func(x *State) { x.Used = 900 * mib }), 0, 0, false, ""},
		{"and for that long", postCopy, with(busy, func(x *State) { x.Used = 800 * mib }), 0, 0, true, ""},
		{"a first one takes an hour", postCopy, with(busy, func(x *State) { x.Used, x.Stagnant = 300*gib, 10*s }), 0, 0,
			true, ""},
		{"first pass: nothing is known", postCopy, with(busy,
			func(x *State) { x.Iteration, x.Best, x.Stale = 1, 0, 0 }), 0, 0, false, ""},
		{"200 MiB need 5 s as post-copy, 15 s are left: now", all,
			with(busy, func(x *State) { x.Iteration, x.Stale, x.DirtyRate, x.Left = 2, 0, 60*mib, 15*s }), 20, 0, true,
			""},
		{"and 5 s are left: too late, pre-copy has to end it", all, with(busy, func(x *State) { x.Left = 5 * s }), 20,
			0, false, ""},
		{"switched: nothing is left to decide", all, with(busy, func(x *State) { x.Left, x.Switched = 39*s, true }), 0,
			0, false, ""},

		{"thought easy, and is not: restart with a throttle", throttle,
			with(busy, func(x *State) { x.AutoConverge, x.Sent, x.Left = false, 1000*mib, 60*s }), 20, 0, false, ""},
		{"thought easy, and is not, but a pause of 2 s would do", throttle, with(busy, func(x *State) {
			x.AutoConverge, x.Sent, x.Left, x.Best, x.Used = false, 1000*mib, 60*s, 1900*ms, 300*mib
		}), 0, 0, false, ""},
		{"and it does not", throttle, with(busy, func(x *State) {
			x.AutoConverge, x.Sent, x.Left, x.Best, x.Stagnant = false, 1000*mib, 60*s, 1600*ms, 40*s
		}), 20, 0, false, ""},
		{"a pause of 2 s would do, and post-copy is allowed", all,
			with(busy, func(x *State) { x.AutoConverge, x.Sent, x.Left, x.Best = false, 1000*mib, 60*s, 1600*ms }), 20,
			0, false, ""},
		{"thought easy, and no time to restart: post-copy", all,
			with(busy, func(x *State) { x.AutoConverge, x.Left = false, 39*s }), 0, 0, true, ""},
		{"thought easy, and no time, and no post-copy: as it is", throttle,
			with(busy, func(x *State) { x.AutoConverge, x.Left = false, 39*s }), 0, 0, false, ""},

		{"the link was cut a moment ago", all, with(busy, func(x *State) { x.Quiet = 9 * s }), 20, 0, false, ""},
		{"the link is cut", all, with(busy, func(x *State) { x.Quiet = 10 * s }), 0, 0, false, "nothing for 10s"},
		{"nothing is sent before the first pass: disks are copied", all,
			State{Left: 60 * s, Quiet: 30 * s, AutoConverge: true}, 20, 0, false, ""},
		{"the link slowed down a moment ago", throttle, with(busy, func(x *State) { x.Rate, x.Starved = 4*mib, s }), 20,
			0, false, ""},
		{"the link is too slow", throttle, with(busy, func(x *State) { x.Rate, x.Starved = 4*mib, 10*s }), 0, 0, false,
			"200 MiB are left, and the link carries 4.0 MiB/s: they would not be sent in the 45s"},
		{"the link is slow, but not too slow", throttle, with(busy, func(x *State) { x.Rate, x.Starved = 5*mib, 10*s }),
			20, 0, false, ""},
		{"first pass: most of the guest's memory was never touched", throttle,
			State{Iteration: 1, Left: 60 * s, Remaining: 60 * gib, Used: 2 * gib, Sent: gib, Rate: 100 * mib,
				Starved: 10 * s, AutoConverge: true}, 20, 0, false, ""},
		{"first pass: all of it was", throttle, State{Iteration: 1, Left: 60 * s, Remaining: 60 * gib, Used: 61 * gib,
			Sent: gib, Rate: 100 * mib, Starved: 10 * s, AutoConverge: true}, 0, 0, false, "would not be sent"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := NewPolicy(Pause{HandOver: 50 * ms}, 80*s)
			c.may(&p)
			d := p.Decide(c.state)
			if d.Throttle != c.throttle || d.Connections != c.conns || d.PostCopy != c.postCopy {
				t.Errorf("throttle %d, connections %d, post-copy %v; want %d, %d, %v", d.Throttle, d.Connections,
					d.PostCopy, c.throttle, c.conns, c.postCopy)
			}
			if (d.GiveUp == "") != (c.giveUp == "") || !strings.Contains(d.GiveUp, c.giveUp) {
				t.Errorf("given up for %q, want %q", d.GiveUp, c.giveUp)
			}
		})
	}
}

// TestDecideWithoutWindow is a move that nothing hurries: it converges, or it is given up.
func TestDecideWithoutWindow(t *testing.T) {
	const s = time.Second
	never := State{Iteration: 90, Repeated: 5 * time.Minute, Stale: 88, Stagnant: 5 * time.Minute, Remaining: 200 * mib,
		Rate: 100 * mib, DirtyRate: 200 * mib, Best: 2 * s}
	throttled := never
	throttled.AutoConverge, throttled.Throttle = true, 50
	spent := throttled
	spent.Throttle = 99
	early := never
	early.Repeated -= s
	for _, c := range []struct {
		name     string
		policy   Policy
		state    State
		giveUp   bool
		postCopy bool
	}{
		{"does not converge", Policy{Budget: s}, never, true, false},
		{"has not had its time", Policy{Budget: s}, early, false, false},
		{"may pause for long", Policy{Budget: s, ForceAfter: s}, never, false, false},
		{"converges", Policy{Budget: 3 * s}, never, false, false},
		{"throttled, with more to take", Policy{Budget: s, AutoConverge: true}, throttled, false, false},
		{"throttled, with no more to take", Policy{Budget: s, AutoConverge: true}, spent, true, false},
		{"post-copy once the throttle has had half a minute", Policy{Budget: s, AutoConverge: true, PostCopy: true},
			throttled, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.policy.InitialDowntime, c.policy.Max, c.policy.RaiseEvery = c.policy.Budget/8, c.policy.Budget, s
			if d := c.policy.Decide(c.state); (d.GiveUp != "") != c.giveUp || d.PostCopy != c.postCopy {
				t.Errorf("given up for %q, post-copy %v", d.GiveUp, d.PostCopy)
			}
		})
	}
}

// TestTraces runs the rule over whole migrations: passes of a guest that writes at a steady rate, as
// QEMU makes them. It must end, within the budget where that can be.
func TestTraces(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for _, c := range []struct {
		name         string
		memory, rate uint64
		dirty        uint64
		throttle     bool
		postCopy     bool
		how          string
		limit        time.Duration // at the end
	}{
		{"idle", 300 * mib, 100 * mib, 100 << 10, true, true, "pre-copy", 10 * ms},
		{"a web server: a pass takes a tenth of a second at least", 2 * gib, 100 * mib, 30 * mib, true, true,
			"pre-copy", 38 * ms},
		{"80 per cent of the link", 512 * mib, 100 * mib, 80 * mib, true, false, "pre-copy", 100 * ms},
		{"more than the link, throttled", 512 * mib, 100 * mib, 120 * mib, true, false, "pre-copy", 50 * ms},
		{"more than the link, neither", 512 * mib, 100 * mib, 150 * mib, false, false, "pre-copy", 10 * s},
		{"more than the link, post-copy", 512 * mib, 100 * mib, 150 * mib, false, true, "post-copy", 50 * ms},
		{"more than the link can carry at all", 20 * gib, 100 * mib, 150 * mib, true, true, "given up", 10 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewPolicy(Pause{HandOver: 50 * ms}, 80*s)
			p.AutoConverge, p.PostCopy = c.throttle, c.postCopy
			how, limit := runTrace(p, c.memory, c.rate, c.dirty)
			if how != c.how || limit > c.limit {
				t.Errorf("%s with a limit of %v, want %s within %v", how, limit, c.how, c.limit)
			}
		})
	}
}

// runTrace steps through a migration in tenths of a second.
func runTrace(p Policy, memory, rate, dirty uint64) (how string, limit time.Duration) {
	const step = 100 * time.Millisecond
	s := State{Iteration: 1, Remaining: memory, Used: memory, Rate: rate, AutoConverge: p.AutoConverge}
	limit = p.Decide(State{Left: p.Window, Used: memory}).DowntimeLimit
	passed, starved := uint64(0), time.Duration(0) // written in this pass
	for s.Elapsed = step; s.Elapsed < p.Window; s.Elapsed += step {
		s.Left = p.Window - s.Elapsed
		sent := min(rate/10, s.Remaining)
		s.Sent, s.Remaining = s.Sent+sent, s.Remaining-sent
		passed = min(passed+dirty*uint64(100-s.Throttle)/1000, memory)
		if s.Remaining == 0 {
			s.Iteration, s.Remaining, s.DirtyRate, passed = s.Iteration+1, passed, dirty*uint64(100-s.Throttle)/100, 0
			last := TransferTime(s.Remaining, rate)
			if s.Stale++; s.Best == 0 || last < s.Best/10*9 {
				s.Stale, s.Stagnant = 0, 0
			}
			if s.Best == 0 || last < s.Best {
				s.Best = last
			}
			if s.Iteration > 3 && s.AutoConverge && s.DirtyRate > rate/2 {
				s.Throttle = min(max(20, s.Throttle+10), 99)
			}
		}
		if s.Iteration > 1 {
			s.Repeated, s.Stagnant = s.Repeated+step, s.Stagnant+step
		}
		if starved += step; !s.starved(p.Window) {
			starved = 0
		}
		s.Starved = starved
		d := p.Decide(s)
		limit = max(limit, d.DowntimeLimit)
		switch {
		case d.GiveUp != "":
			return "given up", limit
		case d.PostCopy:
			return "post-copy", limit
		case s.Iteration > 1 && TransferTime(s.Remaining, rate) <= limit:
			return "pre-copy", limit
		}
	}
	return "out of time", limit
}

// FuzzDecide holds what must be true of any decision.
func FuzzDecide(f *testing.F) {
	f.Add(int64(80e9), int64(45e9), 4, uint64(200*mib), uint64(100*mib), uint64(90*mib), int64(15e8), true, true)
	f.Add(int64(0), int64(-1), 1<<30, uint64(1<<63), uint64(0), uint64(1<<63), int64(-1), false, true)
	f.Fuzz(func(t *testing.T, window, left int64, iteration int, remaining, rate, dirty uint64, best int64, firm,
		throttled bool) {
		p := NewPolicy(Pause{HandOver: 50 * time.Millisecond}, time.Duration(max(window, 0)))
		p.AutoConverge, p.PostCopy, p.Firm = true, true, firm
		d := p.Decide(State{Left: time.Duration(left), Iteration: iteration, Repeated: time.Hour, Stale: iteration,
			Stagnant: time.Hour, Remaining: remaining, Rate: rate,
			DirtyRate: dirty, Best: time.Duration(best), AutoConverge: throttled})
		if d.DowntimeLimit < p.InitialDowntime || firm && d.DowntimeLimit > p.Budget {
			t.Errorf("limit %v of %v to %v", d.DowntimeLimit, p.InitialDowntime, p.Budget)
		}
		if d.Throttle < 0 || d.Throttle > 99 || d.PostCopy && iteration < 2 || d.PostCopy && d.GiveUp != "" {
			t.Errorf("%+v", d)
		}
	})
}
