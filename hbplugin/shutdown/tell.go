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
	// foretellTime bounds the question what becomes of the guests, for which standby waits: the scheduler's answer
	// takes a fraction of a second, and a shutdown is not held for one that does not come.
	foretellTime = 3 * time.Second
	// traceTime bounds the question what has become of them. The shutdown goes on meanwhile.
	traceTime = 5 * time.Second
)

// tale is what is told of one drain.
type tale struct {
	since      time.Time // when it began; zero where none has
	here       []string  // the guests that were seen in it
	said       []hbplugin.Verdict
	accounting bool // it is being found out what became of them
}

// foretold is the answer of Options.Foretell, and traced that of Options.Trace, for the drain that began at since.
type (
	foretold struct {
		since time.Time
		said  []hbplugin.Verdict
		err   error
	}
	traced struct {
		since  time.Time
		traces map[string]verdict.Trace
	}
)

// foretell asks once in a drain, at its begin, what becomes of the guests.
func (r *round) foretell(ctx context.Context) {
	if !r.tale.since.IsZero() {
		return
	}
	r.tale.since = r.began
	if r.o.Foretell == nil {
		return
	}
	r.seen.Telling = true
	since := r.tale.since
	r.work.Go(func() {
		f := foretold{since: since}
		answer := inTime(ctx, foretellTime, func(ctx context.Context) foretold {
			said, err := r.o.Foretell(ctx)
			return foretold{since, said, err}
		})
		if answer != nil {
			f = *answer
		} else {
			f.err = context.DeadlineExceeded
		}
		hand(ctx, r.foretolds, f)
	})
}

// inTime calls f and returns its answer, or nil where that has not come within limit, even from an f that does not
// heed its context.
func inTime[T any](ctx context.Context, limit time.Duration, f func(context.Context) T) *T {
	ctx, cancel := context.WithTimeout(ctx, limit)
	answer := make(chan T, 1)
	go func() {
		defer cancel()
		answer <- f(ctx)
	}()
	select {
	case a := <-answer:
		return &a
	case <-ctx.Done():
	}
	select {
	case a := <-answer: // both were so
		return &a
	default:
		return nil
	}
}

// hand gives the loop an answer, unless the loop has ended.
func hand[T any](ctx context.Context, to chan<- T, answer T) {
	select {
	case to <- answer:
	case <-ctx.Done():
	}
}

// foresaw takes in what becomes of the guests, and names those that will not move live, before standby is set.
func (r *round) foresaw(f foretold) {
	if !f.since.Equal(r.tale.since) {
		return // of a drain that was called off
	}
	r.seen.Telling = false
	r.tale.said = f.said
	if f.err != nil {
		r.o.Log.WithError(f.err).Warn("it cannot be told which guests will move live")
	}
	for _, v := range f.said {
		switch {
		case v.Fate == hbplugin.Untold:
			logVerdict(r.o.Log, v).Warn("guest " + v.Resource + ": cannot tell whether it will move live (" + v.Why + ")")
		case !v.Fate.KeepsRunning():
			logVerdict(r.o.Log, v).Warn("guest " + v.Resource + " will not move live: it " + verdict.Words(v))
		}
	}
}

// logVerdict adds the fields of a verdict to a log.
func logVerdict(log logrus.FieldLogger, v hbplugin.Verdict) logrus.FieldLogger {
	fields := logrus.Fields{"guest": v.Resource}
	for name, text := range map[string]string{"verdict": string(v.Fate), "remedy": v.Remedy} {
		if text != "" {
			fields[name] = text
		}
	}
	return log.WithFields(fields)
}

// met notes the guests that are seen in a drain.
func (r *round) met(guests []hbplugin.Guest) {
	if r.tale.since.IsZero() {
		return
	}
	for _, g := range guests {
		if !slices.Contains(r.tale.here, g.Name) {
			r.tale.here = append(r.tale.here, g.Name)
		}
	}
}

// account finds out what became of the guests, once the shutdown was let go.
func (r *round) account(ctx context.Context) {
	if r.o.Trace == nil || len(r.tale.here) == 0 {
		return
	}
	r.tale.accounting = true
	t, here := traced{since: r.tale.since}, slices.Clone(r.tale.here)
	r.work.Go(func() {
		answer := inTime(ctx, traceTime, func(ctx context.Context) map[string]verdict.Trace {
			return r.o.Trace(ctx, here, t.since)
		})
		if answer != nil {
			t.traces = *answer
		}
		hand(ctx, r.traceds, t)
	})
}

// accounted names every guest that was not moved live.
func (r *round) accounted(t traced) {
	if !t.since.Equal(r.tale.since) {
		return
	}
	r.tale.accounting = false
	account := Account(r.tale.here, r.seen.Guests, r.tale.said, t.traces)
	for _, d := range account {
		if !d.Fate.KeepsRunning() {
			log := logVerdict(r.o.Log, d.Said).WithFields(logrus.Fields{"guest": d.Guest, "became": string(d.Fate)})
			log.Warn("guest " + d.Guest + " " + d.String())
		}
	}
	r.statusNow += "; " + Summary(account)
	r.o.Notify("STATUS=" + r.statusNow)
	r.o.Log.WithField("phase", string(Released)).Info(r.statusNow)
}
