package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

// The names of what can be proven.
const (
	AccuracyUDP       = "accuracy-udp"
	AccuracyTCP       = "accuracy-tcp"
	AccuracyDirection = "accuracy-direction"
	ProbeCost         = "probe-cost"
	ProbeRate         = "probe-rate"
)

// Names lists them in the order in which they are best run.
var Names = []string{AccuracyUDP, AccuracyTCP, AccuracyDirection, ProbeCost, ProbeRate}

// ErrUnsupported tells that this machine or this user cannot have network
// namespaces; errors.Is finds it.
var ErrUnsupported = errors.New("the proof needs root, and network namespaces")

// Options says how much is tried. Only Program is required, and not for
// AccuracyDirection.
type Options struct {
	// Program is the path of blackout(1).
	Program string
	// Interval is the probe's; 0 means a millisecond.
	Interval time.Duration
	// Lengths are those of the outages, nil means DefaultLengths; each is made
	// Repeat times for each kind, 0 means 5.
	Lengths []time.Duration
	Repeat  int
	// For is the length of each run for ProbeCost and ProbeRate, 0 means 5 s;
	// Repeat runs are made.
	For time.Duration
	// Log takes progress; nil discards it.
	Log logrus.FieldLogger
}

// DefaultLengths are from 5 ms to 10 s.
var DefaultLengths = []time.Duration{
	5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 10 * time.Second,
}

// Result is what was proven: one value for each outage or run, smaller being
// better, and those of the peer where it is installed.
type Result struct {
	Name string
	// Unit is "of the allowed error" for AccuracyUDP and AccuracyTCP, "wrong
	// calls" (0 or 1 each) for AccuracyDirection, "CPU s per million packets"
	// for ProbeCost, "lost packets per million" for ProbeRate.
	Unit     string
	Ours     []float64
	Peer     []float64
	PeerName string
	// Trials are the outages behind the values, for AccuracyUDP, AccuracyTCP and
	// AccuracyDirection.
	Trials []Trial
	// Notes say in a line each what a reader should know, such as a peer that is
	// not installed.
	Notes []string
}

// Run proves one of Names. It takes about as long as the outages together and a
// quarter of a second for each, or as the runs together. When ctx is cancelled it
// ends with the context's error, and leaves no process and no namespace.
func Run(ctx context.Context, name string, o Options) (Result, error) {
	o = o.withDefaults()
	prove := map[string]func(context.Context, Options) (Result, error){
		AccuracyUDP: accuracyUDP, AccuracyTCP: accuracyTCP, AccuracyDirection: accuracyDirection,
		ProbeCost: probeCost, ProbeRate: probeRate,
	}[name]
	if prove == nil {
		return Result{}, fmt.Errorf("no proof is called %q: use one of %v", name, Names)
	}
	result, err := prove(ctx, o)
	if err != nil {
		return Result{}, fmt.Errorf("prove %s: %w", name, err)
	}
	result.Name = name
	return result, ctx.Err()
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
	if o.Log == nil {
		log := logrus.New()
		log.SetLevel(logrus.PanicLevel)
		o.Log = log
	}
	return o
}
