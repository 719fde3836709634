package blackout

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/reflector/reflectortest"
)

// steppedClock is a wall clock that somebody sets: what it shows of any point in time
// is as far off as it was set last before that.
type steppedClock struct {
	mu    sync.Mutex
	steps []clockStep
}

type clockStep struct {
	at time.Time
	by time.Duration
}

func (c *steppedClock) set(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, clockStep{time.Now(), by})
}

func (c *steppedClock) shows(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	shown := t
	for _, s := range c.steps {
		if !t.Before(s.at) {
			shown = shown.Add(s.by)
		}
	}
	return shown
}

// Somebody sets the clock by an hour in an outage, and back by two after it: nothing
// but clock_step_ms shows it.
func TestWatchWhileTheClockIsSet(t *testing.T) {
	starts := map[string]func(seen func(uint64)) (string, *ledger){
		"udp://": func(seen func(uint64)) (string, *ledger) {
			r := &udpRelay{t: t, dropOut: never, dropBack: between(100, 200), route: func(uint64) int { return 0 },
				seen: seen}
			return r.start(reflectortest.Start(t)), &r.ledger
		},
		"tcp://": func(seen func(uint64)) (string, *ledger) {
			held := between(100, 200)
			r := &tcpRelay{t: t, accepted: func(int) bool { return true },
				hold:  func(_ int, seq uint64) bool { return held(seq) },
				probe: func(_ int, seq uint64) bool { seen(seq); return true }}
			return r.start(reflectortest.Start(t)), &r.ledger
		},
	}
	for scheme, start := range starts {
		t.Run(scheme, func(t *testing.T) {
			ctx, cancel := deadline(t)
			var clock steppedClock
			addr, done := start(func(seq uint64) {
				switch {
				case seq == 150:
					clock.set(time.Hour)
				case seq == 250:
					clock.set(-2 * time.Hour)
				case seq >= 300:
					cancel()
				}
			})
			begun := time.Now()
			r, err := Watch(ctx, Config{Targets: []string{scheme + addr}, Interval: relayInterval, Wall: clock.shows})
			if err != nil {
				t.Fatal(err)
			}
			checkOutage(t, r.Targets[0], done, 100, relayInterval)
			checkUnmoved(t, r, begun, time.Since(begun))
			if want := ms(-time.Hour); math.Abs(r.ClockStepMs-want) > 1000 {
				t.Errorf("the clock is said to have been set by %v ms, want %v", r.ClockStepMs, want)
			}
		})
	}
}

// checkUnmoved finds what is longer than the run was, or at another time.
func checkUnmoved(t *testing.T, r *Report, begun time.Time, took time.Duration) {
	t.Helper()
	if got := r.Targets[0]; got.DarkMs > ms(took) || got.WorstErrorMs > ms(took) || got.RTT.Max > 1000*ms(took) {
		t.Errorf("in %s, dark for %v ms, an error of %v ms, a round trip of %v µs", took, got.DarkMs, got.WorstErrorMs,
			got.RTT.Max)
	}
	if length := r.End.Sub(r.Start); length > took || r.Start.Before(begun) {
		t.Errorf("the run of %s from %s is said to be from %s, for %s", took, begun, r.Start, length)
	}
	for _, f := range r.Faults {
		if f.Ms > ms(took) {
			t.Errorf("a fault that is longer than the run: %+v", f)
		}
	}
}
