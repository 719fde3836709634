package accuracy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

// The names of the results.
const (
	AccuracyUDP        = "accuracy-udp"
	AccuracyTCP        = "accuracy-tcp"
	AccuracyDirection  = "accuracy-direction"
	ProbeCost          = "probe-cost"
	ProbeRate          = "probe-rate"
	ProbeMany          = "probe-many"
	ReflectorMalformed = "reflector-garbage"
)

// ErrUnsupported reports that this machine or this user cannot have network
// namespaces; errors.Is finds it.
var ErrUnsupported = errors.New("accuracy tests need root, network namespaces and nf_tables")

// Experiment is a set of runs with its results.
type Experiment struct {
	Names  []string // of its results, in order
	Repeat int      // what is best for Options.Repeat
	run    func(context.Context, Options) ([]Result, error)
}

// All are in the order in which they are best run.
var All = []Experiment{
	{[]string{AccuracyUDP, AccuracyTCP, AccuracyDirection}, 100, accuracy},
	{[]string{ProbeCost}, 5, probeCost},
	{[]string{ProbeRate}, 5, probeRate},
	{[]string{ProbeMany}, 3, probeMany},
	{[]string{ReflectorMalformed}, 10, reflectorMalformed},
}

// Options says how much is tried. Only Program is required.
type Options struct {
	// Program is the path of blackout(1).
	Program string
	// Interval is the probe's; 0 means a millisecond. Outages of a second and
	// more are watched at ten times that.
	Interval time.Duration
	// Lengths are those of the outages, nil means DefaultLengths; each is made
	// Repeat times for each of Kinds, 0 means 5.
	Lengths []time.Duration
	Repeat  int
	// For is the length of each run for ProbeCost, ProbeRate and ProbeMany, 0 means
	// 5 s; Repeat runs are made.
	For time.Duration
	// Malformed is how many datagrams are sent for ReflectorMalformed each of Repeat
	// times, 0 means a million.
	Malformed int
	// Log takes progress; nil discards it.
	Log logrus.FieldLogger
}

// patience is how long something is waited for that happens at once, but on a machine
// that is paused: those that are shared do, for as long as a minute.
const patience = 2 * time.Minute

// DefaultLengths are from 5 ms to 10 s.
var DefaultLengths = []time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
}

// Result is what was measured: one value for each outage or run, smaller being
// better, and those of the peer where it is installed.
type Result struct {
	Name string
	// Unit is "of the allowed error" for AccuracyUDP and AccuracyTCP, "wrong
	// calls" (0 or 1 each) for AccuracyDirection, "CPU s per million packets" for
	// ProbeCost, "lost packets per million" for ProbeRate, "cores" for ProbeMany,
	// "MiB grown" for ReflectorMalformed.
	Unit     string
	Ours     []float64
	Peer     []float64
	PeerName string
	// Classes are the same by the length of the outages or the kind of the run, for
	// the probe and for all peers.
	Classes []Class
	// Trials are the outages behind the values, for AccuracyUDP, AccuracyTCP and
	// AccuracyDirection.
	Trials []Trial
	// Notes say in a line each what a reader should know, such as a peer that is
	// not installed.
	Notes []string
}

// Class is what one tool showed in one class of outages or runs.
type Class struct {
	Name string // such as "5ms"
	Tool string // "blackout", or the name of a peer
	N    int
	// P50 and Max are of the values in the result's unit.
	P50, Max float64
	// OffP50Ms and OffMaxMs are of Trial.OffMs, and Missed counts outages that were
	// not seen at all; all 0 where there are no outages.
	OffP50Ms, OffMaxMs float64
	Missed             int
}

// newClass sums up values, of which there is one at least.
func newClass(name, tool string, values []float64) Class {
	c := Class{Name: name, Tool: tool, N: len(values)}
	c.P50, c.Max = middleAndMost(values)
	return c
}

func middleAndMost(values []float64) (middle, most float64) {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2], sorted[len(sorted)-1]
}

// Run runs the experiment that has a result, and returns all of its results. It takes
// as long as the outages on the busiest lane and a fifth of a second for each, or as
// the runs together. When ctx is cancelled it ends with the context's error, and
// leaves no process and no namespace.
func Run(ctx context.Context, name string, o Options) ([]Result, error) {
	i := slices.IndexFunc(All, func(e Experiment) bool { return slices.Contains(e.Names, name) })
	if i < 0 {
		return nil, fmt.Errorf("unknown result %q", name)
	}
	results, err := All[i].run(ctx, o.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", name, err)
	}
	return results, ctx.Err()
}

func (o Options) withDefaults() Options {
	if o.Interval == 0 {
		o.Interval = time.Millisecond
	}
	if o.Lengths == nil {
		o.Lengths = slices.Clone(DefaultLengths)
	}
	if o.Repeat == 0 {
		o.Repeat = 5
	}
	if o.For == 0 {
		o.For = 5 * time.Second
	}
	if o.Malformed == 0 {
		o.Malformed = 1_000_000
	}
	if o.Log == nil {
		log := logrus.New()
		log.SetLevel(logrus.PanicLevel)
		o.Log = log
	}
	return o
}
