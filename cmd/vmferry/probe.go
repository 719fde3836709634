package main

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/blackout"
)

const (
	// settleFor is how long the probe goes on at most after the guest has moved, so that an
	// outage that the move made has its end.
	settleFor = 2 * time.Second
	// calmAfter is for how long every target must have answered before that is over.
	calmAfter = 200 * time.Millisecond
	// gap is a silence that is none: answers are a millisecond apart, and this machine is busy.
	gap = 20 * time.Millisecond
)

// watcher probes a guest's services while it moves.
type watcher struct {
	cancel context.CancelFunc
	done   chan struct{}
	report *blackout.Report // once done is closed; nil with err
	err    error
	noise  atomic.Int64 // when a target was last seen without an answer, in Unix nanoseconds
}

// startWatcher begins to probe. The targets were validated.
func startWatcher(ctx context.Context, targets []string) *watcher {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // an interrupted move is still measured
	w := &watcher{cancel: cancel, done: make(chan struct{})}
	w.noise.Store(time.Now().UnixNano())
	go func() {
		defer close(w.done)
		w.report, w.err = blackout.Watch(ctx, blackout.Config{
			Targets: targets, Version: toolVersion(), Progress: w.hear, ProgressEvery: calmAfter / 4, Linger: calmAfter,
		})
	}()
	return w
}

func (w *watcher) hear(targets []blackout.Progress) {
	if slices.ContainsFunc(targets, func(t blackout.Progress) bool { return t.Silent > gap }) {
		w.noise.Store(time.Now().UnixNano())
	}
}

// end stops probing, after a while of calm where the guest has moved.
func (w *watcher) end(moved bool) (*blackout.Report, error) {
	defer w.cancel()
	if moved {
		w.settle()
	}
	w.cancel()
	<-w.done
	return w.report, w.err
}

func (w *watcher) settle() {
	enough := time.After(settleFor)
	tick := time.NewTicker(calmAfter / 4)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-enough:
			return
		case <-w.done:
			return
		case now := <-tick.C:
			if now.Sub(began) >= calmAfter && now.Sub(time.Unix(0, w.noise.Load())) >= calmAfter {
				return
			}
		}
	}
}

// blackouts are what clients saw. A target that never answered is no blackout:
// nobody serves there.
func blackouts(r *blackout.Report) (seen []migrate.Blackout, mute []string) {
	for _, t := range r.Targets {
		if t.Answered == 0 {
			mute = append(mute, t.Target)
			continue
		}
		seen = append(seen, migrate.Blackout{Target: t.Target, MS: t.BlackoutMs, ErrorMS: t.ErrorMs})
	}
	return seen, mute
}
