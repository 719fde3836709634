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

func TestPolicyFromBudget(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name                    string
		first, budget, handOver time.Duration
		wantFirst, wantCap      time.Duration
	}{
		{"nothing said: 100 ms, of which the hand-over takes half", 0, 0, 50 * ms, 2 * ms, 50 * ms},
		{"a quick peer leaves more to the last copy", 0, 0, 20 * ms, 2 * ms, 80 * ms},
		{"a wide budget", 0, 250 * ms, 50 * ms, 2 * ms, 200 * ms},
		{"a budget below the hand-over: half of it", 0, 40 * ms, 50 * ms, 2 * ms, 20 * ms},
		{"a tiny budget bounds the first limit too", 0, 2 * ms, 50 * ms, 1 * ms, 1 * ms},
		{"a first limit alone is kept", 500 * ms, 0, 50 * ms, 500 * ms, 500 * ms},
		{"a budget bounds a first limit", 500 * ms, 250 * ms, 50 * ms, 200 * ms, 200 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			if p := NewPolicy(c.first, c.budget, c.handOver, 0); p.InitialDowntime != c.wantFirst || p.Budget != c.wantCap {
				t.Errorf("first %v and cap %v, want %v and %v", p.InitialDowntime, p.Budget, c.wantFirst, c.wantCap)
			}
		})
	}
}

// TestLimit has a budget of 250 ms: 200 ms for the last copy.
func TestLimit(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	idle := NewPolicy(10*ms, 250*ms, 50*ms, 0)      // a step every 5 s
	window := NewPolicy(10*ms, 250*ms, 50*ms, 60*s) // a step every 3 s, near the end in the last 15 s
	strict := NewPolicy(500*ms, 0, 50*ms, 60*s)     // a first limit above the cap
	usual := NewPolicy(0, 0, 50*ms, 0)              // nobody asked for a budget
	firm, forced, hurry, hard := window, idle, window, usual
	firm.Firm, forced.ForceAfter, hurry.ForceAfter = true, 20*s, 5*s
	hurry.Firm, hard.Firm = true, true
	year := 365 * 24 * time.Hour
	cases := []struct {
		name   string
		policy Policy
		state  State
		want   time.Duration
	}{
		{"before the begin", idle, State{}, 10 * ms},
		{"first pass of a big guest takes long", idle, State{Iteration: 1, Elapsed: year}, 10 * ms},
		{"tenth pass, and each was shorter", idle, State{Iteration: 10, Repeated: year, Best: s}, 10 * ms},
		{"one pass was not", idle, State{Stale: 1, Stagnant: 99 * s}, 10 * ms},
		{"two were not: one step", idle, State{Stale: 2, Stagnant: 99 * s}, 20 * ms},
		{"fifty passes came in no time: no step yet", idle, State{Stale: 50, Stagnant: s - 1}, 10 * ms},
		{"fifty passes, 1 s: one step", idle, State{Stale: 50, Stagnant: s}, 20 * ms},
		{"fifty passes, 2 s: two", idle, State{Stale: 50, Stagnant: 2 * s}, 40 * ms},
		{"fifty passes, 5 s: the cap", idle, State{Stale: 50, Stagnant: 5 * s}, 200 * ms},
		{"throttled, fifty passes, 5 s: still one", idle, State{Throttle: 20, Stale: 50, Stagnant: 5 * s}, 20 * ms},
		{"throttled, fifty passes, 6 s: two", idle, State{Throttle: 20, Stale: 50, Stagnant: 6 * s}, 40 * ms},
		{"throttled, fifty passes, 16 s: four", idle, State{Throttle: 20, Stale: 50, Stagnant: 16 * s}, 160 * ms},
		{"throttled, fifty passes, 21 s: the cap", idle, State{Throttle: 20, Stale: 50, Stagnant: 21 * s}, 200 * ms},
		{"a year: the cap", idle, State{Stale: 1 << 30, Stagnant: year}, 200 * ms},
		{"the best pass would have left 80 ms: a quarter more", idle, State{Stale: 2, Stagnant: s, Best: 80 * ms}, 100 * ms},
		{"then twice that", idle, State{Stale: 3, Stagnant: 2 * s, Best: 80 * ms}, 200 * ms},
		{"the best is beyond the cap", idle, State{Stale: 2, Stagnant: s, Best: 9 * s}, 200 * ms},
		{"throttled, window, 4 s: two steps", window, State{Throttle: 20, Stale: 9, Stagnant: 4 * s, Left: 50 * s}, 40 * ms},
		{"16 s left: still normal", window, State{Iteration: 1, Left: 16 * s, Remaining: 1000 * mib, Rate: 100 * mib}, 10 * ms},
		{"15 s left, 100 MiB at 100 MiB/s: 1 s and a quarter", window, State{Iteration: 9, Left: 15 * s, Remaining: 100 * mib, Rate: 100 * mib}, 1250 * ms},
		{"15 s left, 8 MiB at 100 MiB/s need 100 ms: the cap", window, State{Iteration: 9, Left: 15 * s, Remaining: 8 * mib, Rate: 100 * mib}, 200 * ms},
		{"4 s left, 1000 MiB at 100 MiB/s: half of the rest", window, State{Iteration: 9, Left: 4 * s, Remaining: 1000 * mib, Rate: 100 * mib}, 2 * s},
		{"stalled link", window, State{Iteration: 9, Left: 4 * s, Remaining: 1 << 62, Rate: 1}, 2 * s},
		{"no rate known", window, State{Iteration: 9, Left: 4 * s, Remaining: 1000 * mib}, 2 * s},
		{"too late", window, State{Iteration: 9, Left: -s, Remaining: 1000 * mib, Rate: mib}, 200 * ms},
		{"a window that is nearly over at the begin", window, State{Left: 10 * s}, 10 * ms},
		{"firm: bounds the end of the window", firm, State{Iteration: 9, Stale: 9, Stagnant: 40 * s, Left: 4 * s, Remaining: 1000 * mib, Rate: 100 * mib}, 200 * ms},
		{"not forced yet", forced, State{Elapsed: 19 * s, Iteration: 2, Remaining: 100 * mib, Rate: 100 * mib}, 10 * ms},
		{"forced, 100 MiB at 100 MiB/s", forced, State{Elapsed: 20 * s, Iteration: 2, Remaining: 100 * mib, Rate: 100 * mib}, 1250 * ms},
		{"forced, stalled link", forced, State{Elapsed: 20 * s, Iteration: 2, Remaining: 1 << 62, Rate: 1}, time.Minute},
		{"forced and firm", hurry, State{Elapsed: 20 * s, Iteration: 2, Left: 40 * s, Remaining: 100 * mib, Rate: 100 * mib}, 10 * ms},
		{"a first limit above the cap is kept", strict, State{Stale: 99, Stagnant: 40 * s, Left: 20 * s}, 500 * ms},
		{"nobody asked for a budget: passes may still become shorter", usual, State{Iteration: 9, Stale: 9, Stagnant: 4 * s, Used: 900 * mib, Rate: 100 * mib, Best: 1200 * ms}, 500 * ms},
		{"they do not: as much as the shortest needs", usual, State{Iteration: 9, Stale: 9, Stagnant: 5 * s, Used: 900 * mib, Rate: 100 * mib, Best: 1200 * ms}, 1500 * ms},
		{"nor with that", usual, State{Iteration: 9, Stale: 9, Stagnant: 9 * s, Used: 900 * mib, Rate: 100 * mib, Best: 1200 * ms}, 2 * s},
		{"nor with that: slowing down has its turn", usual, State{Iteration: 9, Stale: 9, Stagnant: 18 * s, Used: 900 * mib, Rate: 100 * mib, Best: 1200 * ms}, 500 * ms},
		{"more than 2 s: slowing down it is", usual, State{Iteration: 9, Stale: 9, Stagnant: 9 * s, Used: 900 * mib, Rate: 100 * mib, Best: 2100 * ms}, 500 * ms},
		{"firm: no longer for that", hard, State{Iteration: 9, Stale: 9, Stagnant: 9 * s, Used: 900 * mib, Rate: 100 * mib, Best: 1200 * ms}, 50 * ms},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := c.policy.Decide(c.state).DowntimeLimit; got != c.want {
				t.Errorf("limit %v, want %v", got, c.want)
			}
		})
	}
}

// TestPolicyDecide has a window of 80 s and a last copy of 50 ms at most, unless it says otherwise.
func TestPolicyDecide(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	all := func(p *Policy) { p.AutoConverge, p.PostCopy = true, true }
	throttle := func(p *Policy) { p.AutoConverge = true }
	postCopy := func(p *Policy) { p.PostCopy = true }
	plain := func(*Policy) {}
	// A guest of 2 GiB that writes 90 MiB/s to a link of 100 MiB/s, 25 s after its begin.
	busy := State{Elapsed: 25 * s, Left: 45 * s, Iteration: 4, Repeated: 5 * s, Stale: 2, Stagnant: 4 * s, Sent: 2500 * mib, Remaining: 200 * mib,
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
		{"begin, nothing measured, and no time for a second begin", all, State{Left: 70 * s, Used: 8 * gib}, 20, 0, false, ""},
		{"begin, the same over a faster link", all, State{Left: 70 * s, Used: 8 * gib, Link: gib}, 0, 0, false, ""},
		{"set up, with no time for a second begin", all, State{Active: true, Left: 70 * s, Used: 8 * gib}, 0, 0, false, ""},
		{"begin, measured to be easy", all, State{Left: 70 * s, Converges: true}, 0, 0, false, ""},
		{"begin, measured to need 45 per cent", all, State{Left: 70 * s, ThrottleNeeded: 45}, 45, 0, false, ""},
		{"begin, nothing would be enough", all, State{Left: 70 * s, ThrottleNeeded: 99}, 80, 0, false, ""},
		{"begin, no throttle allowed", plain, State{Left: 70 * s, ThrottleNeeded: 45}, 0, 0, false, ""},
		{"begin, a wide link and a big guest", plain, State{Left: 70 * s, Link: 2 * gib, Used: 8 * gib}, 0, 4, false, ""},
		{"begin, the same with a driver that cannot", func(p *Policy) { p.SingleConnection = true }, State{Left: 70 * s, Link: 2 * gib, Used: 8 * gib}, 0, 0, false, ""},
		{"begin, a wide link and a small guest", plain, State{Left: 70 * s, Link: 2 * gib, Used: 1 * gib}, 0, 0, false, ""},
		{"begin, a wide link, and post-copy wants one connection", postCopy, State{Left: 70 * s, Link: 2 * gib, Used: 8 * gib}, 0, 0, false, ""},

		{"busy: the throttle has its time", all, busy, 20, 0, false, ""},
		{"busy: the throttle has had half of the window", all, with(busy, func(x *State) { x.Left = 39 * s }), 20, 0, true, ""},
		{"busy: the throttle can take no more", all, with(busy, func(x *State) { x.Throttle = 80 }), 80, 0, true, ""},
		{"busy: no throttle allowed, so at once", postCopy, with(busy, func(x *State) { x.AutoConverge = false }), 0, 0, true, ""},
		{"busy: post-copy not allowed", throttle, with(busy, func(x *State) { x.Left = 39 * s }), 20, 0, false, ""},
		{"busy, but a pass came below the cap: QEMU will switch over", all, with(busy, func(x *State) { x.Left, x.Best = 39*s, 40*ms }), 20, 0, false, ""},
		{"second pass, measured as fast as the link", postCopy, with(busy, func(x *State) { x.Iteration, x.Stale, x.DirtyRate = 2, 0, 100*mib }), 0, 0, false, ""},
		{"third pass, and no shorter", postCopy, with(busy, func(x *State) { x.Iteration, x.Stale, x.DirtyRate = 3, 1, 100*mib }), 0, 0, true, ""},
		{"the same, measured at nine tenths of the link", postCopy, with(busy, func(x *State) { x.Iteration, x.Stale = 3, 1 }), 0, 0, false, ""},
		{"the same, but passes take no time", postCopy, with(busy, func(x *State) { x.Iteration, x.Stale, x.Stagnant, x.DirtyRate = 3, 1, 900*ms, 100*mib }), 0, 0, false, ""},
		{"second pass, slower than that: it may converge", postCopy, with(busy, func(x *State) { x.Iteration, x.Stale, x.DirtyRate = 2, 0, 60*mib }), 0, 0, false, ""},
		{"no shorter passes, but for less than half of a first one", postCopy, with(busy, func(x *State) { x.Used = 900 * mib }), 0, 0, false, ""},
		{"and for that long", postCopy, with(busy, func(x *State) { x.Used = 800 * mib }), 0, 0, true, ""},
		{"a first one takes an hour", postCopy, with(busy, func(x *State) { x.Used, x.Stagnant = 300*gib, 10*s }), 0, 0, true, ""},
		{"first pass: nothing is known", postCopy, with(busy, func(x *State) { x.Iteration, x.Best, x.Stale = 1, 0, 0 }), 0, 0, false, ""},
		{"200 MiB need 5 s as post-copy, 15 s are left: now", all, with(busy, func(x *State) { x.Iteration, x.Stale, x.DirtyRate, x.Left = 2, 0, 60*mib, 15*s }), 20, 0, true, ""},
		{"and 5 s are left: too late, pre-copy has to end it", all, with(busy, func(x *State) { x.Left = 5 * s }), 20, 0, false, ""},
		{"switched: nothing is left to decide", all, with(busy, func(x *State) { x.Left, x.Switched = 39*s, true }), 0, 0, false, ""},

		{"thought easy, and is not: begin anew with a throttle", throttle, with(busy, func(x *State) { x.AutoConverge, x.Sent, x.Left = false, 1000*mib, 60*s }), 20, 0, false, ""},
		{"thought easy, and is not, but a pause of 2 s would do", throttle, with(busy, func(x *State) {
			x.AutoConverge, x.Sent, x.Left, x.Best, x.Used = false, 1000*mib, 60*s, 1900*ms, 300*mib
		}), 0, 0, false, ""},
		{"and it does not", throttle, with(busy, func(x *State) {
			x.AutoConverge, x.Sent, x.Left, x.Best, x.Stagnant = false, 1000*mib, 60*s, 1600*ms, 40*s
		}), 20, 0, false, ""},
		{"a pause of 2 s would do, and post-copy is allowed", all, with(busy, func(x *State) { x.AutoConverge, x.Sent, x.Left, x.Best = false, 1000*mib, 60*s, 1600*ms }), 20, 0, false, ""},
		{"thought easy, and no time to begin anew: post-copy", all, with(busy, func(x *State) { x.AutoConverge, x.Left = false, 39*s }), 0, 0, true, ""},
		{"thought easy, and no time, and no post-copy: as it is", throttle, with(busy, func(x *State) { x.AutoConverge, x.Left = false, 39*s }), 0, 0, false, ""},

		{"the link was cut a moment ago", all, with(busy, func(x *State) { x.Quiet = 9 * s }), 20, 0, false, ""},
		{"the link is cut", all, with(busy, func(x *State) { x.Quiet = 10 * s }), 0, 0, false, "nothing for 10s"},
		{"nothing is sent before the first pass: disks are copied", all, State{Left: 60 * s, Quiet: 30 * s, AutoConverge: true}, 20, 0, false, ""},
		{"the link slowed down a moment ago", throttle, with(busy, func(x *State) { x.Rate, x.Starved = 4*mib, s }), 20, 0, false, ""},
		{"the link is too slow", throttle, with(busy, func(x *State) { x.Rate, x.Starved = 4*mib, 10*s }), 0, 0, false, "200 MiB are left, and the link carries 4.0 MiB/s: they would not be sent in the 45s"},
		{"the link is slow, but not too slow", throttle, with(busy, func(x *State) { x.Rate, x.Starved = 5*mib, 10*s }), 20, 0, false, ""},
		{"first pass: most of the guest's memory was never touched", throttle, State{Iteration: 1, Left: 60 * s, Remaining: 60 * gib, Used: 2 * gib, Sent: gib, Rate: 100 * mib, Starved: 10 * s, AutoConverge: true}, 20, 0, false, ""},
		{"first pass: all of it was", throttle, State{Iteration: 1, Left: 60 * s, Remaining: 60 * gib, Used: 61 * gib, Sent: gib, Rate: 100 * mib, Starved: 10 * s, AutoConverge: true}, 0, 0, false, "would not be sent"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := NewPolicy(0, 0, 50*ms, 80*s)
			c.may(&p)
			d := p.Decide(c.state)
			if d.Throttle != c.throttle || d.Connections != c.conns || d.PostCopy != c.postCopy {
				t.Errorf("throttle %d, connections %d, post-copy %v; want %d, %d, %v", d.Throttle, d.Connections, d.PostCopy, c.throttle, c.conns, c.postCopy)
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
	never := State{Iteration: 90, Repeated: 5 * time.Minute, Stale: 88, Stagnant: 5 * time.Minute, Remaining: 200 * mib, Rate: 100 * mib, DirtyRate: 200 * mib, Best: 2 * s}
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
		{"post-copy once the throttle has had half a minute", Policy{Budget: s, AutoConverge: true, PostCopy: true}, throttled, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.policy.InitialDowntime, c.policy.Max, c.policy.Patience, c.policy.RaiseEvery = c.policy.Budget/8, c.policy.Budget, 3, s
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
		{"a web server: a pass takes a tenth of a second at least", 2 * gib, 100 * mib, 30 * mib, true, true, "pre-copy", 38 * ms},
		{"80 per cent of the link", 512 * mib, 100 * mib, 80 * mib, true, false, "pre-copy", 100 * ms},
		{"more than the link, throttled", 512 * mib, 100 * mib, 120 * mib, true, false, "pre-copy", 50 * ms},
		{"more than the link, neither", 512 * mib, 100 * mib, 150 * mib, false, false, "pre-copy", 10 * s},
		{"more than the link, post-copy", 512 * mib, 100 * mib, 150 * mib, false, true, "post-copy", 50 * ms},
		{"more than the link can carry at all", 20 * gib, 100 * mib, 150 * mib, true, true, "given up", 10 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewPolicy(0, 0, 50*ms, 80*s)
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
		if starved += step; !p.starved(s) {
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
	f.Fuzz(func(t *testing.T, window, left int64, iteration int, remaining, rate, dirty uint64, best int64, firm, throttled bool) {
		p := NewPolicy(0, 0, 50*time.Millisecond, time.Duration(max(window, 0)))
		p.AutoConverge, p.PostCopy, p.Firm = true, true, firm
		d := p.Decide(State{Left: time.Duration(left), Iteration: iteration, Repeated: time.Hour, Stale: iteration, Stagnant: time.Hour, Remaining: remaining, Rate: rate,
			DirtyRate: dirty, Best: time.Duration(best), AutoConverge: throttled})
		if d.DowntimeLimit < p.InitialDowntime || firm && d.DowntimeLimit > p.Budget {
			t.Errorf("limit %v of %v to %v", d.DowntimeLimit, p.InitialDowntime, p.Budget)
		}
		if d.Throttle < 0 || d.Throttle > 99 || d.PostCopy && iteration < 2 || d.PostCopy && d.GiveUp != "" {
			t.Errorf("%+v", d)
		}
	})
}

// A throttle that has grown strong makes the guest stand still for longer than the budget: then the last
// copy, which takes 100 ms here, may take as long.
func TestLimitFollowsTheThrottle(t *testing.T) {
	for _, c := range []struct {
		percent int
		firm    bool
		want    time.Duration
	}{
		{0, false, 10 * time.Millisecond}, {20, false, 10 * time.Millisecond}, {50, false, 10 * time.Millisecond},
		{80, false, 40 * time.Millisecond}, {90, false, 125 * time.Millisecond}, {95, false, 190 * time.Millisecond},
		{99, false, 990 * time.Millisecond}, {100, false, 990 * time.Millisecond}, {99, true, 10 * time.Millisecond},
	} {
		p := NewPolicy(10*time.Millisecond, 0, 50*time.Millisecond, 2*time.Minute)
		p.AutoConverge, p.Firm = true, c.firm
		s := State{Iteration: 5, Left: 100 * time.Second, Remaining: 2 << 20, Rate: 20 << 20, AutoConverge: true, Throttle: c.percent}
		if got := p.Decide(s).DowntimeLimit; got != c.want {
			t.Errorf("at %d %%, firm %v: limit %v, want %v", c.percent, c.firm, got, c.want)
		}
	}
}

// TestLongestPause holds DowntimeLimit to be the longest pause at any time.
func TestLongestPause(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	busy := State{Iteration: 9, Stale: 8, Stagnant: 20 * s, Elapsed: 59 * s, Left: s, Remaining: 900 << 20, Rate: 100 << 20, DirtyRate: 90 << 20, Best: 8 * s}
	for _, c := range []struct {
		name            string
		longest, budget time.Duration
		first, limit    time.Duration // before the begin, and near the deadline
	}{
		{"no bound", 0, 0, 2 * ms, 2 * s},
		{"short", 30 * ms, 0, 2 * ms, 15 * ms},
		{"shorter than a first limit", 2 * ms, 0, ms, ms},
		{"long", 5 * s, 0, 2 * ms, 2 * s},
		{"the hand-over has its part", 300 * ms, 0, 2 * ms, 250 * ms},
		{"longer than the budget", 300 * ms, 200 * ms, 2 * ms, 250 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewPolicy(0, c.budget, 50*ms, 60*s).Within(c.longest, 50*ms, c.budget > 0)
			near := busy
			near.Left = 4 * s
			if first := p.Decide(State{Left: 60 * s}).DowntimeLimit; first != c.first {
				t.Errorf("first limit %v, want %v", first, c.first)
			}
			if limit := p.Decide(near).DowntimeLimit; limit != c.limit {
				t.Errorf("limit near the deadline %v, want %v", limit, c.limit)
			}
			p.ForceAfter = s
			if limit := p.Decide(near).DowntimeLimit; limit != c.limit {
				t.Errorf("limit after PauseAfter %v, want %v", limit, c.limit)
			}
		})
	}
}

// A pause that the caller allows is reached before the guest is slowed down.
func TestLongestPauseIsUsed(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	p := NewPolicy(0, 0, 50*ms, 0).Within(5*s, 50*ms, false)
	p.AutoConverge = true
	stuck := State{Iteration: 9, Stale: 8, Stagnant: 60 * s, Repeated: 60 * s, Remaining: 300 << 20, Used: 1 << 30, Rate: 100 << 20, DirtyRate: 90 << 20, Best: 1500 * ms}
	if d := p.Decide(stuck); d.DowntimeLimit < 1500*ms || d.DowntimeLimit > 2*s || d.Throttle != 0 {
		t.Errorf("%+v", d)
	}
}
