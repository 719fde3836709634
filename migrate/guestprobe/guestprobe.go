package guestprobe

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/record"
)

const (
	// settleTime is how long the probe continues at most after the guest has moved, so that an
	// outage that the move made has its end.
	settleTime = 2 * time.Second
	// calm is for how long every target must have answered before that is over.
	calm = 200 * time.Millisecond
	// step is how often the state of the targets is looked at.
	step = calm / 4
	// gap is a silence that is none: answers are a millisecond apart, and this machine is busy.
	gap = 20 * time.Millisecond
	// linger is how long answers to the last probes are waited for.
	linger = 100 * time.Millisecond
)

// Probe is a probe of a guest's services.
type Probe struct {
	cancel context.CancelFunc
	done   chan struct{}
	report *blackout.Report // once done is closed; nil with err
	err    error
	noise  atomic.Int64 // when a target was last seen without an answer, since begun
	begun  time.Time
}

// Seen is what a probe saw.
type Seen struct {
	// Blackouts are what the clients of each target that answers saw.
	Blackouts []record.Blackout
	// Mute are the targets that never answered.
	Mute []string
}

// Begin starts to probe targets, which are as for blackout.Config. It continues until End,
// when ctx is cancelled too: an interrupted move is still measured. End must be called.
func Begin(ctx context.Context, targets []string) *Probe {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	v := &Probe{cancel: cancel, done: make(chan struct{}), begun: time.Now()}
	go func() {
		defer close(v.done)
		v.report, v.err = blackout.Watch(ctx, blackout.Config{
			Targets: targets, Progress: v.hear, ProgressEvery: step, Linger: linger,
		})
	}()
	return v
}

// hear notes whether a target is without an answer just now.
func (v *Probe) hear(targets []blackout.Progress) {
	if slices.ContainsFunc(targets, func(t blackout.Progress) bool { return t.Silent > gap }) {
		v.noise.Store(int64(time.Since(v.begun)))
	}
}

// End ends the probe and returns what it saw. Where the guest has moved, it first waits until
// all targets answer at its new place: up to 2 s, up to half of the time that ctx leaves, and not
// when ctx is cancelled. An error means that nothing was measured, for instance as a name does
// not resolve.
func (v *Probe) End(ctx context.Context, moved bool) (Seen, error) {
	defer v.cancel()
	if moved {
		v.awaitAnswers(ctx)
	}
	v.cancel()
	<-v.done
	if v.err != nil {
		return Seen{}, v.err
	}
	return sift(v.report), nil
}

// awaitAnswers waits until all targets have answered for a while.
func (v *Probe) awaitAnswers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience(ctx))
	defer cancel()
	tick := time.NewTicker(step)
	defer tick.Stop()
	for from := time.Since(v.begun); ; {
		select {
		case <-ctx.Done():
			return
		case <-v.done:
			return
		case <-tick.C:
			if now := time.Since(v.begun); now-max(from, time.Duration(v.noise.Load())) >= calm {
				return
			}
		}
	}
}

// patience is how long awaitAnswers may take.
func patience(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(settleTime, time.Until(deadline)/2)
	}
	return settleTime
}

// sift parts the targets that never answered from the others.
func sift(r *blackout.Report) Seen {
	var seen Seen
	for _, t := range r.Targets {
		if t.Answered == 0 {
			seen.Mute = append(seen.Mute, t.Target)
			continue
		}
		seen.Blackouts = append(seen.Blackouts, record.Blackout{Target: t.Target, MS: t.BlackoutMs, ErrorMS: t.ErrorMs})
	}
	return seen
}
