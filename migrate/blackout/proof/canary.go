package proof

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// canaryEvery is how often a canary wants to run.
	canaryEvery = 500 * time.Microsecond
	// leastStall is the shortest time of not running that is noted.
	leastStall = 200 * time.Microsecond
	// reach is how soon after an instant a stall delays what happens then.
	reach = 2 * time.Millisecond
)

// stall is a time in which a processor did not run what it should have.
type stall struct{ from, to time.Time }

// canaries sit on every processor, one each, and note when they are not run: a
// server that should answer again is not run then either, and its outage is truly
// longer than it was made.
type canaries struct {
	mu     sync.Mutex
	stalls []stall
	wait   sync.WaitGroup
}

// newCanaries starts them; they end with ctx, and wait waits for that.
func newCanaries(ctx context.Context) *canaries {
	c := &canaries{}
	for cpu := range runtime.NumCPU() {
		c.wait.Go(func() { c.sit(ctx, cpu) })
	}
	return c
}

// sit is one canary. Its thread is bound to a processor, and ends with it.
func (c *canaries) sit(ctx context.Context, cpu int) {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	_ = unix.SchedSetaffinity(0, &set) // where it may not, it sits anywhere
	_ = hurry()
	pause := unix.NsecToTimespec(int64(canaryEvery))
	for last := time.Now(); ctx.Err() == nil; {
		_ = unix.Nanosleep(&pause, nil)
		now := time.Now()
		if due := last.Add(canaryEvery); now.Sub(due) >= leastStall {
			c.note(stall{due, now})
		}
		last = now
	}
}

func (c *canaries) note(s stall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalls = append(c.stalls, s)
}

// after is for how long what should happen at an instant may have been delayed:
// the length of the stalls that it fell into or that soon followed, each perhaps
// on the processor where the next step was to be done.
func (c *canaries) after(at time.Time) time.Duration {
	return c.sum(at, func(s stall) time.Duration { return min(s.to.Sub(at), s.to.Sub(s.from)) })
}

// around is for how long what an instant cut off may have waited before: a
// server that was not run until then has nothing to show for that time either.
func (c *canaries) around(at time.Time) time.Duration {
	return c.sum(at.Add(-reach), func(s stall) time.Duration { return s.to.Sub(s.from) })
}

// sum adds up what counts of the stalls that an instant fell into, or that soon
// followed it.
func (c *canaries) sum(at time.Time, counts func(stall) time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	until := at.Add(reach)
	var sum time.Duration
	for _, s := range c.stalls { // in the order in which they ended, or nearly
		if s.to.Before(at) || s.from.After(until) {
			continue
		}
		late := counts(s)
		sum += late
		until = until.Add(late)
	}
	return sum
}
