package blackout

import (
	"context"
	"time"
)

// Watch probes every target of cfg until cfg.For has passed or ctx is
// cancelled, which is no error, and returns what it measured. An error is a
// configuration that Validate refuses, a name that does not resolve, a host
// without a route, or a lack of resources; nothing was measured then. A target
// that does not answer is not an error but an outage.
func Watch(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	w, err := newWatcher(ctx, cfg.withDefaults())
	if err != nil {
		return nil, err
	}
	defer w.loop.close()

	done := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		w.tell(done)
	}()
	if w.cfg.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.cfg.For)
		defer cancel()
	}
	end, err := w.loop.run(ctx, w.cfg.Linger)
	close(done)
	<-told
	if err != nil {
		return nil, err
	}
	report := w.report(end)
	report.Complete = true
	return report, nil
}

// tell gives the caller its checkpoints and progress until done is closed.
func (w *watcher) tell(done <-chan struct{}) {
	checkpoint := time.NewTimer(w.cfg.CheckpointEvery)
	defer checkpoint.Stop()
	progress := time.NewTicker(w.cfg.ProgressEvery)
	defer progress.Stop()
	state := make([]Progress, len(w.targets))
	w.checkpoint()
	for {
		select {
		case <-done:
			return
		case <-checkpoint.C:
			checkpoint.Reset(max(w.cfg.CheckpointEvery, checkpointShare*w.checkpoint()))
		case <-progress.C:
			w.progress(state)
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
		w.cfg.Checkpoint(w.report(w.loop.clock.now()))
	}
	return time.Since(begun)
}

func (w *watcher) progress(state []Progress) {
	if w.cfg.Progress == nil {
		return
	}
	for i, t := range w.targets {
		state[i] = t.progress(w.loop.clock.now())
	}
	w.cfg.Progress(state)
}
