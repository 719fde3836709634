package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout"
)

// probing is a probe in this process, for benches whose outages take so long that it does not matter.
type probing struct {
	cancel context.CancelFunc
	done   chan struct{}
	report *blackout.Report
	err    error
}

// probeFor probes targets until stop, or until ctx ends.
func probeFor(ctx context.Context, pace time.Duration, targets ...string) *probing {
	ctx, cancel := context.WithCancel(ctx)
	p := &probing{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.report, p.err = blackout.Watch(ctx, blackout.Config{Targets: targets, Interval: pace, Linger: pace})
	}()
	return p
}

// stop ends the probing.
func (p *probing) stop() {
	p.cancel()
	<-p.done
}

// targets ends the probing and returns what was measured, in the order of the targets.
func (p *probing) targets() ([]blackout.Target, error) {
	p.stop()
	if p.err != nil {
		return nil, fmt.Errorf("probe the guests: %w", p.err)
	}
	return p.report.Targets, nil
}
