package accuracy

import (
	"context"
	"runtime"
	"slices"
	"sort"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// canaryEvery is how often a stallMonitor wants to run.
	canaryEvery = 500 * time.Microsecond
	// leastStall is the shortest time of not running that is noted.
	leastStall = 200 * time.Microsecond
	// reach is how much longer than an interval it may take until a server is needed.
	reach = 2 * time.Millisecond
)

// stall is a time in which a processor did not run what it should have.
type stall struct{ from, to time.Time }

// canaries sit on every processor, one each, and note when they are not run: a
// server that should answer again is not run then either, and its outage is truly
// longer than it was made.
type canaries struct {
	mu      sync.Mutex
	stalls  []stall
	longest time.Duration
	wait    sync.WaitGroup
	places  int // that Go's scheduler had before
}

// newCanaries starts them; they end with ctx, and end waits for that. Each keeps its
// place in Go's scheduler while it sleeps, or else it would tell how late that is; so
// there are more places meanwhile.
func newCanaries(ctx context.Context) *canaries {
	c := &canaries{places: runtime.GOMAXPROCS(0)}
	runtime.GOMAXPROCS(c.places + runtime.NumCPU())
	for cpu := range runtime.NumCPU() {
		c.wait.Go(func() { c.sit(ctx, cpu) })
	}
	return c
}

// sit is one stallMonitor. Its thread is bound to a processor, and ends with it.
func (c *canaries) sit(ctx context.Context, cpu int) {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	_ = unix.SchedSetaffinity(0, &set) // where it may not, it sits anywhere
	_ = hurry()
	pause := unix.NsecToTimespec(int64(canaryEvery))
	for last := time.Now(); ctx.Err() == nil; {
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
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

// after is for how long a server may have been kept from running that wanted to at
// some time in the reach after an instant: the longest such stalls, from then on, one for
// each time that it has to be woken until it answers.
func (c *canaries) after(at time.Time, reach time.Duration, wakes int) time.Duration {
	return c.sum(at, at.Add(reach), wakes, func(s stall) time.Duration { return min(s.to.Sub(at), s.to.Sub(s.from)) })
}

// before is the same of a server that wanted to in the reach before an instant, and
// could no longer once it did run.
func (c *canaries) before(at time.Time, reach time.Duration) time.Duration {
	return c.sum(at.Add(-reach), at, 1, func(s stall) time.Duration { return s.to.Sub(s.from) })
}

// within is for how long at most a processor stood in one go between two instants.
func (c *canaries) within(from, to time.Time) time.Duration {
	return c.sum(from, to, 1, func(s stall) time.Duration { return earlier(s.to, to).Sub(later(s.from, from)) })
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sum adds up the most that counts of so many stalls that a time meets. settle must have
// been called.
func (c *canaries) sum(from, to time.Time, many int, counts func(stall) time.Duration) time.Duration {
	var all []time.Duration
	first := sort.Search(len(c.stalls), func(i int) bool { return !c.stalls[i].to.Before(from) })
	for _, s := range c.stalls[first:] {
		if s.to.Sub(to) > c.longest {
			break // all others begin later
		}
		if !s.from.After(to) {
			all = append(all, counts(s))
		}
	}
	slices.Sort(all)
	var sum time.Duration
	for _, d := range all[max(len(all)-many, 0):] {
		sum += d
	}
	return sum
}

// end waits until all canaries have ended.
func (c *canaries) end() {
	c.wait.Wait()
	runtime.GOMAXPROCS(c.places)
	c.settle()
}

// settle brings what was noted into order.
func (c *canaries) settle() {
	slices.SortFunc(c.stalls, func(a, b stall) int { return a.to.Compare(b.to) })
	for _, s := range c.stalls {
		c.longest = max(c.longest, s.to.Sub(s.from))
	}
}
