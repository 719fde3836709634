package outage

import (
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/report"
)

const (
	// maxFaults bounds the list of the prober's own faults.
	maxFaults = 1000
	// LeastFault is the shortest time that is reported: below it, only the
	// error of what was measured grows.
	LeastFault = 10 * time.Millisecond
)

// fault is a time in which the prober itself could not measure. The monotonic
// clock stops while the machine is suspended: then start is when it fell asleep and
// length is what the wall clock continued.
type fault struct {
	kind          string
	start, length time.Duration
}

// Faults are what went wrong with the prober itself.
type Faults struct {
	mu      sync.Mutex
	list    []fault
	omitted int
	slept   time.Duration // in all
}

// Add notes a fault that is long enough.
func (f *Faults) Add(kind string, start, length time.Duration) {
	if length < LeastFault {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if kind == report.Asleep {
		f.slept += length
	}
	if len(f.list) == maxFaults {
		f.omitted++
		return
	}
	f.list = append(f.list, fault{kind, start, length})
}

// Report returns the calendar of a run that began at start, and the faults by it.
func (f *Faults) Report(start time.Time) (cal Calendar, list []report.Fault, omitted int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	cal.Start = start
	for _, one := range f.list {
		if one.kind == report.Asleep {
			cal.sleeps = append(cal.sleeps, one)
		}
	}
	list = make([]report.Fault, 0, len(f.list))
	for _, one := range f.list {
		at := cal.Time(one.start)
		list = append(list, report.Fault{
			Kind: one.kind, Start: at, End: at.Add(one.length), Ms: report.Millis(one.length),
		})
	}
	return cal, list, f.omitted
}

// Slept is how long this machine has slept during the run.
func (f *Faults) Slept() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.slept
}

// Calendar turns instants into times of day.
type Calendar struct {
	Start  time.Time
	sleeps []fault
}

// Time is the time of day at an instant. What the machine slept before it has
// passed as well.
func (c Calendar) Time(at time.Duration) time.Time {
	t := c.Start.Add(at)
	for _, s := range c.sleeps {
		if s.start < at {
			t = t.Add(s.length)
		}
	}
	return t
}
