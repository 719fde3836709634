package blackout

import (
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/report"
)

const (
	// maxFaults bounds the list of the prober's own faults.
	maxFaults = 1000
	// leastFault is the shortest time that is worth telling: below it, only the
	// error of what was measured grows.
	leastFault = 10 * time.Millisecond
)

// fault is a time in which the prober itself could not measure. The monotonic
// clock stands while the machine sleeps: then start is when it fell asleep and
// length is what the wall clock went on.
type fault struct {
	kind          string
	start, length time.Duration
}

// faults are what went wrong with the prober itself.
type faults struct {
	mu      sync.Mutex
	list    []fault
	omitted int
	slept   time.Duration // in all
}

// add notes a fault that is long enough.
func (f *faults) add(kind string, start, length time.Duration) {
	if length < leastFault {
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

// report returns the calendar of a run that began at start, and the faults by it.
func (f *faults) report(start time.Time) (cal calendar, list []report.Fault, omitted int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	cal.start = start
	for _, one := range f.list {
		if one.kind == report.Asleep {
			cal.sleeps = append(cal.sleeps, one)
		}
	}
	list = make([]report.Fault, 0, len(f.list))
	for _, one := range f.list {
		at := cal.time(one.start)
		list = append(list, report.Fault{Kind: one.kind, Start: at, End: at.Add(one.length), Ms: report.Millis(one.length)})
	}
	return cal, list, f.omitted
}

// sum is how long this machine has slept during the run.
func (f *faults) sum() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.slept
}
