package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/migrate/blackout"
)

// watch is a probe in this process, for benches whose outages take so long that it does not matter.
type watch struct {
	cancel context.CancelFunc
	done   chan struct{}
	report *blackout.Report
	err    error
}

// begin probes targets until stop, or until ctx ends.
func begin(ctx context.Context, pace time.Duration, targets ...string) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.report, w.err = blackout.Watch(ctx, blackout.Config{Targets: targets, Interval: pace, Linger: pace})
	}()
	return w
}

// watchKernels probes the guests' kernels (ICMP).
func watchKernels(ctx context.Context, guests []scenario.Guest, pace time.Duration) *watch {
	var targets []string
	for _, g := range guests {
		targets = append(targets, "icmp://"+g.Address)
	}
	return begin(ctx, pace, targets...)
}

// stop ends the probing.
func (w *watch) stop() {
	w.cancel()
	<-w.done
}

// targets ends the probing and returns what was measured, in the order of the targets.
func (w *watch) targets() ([]blackout.Target, error) {
	w.stop()
	if w.err != nil {
		return nil, fmt.Errorf("probe the guests: %w", w.err)
	}
	return w.report.Targets, nil
}

// longest ends the probing and returns the longest blackout of all targets, in milliseconds.
func (w *watch) longest() (float64, error) {
	targets, err := w.targets()
	worst := 0.0
	for _, t := range targets {
		worst = max(worst, t.BlackoutMs)
	}
	return worst, err
}
