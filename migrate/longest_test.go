package migrate

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

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
			p := newPolicy(0, c.budget, 50*ms, 60*s).within(c.longest, 50*ms, c.budget > 0)
			near := busy
			near.Left = 4 * s
			if first := p.Decide(State{Left: 60 * s}).Limit; first != c.first {
				t.Errorf("first limit %v, want %v", first, c.first)
			}
			if limit := p.Decide(near).Limit; limit != c.limit {
				t.Errorf("limit near the deadline %v, want %v", limit, c.limit)
			}
			p.Force = s
			if limit := p.Decide(near).Limit; limit != c.limit {
				t.Errorf("limit after PauseAfter %v, want %v", limit, c.limit)
			}
		})
	}
}

// A pause that the caller allows is reached before the guest is slowed down.
func TestLongestPauseIsUsed(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	p := newPolicy(0, 0, 50*ms, 0).within(5*s, 50*ms, false)
	p.Throttle = true
	stuck := State{Iteration: 9, Stale: 8, Stagnant: 60 * s, Repeated: 60 * s, Remaining: 300 << 20, Used: 1 << 30, Rate: 100 << 20, DirtyRate: 90 << 20, Best: 1500 * ms}
	if d := p.Decide(stuck); d.Limit < 1500*ms || d.Limit > 2*s || d.Throttle != 0 {
		t.Errorf("%+v", d)
	}
}

// TestMoveKeepsTheLongestPause lets a guest not converge until its deadline.
func TestMoveKeepsTheLongestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.source.migrate = p.hang
		p.req.DowntimeLimit = 30 * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		if rec, _ := Move(ctx, p.req, p.deps); rec.Outcome != Stayed {
			t.Errorf("outcome %q", rec.Outcome)
		}
		if most := slices.Max(p.source.limits); len(p.source.limits) < 2 || most > 15*time.Millisecond {
			t.Errorf("limits %v: want them raised, and none above 15 ms", p.source.limits)
		}
	})
}
