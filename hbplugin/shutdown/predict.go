package shutdown

import (
	"context"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/verdict"
)

const (
	// predictTime bounds the question what becomes of the guests, for which standby waits: the scheduler's answer
	// takes a fraction of a second, and a shutdown is not held for one that does not come.
	predictTime = 3 * time.Second
	// traceTime bounds the question what has become of them. The shutdown continues meanwhile.
	traceTime = 5 * time.Second
)

// drainRecord is what is remembered of one drain.
type drainRecord struct {
	since      time.Time // when it began; zero where none has
	here       []string  // the guests that were seen in it
	said       []hbplugin.Verdict
	accounting bool // it is being found out what became of them
}

// predict asks once in a drain, at its begin, what becomes of the guests.
func (r *round) predict(ctx context.Context) {
	if !r.record.since.IsZero() {
		return
	}
	r.record.since = r.began
	if r.o.Predict == nil {
		return
	}
	r.seen.Predicting = true
	since := r.record.since
	type prediction struct {
		said []hbplugin.Verdict
		err  error
	}
	r.work.Go(func() {
		p := inTime(ctx, predictTime, prediction{err: context.DeadlineExceeded}, func(ctx context.Context) prediction {
			said, err := r.o.Predict(ctx)
			return prediction{said, err}
		})
		_ = r.post(ctx, func(r *round) { r.takePrediction(since, p.said, p.err) }) // unless the loop has ended
	})
}

// inTime calls f and returns its answer, or none where that has not come within limit, even from an f that ignores
// its context.
func inTime[T any](ctx context.Context, limit time.Duration, none T, f func(context.Context) T) T {
	ctx, cancel := context.WithTimeout(ctx, limit)
	answer := make(chan T, 1)
	go func() {
		defer cancel()
		answer <- f(ctx)
	}()
	select {
	case a := <-answer:
		return a
	case <-ctx.Done():
	}
	select {
	case a := <-answer: // both were so
		return a
	default:
		return none
	}
}

// takePrediction takes in what becomes of the guests, and names those that will not move live, before standby is set.
func (r *round) takePrediction(since time.Time, said []hbplugin.Verdict, err error) {
	if !since.Equal(r.record.since) {
		return // of a drain that was called off
	}
	r.seen.Predicting = false
	r.record.said = said
	if err != nil {
		r.o.Log.WithError(err).Warn("cannot predict which guests will move live")
	}
	for _, v := range said {
		switch {
		case v.Fate == hbplugin.Unknown:
			r.o.Log.WithFields(verdict.Fields(v)).
				Warn("guest " + v.Resource + ": cannot tell whether it will move live (" + v.Why + ")")
		case !v.Fate.KeepsRunning():
			r.o.Log.WithFields(verdict.Fields(v)).
				Warn("guest " + v.Resource + " will not move live: it " + verdict.Words(v))
		}
	}
}

// met notes the guests that are seen in a drain.
func (r *round) met(guests []hbplugin.Guest) {
	if r.record.since.IsZero() {
		return
	}
	for _, g := range guests {
		if !slices.Contains(r.record.here, g.Name) {
			r.record.here = append(r.record.here, g.Name)
		}
	}
}

// account finds out what became of the guests, once the shutdown was let go.
func (r *round) account(ctx context.Context) {
	if r.o.Trace == nil || len(r.record.here) == 0 {
		return
	}
	r.record.accounting = true
	since, here := r.record.since, slices.Clone(r.record.here)
	r.work.Go(func() {
		traces := inTime(ctx, traceTime, nil, func(ctx context.Context) map[string]verdict.Trace {
			return r.o.Trace(ctx, here, since)
		})
		_ = r.post(ctx, func(r *round) { r.accounted(since, traces) }) // unless the loop has ended
	})
}

// accounted names every guest that was not moved live.
func (r *round) accounted(since time.Time, traces map[string]verdict.Trace) {
	if !since.Equal(r.record.since) {
		return
	}
	r.record.accounting = false
	account := Account(r.record.here, r.seen.Guests, r.record.said, traces)
	for _, d := range account {
		if !d.Fate.KeepsRunning() {
			log := r.o.Log.WithFields(verdict.Fields(d.Said)).WithFields(logrus.Fields{
				"guest": d.Guest, "became": string(d.Fate)})
			log.Warn("guest " + d.Guest + " " + d.String())
		}
	}
	r.statusNow += "; " + Summary(account)
	r.o.Notify("STATUS=" + r.statusNow)
	r.o.Log.WithField("phase", string(Released)).Info(r.statusNow)
}
