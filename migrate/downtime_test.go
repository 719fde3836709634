package migrate

import (
	"testing"
	"time"
)

func TestDowntimeLimit(t *testing.T) {
	const ms, s, mib = time.Millisecond, time.Second, 1 << 20
	endless := newDowntimePolicy(0, 0)                   // a step every 5 s
	window := newDowntimePolicy(0, 60*s)                 // a step every 3 s, near the end in the last 15 s
	strict := newDowntimePolicy(500*ms, 60*s)            // first above the usual cap
	tight := newDowntimePolicy(0, 60*s).within(250 * ms) // 200 ms, and 50 ms for the hand-over
	tiny := newDowntimePolicy(0, 60*s).within(40 * ms)   // half of it
	wide := newDowntimePolicy(500*ms, 60*s).within(10000 * ms)
	forced := newDowntimePolicy(0, 0)
	forced.Force = 20 * s
	hurry := newDowntimePolicy(0, 60*s).within(250 * ms)
	hurry.Force = 5 * s
	cases := []struct {
		name   string
		policy DowntimePolicy
		sample DowntimeSample
		want   time.Duration
	}{
		{"nothing known yet", endless, DowntimeSample{}, 30 * ms},
		{"first pass of a big guest takes long", endless, DowntimeSample{Iteration: 1, Repeated: 0}, 30 * ms},
		{"third pass", endless, DowntimeSample{Iteration: 3, Repeated: 99 * s}, 30 * ms},
		{"fourth pass: one step", endless, DowntimeSample{Iteration: 4, Repeated: 99 * s}, 60 * ms},
		{"fourth pass came quickly: no step yet", endless, DowntimeSample{Iteration: 4, Repeated: 4 * s}, 30 * ms},
		{"fiftieth pass, 5 s: one step", endless, DowntimeSample{Iteration: 50, Repeated: 5 * s}, 60 * ms},
		{"fiftieth pass, 10 s: two", endless, DowntimeSample{Iteration: 50, Repeated: 10 * s}, 120 * ms},
		{"fiftieth pass, 15 s: three", endless, DowntimeSample{Iteration: 50, Repeated: 15 * s}, 240 * ms},
		{"fiftieth pass, 20 s: the cap", endless, DowntimeSample{Iteration: 50, Repeated: 20 * s}, 300 * ms},
		{"a year: the cap", endless, DowntimeSample{Iteration: 1 << 30, Repeated: 365 * 24 * time.Hour}, 300 * ms},
		{"window, 3 s: one step", window, DowntimeSample{Iteration: 9, Repeated: 3 * s, Left: 50 * s}, 60 * ms},
		{"16 s left: still normal", window, DowntimeSample{Iteration: 1, Left: 16 * s, Remaining: 1000 * mib, Rate: 100 * mib}, 30 * ms},
		{"15 s left, 100 MiB at 100 MiB/s: 1 s and a quarter", window, DowntimeSample{Iteration: 9, Left: 15 * s, Remaining: 100 * mib, Rate: 100 * mib}, 1250 * ms},
		{"15 s left, 8 MiB at 100 MiB/s need 100 ms: the cap", window, DowntimeSample{Iteration: 9, Left: 15 * s, Remaining: 8 * mib, Rate: 100 * mib}, 300 * ms},
		{"4 s left, 1000 MiB at 100 MiB/s: half of the rest", window, DowntimeSample{Iteration: 9, Left: 4 * s, Remaining: 1000 * mib, Rate: 100 * mib}, 2 * s},
		{"stalled link", window, DowntimeSample{Iteration: 9, Left: 4 * s, Remaining: 1 << 62, Rate: 1}, 2 * s},
		{"no rate known", window, DowntimeSample{Iteration: 9, Left: 4 * s, Remaining: 1000 * mib}, 300 * ms},
		{"too late", window, DowntimeSample{Iteration: 9, Left: -s, Remaining: 1000 * mib, Rate: mib}, 300 * ms},
		{"budget: begins as always", tight, DowntimeSample{Iteration: 1, Left: 50 * s}, 30 * ms},
		{"budget: bounds the cap", tight, DowntimeSample{Iteration: 99, Repeated: 40 * s, Left: 20 * s}, 200 * ms},
		{"budget: bounds the end of the window", tight, DowntimeSample{Iteration: 9, Left: 4 * s, Remaining: 1000 * mib, Rate: 100 * mib}, 200 * ms},
		{"budget: stalled link", tight, DowntimeSample{Iteration: 9, Left: 4 * s, Remaining: 1 << 62, Rate: 1}, 200 * ms},
		{"a budget below the first limit", tiny, DowntimeSample{}, 20 * ms},
		{"a budget above all limits changes none", wide, DowntimeSample{Iteration: 99, Repeated: 40 * s, Left: 20 * s}, 500 * ms},
		{"not forced yet", forced, DowntimeSample{Elapsed: 19 * s, Iteration: 2, Remaining: 100 * mib, Rate: 100 * mib}, 30 * ms},
		{"forced, 100 MiB at 100 MiB/s", forced, DowntimeSample{Elapsed: 20 * s, Iteration: 2, Remaining: 100 * mib, Rate: 100 * mib}, 1250 * ms},
		{"forced, stalled link", forced, DowntimeSample{Elapsed: 20 * s, Iteration: 2, Remaining: 1 << 62, Rate: 1}, time.Minute},
		{"forced, within the budget", hurry, DowntimeSample{Elapsed: 20 * s, Left: 40 * s, Remaining: 100 * mib, Rate: 100 * mib}, 200 * ms},
		{"a first limit above the cap is kept", strict, DowntimeSample{Iteration: 99, Repeated: 40 * s, Left: 20 * s}, 500 * ms},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := c.policy.Limit(c.sample); got != c.want {
				t.Errorf("limit %v, want %v", got, c.want)
			}
		})
	}
}

func TestReserve(t *testing.T) {
	for window, want := range map[time.Duration]time.Duration{
		time.Second: 2 * time.Second, 20 * time.Second: 2500 * time.Millisecond, time.Hour: 10 * time.Second, -time.Second: 2 * time.Second,
	} {
		if got := reserveOf(window); got != want {
			t.Errorf("reserve of %v is %v, want %v", window, got, want)
		}
	}
}

func TestJudgeBudget(t *testing.T) {
	yes, no := true, false
	ms := func(v float64) *float64 { return &v }
	seen := func(values ...float64) (all []Blackout) {
		for _, v := range values {
			all = append(all, Blackout{"udp://192.0.2.7:7", v, 1})
		}
		return all
	}
	for _, c := range []struct {
		name  string
		rec   Record
		seen  []Blackout
		want  *bool
		total int
	}{
		{"no budget", Record{Outcome: Moved}, seen(500), nil, 1},
		{"nobody watched, a short pause", Record{Outcome: Moved, BudgetMS: 250, PauseMS: ms(40)}, nil, nil, 0},
		{"nobody watched, a long pause", Record{Outcome: Moved, BudgetMS: 250, PauseMS: ms(300)}, nil, &no, 0},
		{"kept", Record{Outcome: Moved, BudgetMS: 250, PauseMS: ms(40)}, seen(100, 250), &yes, 2},
		{"one of two broke it", Record{Outcome: Moved, BudgetMS: 250, PauseMS: ms(40)}, seen(100, 251), &no, 2},
		{"added to what was known", Record{Outcome: Moved, BudgetMS: 250, Blackouts: seen(300)}, seen(100), &no, 2},
		{"not moved", Record{Outcome: Stayed, BudgetMS: 250}, seen(10), nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.rec.Judge(c.seen)
			c.rec.Judge(nil)
			if got := c.rec.BudgetKept; (got == nil) != (c.want == nil) || got != nil && *got != *c.want || len(c.rec.Blackouts) != c.total {
				t.Errorf("kept %v of %+v", got, c.rec)
			}
		})
	}
}
