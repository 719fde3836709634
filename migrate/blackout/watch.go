package blackout

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/probe"
)

// Watch probes every target of cfg until cfg.For has passed or ctx is
// cancelled, which is no error, and returns what it measured. An error is a
// configuration that Validate refuses, a name that does not resolve, a host
// without a route, or a lack of resources; nothing was measured then. A target
// that does not answer is not an error but an outage.
func Watch(ctx context.Context, cfg Config) (*Report, error) {
	cfg, ends, err := cfg.Complete()
	if err != nil {
		return nil, err
	}
	r, err := probe.Open(ctx, ends, cfg)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	w := &watcher{cfg, r}

	done, published := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(published)
		w.publish(done)
	}()
	if cfg.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.For)
		defer cancel()
	}
	end, err := r.Send(ctx)
	close(done)
	<-published
	if err != nil {
		return nil, err
	}
	report := w.report(end)
	report.Complete = true
	return report, nil
}

// watcher publishes the state of a run while it continues.
type watcher struct {
	cfg Config
	run *probe.Run
}

// publish gives the caller its checkpoints and progress until done is closed.
func (w *watcher) publish(done <-chan struct{}) {
	checkpoint := time.NewTimer(w.cfg.CheckpointEvery)
	defer checkpoint.Stop()
	progress := time.NewTicker(w.cfg.ProgressEvery)
	defer progress.Stop()
	var state []Progress
	w.checkpoint()
	for {
		select {
		case <-done:
			return
		case <-checkpoint.C:
			checkpoint.Reset(max(w.cfg.CheckpointEvery, checkpointShare*w.checkpoint()))
		case <-progress.C:
			if w.cfg.Progress != nil {
				state = w.run.Progress(state)
				w.cfg.Progress(state)
			}
		}
	}
}

// checkpointShare is how much longer the time between two checkpoints is than
// what one of them takes, so that large reports do not disturb the run.
const checkpointShare = 20

// checkpoint hands out the report so far and returns how long that took.
func (w *watcher) checkpoint() time.Duration {
	begun := time.Now()
	if w.cfg.Checkpoint != nil {
		w.cfg.Checkpoint(w.report(w.run.Now()))
	}
	return time.Since(begun)
}

// report is what is known at an instant, and what the caller added to the run.
func (w *watcher) report(now time.Duration) *Report {
	r := w.run.Report(now)
	r.Version, r.Args = w.cfg.Version, append(r.Args, w.cfg.Args...)
	return r
}
