package scenario

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmferry/vmferry/lab/cluster"
)

// observer sees every copy of every guest, on all nodes, and asks none of the
// agents under test. Its methods may be called from any goroutine.
type observer interface {
	// Run observes until ctx ends; an error means that it cannot see.
	Run(ctx context.Context) error
	// Copies are all that were seen so far, in order of their start.
	Copies() []Copy
	// Events are all so far, in order of time. Where a copy has none, nothing
	// is known of when it executed.
	Events() []Event
}

// Copy is one copy of a guest, executing or not: a QEMU process, or a domain of
// Xen's.
type Copy struct {
	Guest    string
	Node     string
	ID       int  // the process's in the lab's namespace, or the domain's on its node
	Incoming bool // started to receive a migration
	Resting  bool // known not to have executed when it was first seen
	// Seen and Gone are when a look first found it and first missed it; Gone is
	// zero while it lives. Each is late by at most the observer's period.
	Seen, Gone time.Time
}

// Event is a turning point of a copy.
type Event struct {
	At time.Time
	// Since is the last time at which it had not happened yet, for an observer
	// that looks now and then. Zero is At.
	Since time.Time
	Node  string
	Guest string
	Name  string // "STOP", "RESUME" and Lost matter, others are QEMU's own
	Data  string // JSON, or empty
}

// Names of events that change whether a copy executes. The first two are QEMU's
// words; after Lost nobody knows, until one of the others.
const (
	Stop   = "STOP"
	Resume = "RESUME"
	Lost   = "LOST"
)

// earliest is the first time at which the event may have happened.
func (e Event) earliest() time.Time {
	if e.Since.IsZero() {
		return e.At
	}
	return e.Since
}

// inOrder are the events in order of time, as a copy.
func inOrder(events []Event) []Event {
	sorted := slices.Clone(events)
	slices.SortStableFunc(sorted, func(a, b Event) int { return a.At.Compare(b.At) })
	return sorted
}

// qemuObserver sees QEMU's processes from outside, and takes QEMU's events.
type qemuObserver struct {
	*Watch
	*listener
}

func newQEMUObserver(c *cluster.Cluster, _ []Guest) observer {
	return qemuObserver{&Watch{Proc: "/proc", Period: 20 * time.Millisecond}, &listener{cluster: c}}
}

// Copies are as in observer. libvirt starts QEMU paused: one that receives a migration has not executed while it was
// listened to, and no RESUME came.
func (o qemuObserver) Copies() []Copy {
	all := o.Watch.Copies()
	for i, c := range all {
		all[i].Resting = c.Resting || c.Incoming && o.listener.heardAll(c)
	}
	return all
}

// Run is as in observer.
func (o qemuObserver) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return o.Watch.Run(ctx) })
	for _, name := range o.cluster.Nodes {
		group.Go(func() error { return o.listener.run(ctx, name) })
	}
	return group.Wait()
}
