package observe

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/wait"
)

// PollInterval is the pause between two looks at a guest.
const PollInterval = 500 * time.Millisecond

const (
	// rebootTime is how long a guest of Xen's may be away while it reboots: it is torn down and made again, and in
	// between there is none. One to two seconds are usual (resource-agents' issues 308 and 314).
	rebootTime = 5 * time.Second
	// rebuildTime is the same where libvirt still has a guest on its list that it would forget had it ended: it
	// is at work on it.
	rebuildTime = 15 * time.Second
)

// WaitFor looks until done accepts an observation or ctx ends, and returns the last one.
// ok is false when ctx ended first.
func (g *Observer) WaitFor(ctx context.Context, done func(Observation) bool) (o Observation, ok bool) {
	for {
		if o = g.Look(ctx); done(o) {
			return o, true
		}
		if wait.For(ctx, PollInterval) != nil {
			return o, false
		}
	}
}

// WaitUntil is WaitFor with a time at which the last observation is taken as it is.
func (g *Observer) WaitUntil(ctx context.Context, end time.Time, done func(Observation) bool) Observation {
	soft, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	o, ok := g.WaitFor(soft, done)
	if !ok && ctx.Err() == nil {
		o = g.Look(ctx) // the last look may have been cut short by its own deadline
	}
	return o
}

// WaitStable looks until the state is one that waiting would not change, at most until end. arrival tells to wait for
// a guest that arrives, too: between the looks at two nodes the guest may change over, and be taken for stopped on
// both.
func (g *Observer) WaitStable(ctx context.Context, end time.Time, arrival bool) Observation {
	o := g.WaitUntil(ctx, end, func(o Observation) bool {
		return o.State.isStable() && !(arrival && o.State == Incoming)
	})
	return g.WaitReboot(ctx, o, end)
}

// WaitReboot looks again and again while a guest that is not here may be back at once, at most until end. o is the
// last look.
func (g *Observer) WaitReboot(ctx context.Context, o Observation, end time.Time) Observation {
	began := time.Now()
	isAway := func(o Observation) bool {
		return o.IsGone() && (o.IsListed() || g.IsNoted() && time.Since(began) < rebootTime)
	}
	if g.Driver().TracksProcess || !isAway(o) {
		return o
	}
	g.Log.Infof("the guest is not here for the moment, maybe as it reboots: %s", o)
	if last := began.Add(rebuildTime); last.Before(end) {
		end = last
	}
	return g.WaitUntil(ctx, end, func(o Observation) bool { return !isAway(o) })
}
