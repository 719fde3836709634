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
	// stallCheck is how often a stallMonitor wants to run.
	stallCheck = 500 * time.Microsecond
	// leastStall is the shortest time of not running that is noted.
	leastStall = 200 * time.Microsecond
	// reach is how much longer than an interval it may take until a server is needed.
	reach = 2 * time.Millisecond
)

// stall is a time in which a processor did not run what it should have.
type stall struct{ from, to time.Time }

// stallMonitors run on every processor, one each, and note when they are not scheduled: a
// server that should answer again is not run then either, and its outage is truly
// longer than it was made.
type stallMonitors struct {
	mu      sync.Mutex
	stalls  []stall
	longest time.Duration
	wait    sync.WaitGroup
	places  int // that Go's scheduler had before
}

// startStallMonitors starts them; they end with ctx, and end waits for that. Each keeps its
// place in Go's scheduler while it sleeps, or else it would measure how late that is; so
// there are more places meanwhile.
func startStallMonitors(ctx context.Context) *stallMonitors {
	c := &stallMonitors{places: runtime.GOMAXPROCS(0)}
	runtime.GOMAXPROCS(c.places + runtime.NumCPU())
	for cpu := range runtime.NumCPU() {
		c.wait.Go(func() { c.sit(ctx, cpu) })
	}
	return c
}

// sit is one stallMonitor. Its thread is bound to a processor, and ends with it.
func (c *stallMonitors) sit(ctx context.Context, cpu int) {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	_ = unix.SchedSetaffinity(0, &set) // where it may not, it sits anywhere
	_ = hurry()
	pause := unix.NsecToTimespec(int64(stallCheck))
	for last := time.Now(); ctx.Err() == nil; {
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
		now := time.Now()
		if due := last.Add(stallCheck); now.Sub(due) >= leastStall {
			c.note(stall{due, now})
		}
		last = now
	}
}

func (c *stallMonitors) note(s stall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalls = append(c.stalls, s)
}

// after is for how long a server may have been kept from running that wanted to at
// some time in the reach after an instant: the longest such stalls, from then on, one for
// each time that it has to be woken until it answers.
func (c *stallMonitors) after(at time.Time, reach time.Duration, wakes int) time.Duration {
	return c.sum(at, at.Add(reach), wakes, func(s stall) time.Duration { return min(s.to.Sub(at), s.to.Sub(s.from)) })
}

// before is the same of a server that wanted to in the reach before an instant, and
// could no longer once it did run.
func (c *stallMonitors) before(at time.Time, reach time.Duration) time.Duration {
	return c.sum(at.Add(-reach), at, 1, func(s stall) time.Duration { return s.to.Sub(s.from) })
}

// within is the longest stall of a processor between two instants.
func (c *stallMonitors) within(from, to time.Time) time.Duration {
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

// sum adds up the most that counts of so many stalls that a time meets. sort must have
// been called.
func (c *stallMonitors) sum(from, to time.Time, many int, counts func(stall) time.Duration) time.Duration {
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

// end waits until all stallMonitors have ended.
func (c *stallMonitors) end() {
	c.wait.Wait()
	runtime.GOMAXPROCS(c.places)
	c.sort()
}

// sort orders the stalls by their end.
func (c *stallMonitors) sort() {
	slices.SortFunc(c.stalls, func(a, b stall) int { return a.to.Compare(b.to) })
	for _, s := range c.stalls {
		c.longest = max(c.longest, s.to.Sub(s.from))
	}
}
