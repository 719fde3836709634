package migrate

import (
	"context"
	"math"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
)

// account is what a move reports itself: the record when it has ended, and log and progress meanwhile.
type account struct {
	log        logrus.FieldLogger
	onProgress func(Progress) // nil where nobody follows
	rec        record.Record
	progress   Progress
	limit      time.Duration // the downtime limit that is set, 0 before the first

	rung      ladder.Rung // the roughest that was tried, "" before the first
	rungBegan time.Time
}

// newAccount is that of a move which begins now. log may be nil.
func newAccount(r Request, log logrus.FieldLogger) account {
	if log == nil {
		quiet := logrus.New()
		quiet.SetLevel(logrus.PanicLevel)
		log = quiet
	}
	return account{
		log: log.WithFields(logrus.Fields{"guest": r.Guest, "peer": r.Target}), onProgress: r.Progress,
		rec: record.Record{
			Schema: record.Schema, Guest: r.Guest, UUID: r.UUID, From: r.SourceURI, To: r.Target,
			TargetURI: r.TargetURI, Started: time.Now(), Outcome: record.Unknown,
			Cap: r.Bandwidth << 20, BudgetMS: record.Millis(r.budget()),
		},
	}
}

// step notes when a step began, and with the returned function how long it took.
func (a *account) step(name string) (end func()) {
	begin := time.Now()
	a.log.WithField("phase", name).Debug("begin")
	return func() {
		a.rec.Steps = append(a.rec.Steps, record.Step{Name: name, Begin: begin, MS: record.Millis(time.Since(begin))})
	}
}

func (a *account) note(text string) {
	a.rec.Notes = append(a.rec.Notes, text)
	a.log.Info(text)
}

func (a *account) report(phase string) {
	a.progress.Phase, a.progress.DowntimeLimit = phase, a.limit
	if a.onProgress != nil {
		a.onProgress(a.progress)
	}
}

// sampled puts one sample of the migration into progress and record.
func (a *account) sampled(s libvirt.JobStats, compressed bool) {
	a.progress = Progress{Elapsed: s.Elapsed, Transferred: s.Processed, Total: s.Total, Remaining: s.Remaining,
		RateMiBs: float64(s.Rate) / (1 << 20), Iteration: s.Iteration, Throttle: s.Throttle}
	a.rec.Transferred, a.rec.Iterations = s.Processed, max(a.rec.Iterations, s.Iteration)
	a.rec.Throttle, a.rec.Rate = max(a.rec.Throttle, s.Throttle), max(a.rec.Rate, s.Rate)
	if compressed {
		a.rec.Pages = s.Pages
	}
	a.rec.AddXBZRLE(s.XBZRLE)
	if s.Throttle > 0 {
		a.escalate(ladder.Techniques{Throttle: true})
	}
}

// limited notes the downtime limit that was set.
func (a *account) limited(limit time.Duration) {
	a.limit = limit
	a.rec.DowntimeLimitsMS = append(a.rec.DowntimeLimitsMS, record.Millis(limit))
}

// escalate continues to the rung of these techniques; a gentler one, or the same, changes nothing.
func (a *account) escalate(t ladder.Techniques) {
	to := t.Rung()
	if a.rung != "" && to.Compare(a.rung) <= 0 {
		return
	}
	a.endRung(nil)
	a.rung, a.rungBegan = to, time.Now()
}

// endRung notes how long the present rung took, and why it failed, nil where it did not.
func (a *account) endRung(why error) {
	if a.rung != "" {
		a.rec.Rungs = append(a.rec.Rungs, record.NewRungTime(a.rung, a.rungBegan, why))
	}
}

// end completes the record.
func (a *account) end(err error) {
	a.rec.Ended = time.Now()
	a.rec.DurationMS = record.Millis(a.rec.Ended.Sub(a.rec.Started))
	a.rec.Judge(nil)
	if err != nil {
		a.rec.Error = err.Error()
	}
	a.log.WithField("outcome", a.rec.Outcome).Info("move ended")
}

// verifyLeast is what verifying gets even past the deadline.
const verifyLeast = time.Second

// window is the time that a move has. The zero value has no end.
type window struct {
	deadline time.Time // the context's, or an earlier one that came later; zero without one
	abortAt  time.Time // what is not done by then is aborted; zero without a deadline
}

// reserveOf is the part of a window that aborting and verifying may need.
func reserveOf(window time.Duration) time.Duration {
	return min(max(window/8, 2*time.Second), 10*time.Second)
}

// windowUntil is the window that ends at the deadline, of which the reserve is kept.
func windowUntil(deadline time.Time) window {
	return window{deadline, deadline.Add(-reserveOf(time.Until(deadline)))}
}

// shorten applies a deadline that is earlier than the one so far; ok is false for a later one.
func (w *window) shorten(deadline time.Time) (ok bool) {
	if !w.deadline.IsZero() && !deadline.Before(w.deadline) {
		return false
	}
	*w = windowUntil(deadline)
	return true
}

// before is ctx that ends at abortAt already.
func (w *window) before(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.abortAt.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, w.abortAt)
}

// left is how long until abortAt, without one for ever.
func (w *window) left() time.Duration { return until(w.abortAt) }

// all is how long until the deadline, without one for ever.
func (w *window) all() time.Duration { return until(w.deadline) }

func until(end time.Time) time.Duration {
	if end.IsZero() {
		return math.MaxInt64
	}
	return time.Until(end)
}
