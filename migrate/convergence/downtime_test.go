package convergence

import (
	"testing"
	"time"
)

// TestNewPolicy divides a pause: in each row the hand-over gets its part first.
func TestNewPolicy(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for _, c := range []struct {
		name  string
		pause Pause
		want  [5]time.Duration // initial, budget, max, hard max, upper bound
	}{
		{"nothing said: 100 ms, of which the hand-over takes half", Pause{0, 0, 50 * ms},
			[5]time.Duration{2 * ms, 50 * ms, 500 * ms, 2 * s, 0}},
		{"a quick peer leaves more to the last copy", Pause{0, 0, 20 * ms},
			[5]time.Duration{2 * ms, 80 * ms, 500 * ms, 2 * s, 0}},
		{"a wide budget", Pause{250 * ms, 0, 50 * ms}, [5]time.Duration{2 * ms, 200 * ms, 200 * ms, 200 * ms, 0}},
		{"a budget below the hand-over: half of it", Pause{40 * ms, 0, 50 * ms},
			[5]time.Duration{2 * ms, 20 * ms, 20 * ms, 20 * ms, 0}},
		{"a tiny budget bounds the initial limit too", Pause{2 * ms, 0, 50 * ms},
			[5]time.Duration{1 * ms, 1 * ms, 1 * ms, 1 * ms, 0}},
		{"a longest pause of 1 s and no budget: all of it", Pause{0, s, 50 * ms},
			[5]time.Duration{2 * ms, 50 * ms, 950 * ms, 950 * ms, 950 * ms}},
		{"a longest pause below the budget", Pause{250 * ms, 60 * ms, 50 * ms},
			[5]time.Duration{2 * ms, 30 * ms, 30 * ms, 30 * ms, 30 * ms}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewPolicy(c.pause, 0)
			if got := [5]time.Duration{p.InitialDowntime, p.Budget, p.Max, p.HardMax, p.UpperBound}; got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestDowntime has a budget of 250 ms: 200 ms for the last copy.
func TestDowntime(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	idle := NewPolicy(Pause{Budget: 250 * ms, HandOver: 50 * ms}, 0)      // throttled, a step every 5 s
	window := NewPolicy(Pause{Budget: 250 * ms, HandOver: 50 * ms}, 60*s) // a step every 3 s, forced in the last 15 s
	strict := NewPolicy(Pause{HandOver: 50 * ms}, 60*s)
	usual := NewPolicy(Pause{HandOver: 50 * ms}, 0) // nobody has a budget
	idle.InitialDowntime, window.InitialDowntime = 10*ms, 10*ms
	strict.InitialDowntime, strict.Budget = 500*ms, 500*ms // an initial limit as high as the budget
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
		{"fifty passes, 5 s: the budget", idle, State{Stale: 50, Stagnant: 5 * s}, 200 * ms},
		{"throttled, fifty passes, 5 s: still one", idle, State{Throttle: 20, Stale: 50, Stagnant: 5 * s}, 20 * ms},
		{"throttled, fifty passes, 6 s: two", idle, State{Throttle: 20, Stale: 50, Stagnant: 6 * s}, 40 * ms},
		{"throttled, fifty passes, 16 s: four", idle, State{Throttle: 20, Stale: 50, Stagnant: 16 * s}, 160 * ms},
		{"throttled, fifty passes, 21 s: the budget", idle, State{Throttle: 20, Stale: 50, Stagnant: 21 * s}, 200 * ms},
		{"a year: the budget", idle, State{Stale: 1 << 30, Stagnant: year}, 200 * ms},
		{"the best pass would have left 80 ms: a quarter more", idle, State{Stale: 2, Stagnant: s, Best: 80 * ms},
			100 * ms},
		{"then twice that", idle, State{Stale: 3, Stagnant: 2 * s, Best: 80 * ms}, 200 * ms},
		{"the best is beyond the budget", idle, State{Stale: 2, Stagnant: s, Best: 9 * s}, 200 * ms},
		{"throttled, window, 4 s: two steps", window, State{Throttle: 20, Stale: 9, Stagnant: 4 * s, Left: 50 * s},
			40 * ms},
		{"16 s left: still normal", window, State{Iteration: 1, Left: 16 * s, Remaining: 1000 * mib, Rate: 100 * mib},
			10 * ms},
		{"15 s left, 100 MiB at 100 MiB/s: 1 s and a quarter", window,
			State{Iteration: 9, Left: 15 * s, Remaining: 100 * mib, Rate: 100 * mib}, 1250 * ms},
		{"15 s left, 8 MiB at 100 MiB/s need 100 ms: the budget", window,
			State{Iteration: 9, Left: 15 * s, Remaining: 8 * mib, Rate: 100 * mib}, 200 * ms},
		{"4 s left, 1000 MiB at 100 MiB/s: half of the rest", window,
			State{Iteration: 9, Left: 4 * s, Remaining: 1000 * mib, Rate: 100 * mib}, 2 * s},
		{"stalled link", window, State{Iteration: 9, Left: 4 * s, Remaining: 1 << 62, Rate: 1}, 2 * s},
		{"no rate known", window, State{Iteration: 9, Left: 4 * s, Remaining: 1000 * mib}, 2 * s},
		{"too late", window, State{Iteration: 9, Left: -s, Remaining: 1000 * mib, Rate: mib}, 200 * ms},
		{"a window that is nearly over at the begin", window, State{Left: 10 * s}, 10 * ms},
		{"firm: bounds the end of the window", firm,
			State{Iteration: 9, Stale: 9, Stagnant: 40 * s, Left: 4 * s, Remaining: 1000 * mib, Rate: 100 * mib},
			200 * ms},
		{"not forced yet", forced, State{Elapsed: 19 * s, Iteration: 2, Remaining: 100 * mib, Rate: 100 * mib},
			10 * ms},
		{"forced, 100 MiB at 100 MiB/s", forced, State{Elapsed: 20 * s, Iteration: 2, Remaining: 100 * mib,
			Rate: 100 * mib}, 1250 * ms},
		{"forced, stalled link", forced, State{Elapsed: 20 * s, Iteration: 2, Remaining: 1 << 62, Rate: 1},
			time.Minute},
		{"forced and firm", hurry, State{Elapsed: 20 * s, Iteration: 2, Left: 40 * s, Remaining: 100 * mib,
			Rate: 100 * mib}, 10 * ms},
		{"a first limit as high as the budget is kept", strict, State{Stale: 99, Stagnant: 40 * s, Left: 20 * s}, 500 * ms},
		{"nobody requested a budget: passes may still become shorter", usual,
			State{Iteration: 9, Stale: 9, Stagnant: 4 * s, Used: 900 * mib, Rate: 100 * mib, Best: 1200 * ms},
			500 * ms},
		{"they do not: as much as the shortest needs", usual,
			State{Iteration: 9, Stale: 9, Stagnant: 5 * s, Used: 900 * mib, Rate: 100 * mib, Best: 1200 * ms},
			1500 * ms},
		{"nor with that", usual, State{Iteration: 9, Stale: 9, Stagnant: 9 * s, Used: 900 * mib, Rate: 100 * mib,
			Best: 1200 * ms}, 2 * s},
		{"nor with that: slowing down has its turn", usual,
			State{Iteration: 9, Stale: 9, Stagnant: 18 * s, Used: 900 * mib, Rate: 100 * mib, Best: 1200 * ms},
			500 * ms},
		{"more than 2 s: slowing down it is", usual,
			State{Iteration: 9, Stale: 9, Stagnant: 9 * s, Used: 900 * mib, Rate: 100 * mib, Best: 2100 * ms},
			500 * ms},
		{"firm: no longer for that", hard, State{Iteration: 9, Stale: 9, Stagnant: 9 * s, Used: 900 * mib,
			Rate: 100 * mib, Best: 1200 * ms}, 50 * ms},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := c.policy.Decide(c.state).DowntimeLimit; got != c.want {
				t.Errorf("limit %v, want %v", got, c.want)
			}
		})
	}
}

// TestLongestPause holds DowntimeLimit to be the longest pause at any time.
func TestLongestPause(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	busy := State{Iteration: 9, Stale: 8, Stagnant: 20 * s, Elapsed: 59 * s, Left: s, Remaining: 900 << 20,
		Rate: 100 << 20, DirtyRate: 90 << 20, Best: 8 * s}
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
			p := NewPolicy(Pause{Budget: c.budget, Longest: c.longest, HandOver: 50 * ms}, 60*s)
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
	p := NewPolicy(Pause{Longest: 5 * s, HandOver: 50 * ms}, 0)
	p.AutoConverge = true
	stuck := State{Iteration: 9, Stale: 8, Stagnant: 60 * s, Repeated: 60 * s, Remaining: 300 << 20, Used: 1 << 30,
		Rate: 100 << 20, DirtyRate: 90 << 20, Best: 1500 * ms}
	if d := p.Decide(stuck); d.DowntimeLimit < 1500*ms || d.DowntimeLimit > 2*s || d.Throttle != 0 {
		t.Errorf("%+v", d)
	}
}

// A throttle that has grown strong keeps the guest paused for longer than the budget: then the last
// copy, which takes 100 ms here, may take as long.
func TestDowntimeOfThrottledGuest(t *testing.T) {
	for _, c := range []struct {
		percent int
		firm    bool
		want    time.Duration
	}{
		{0, false, 10 * time.Millisecond}, {20, false, 10 * time.Millisecond}, {50, false, 10 * time.Millisecond},
		{80, false, 40 * time.Millisecond}, {90, false, 125 * time.Millisecond}, {95, false, 190 * time.Millisecond},
		{99, false, 990 * time.Millisecond}, {100, false, 990 * time.Millisecond}, {99, true, 10 * time.Millisecond},
	} {
		p := NewPolicy(Pause{HandOver: 50 * time.Millisecond}, 2*time.Minute)
		p.InitialDowntime = 10 * time.Millisecond
		p.AutoConverge, p.Firm = true, c.firm
		s := State{Iteration: 5, Left: 100 * time.Second, Remaining: 2 << 20, Rate: 20 << 20, AutoConverge: true,
			Throttle: c.percent}
		if got := p.Decide(s).DowntimeLimit; got != c.want {
			t.Errorf("at %d %%, firm %v: limit %v, want %v", c.percent, c.firm, got, c.want)
		}
	}
}
