package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

const (
	pollEvery  = 500 * time.Millisecond // between two looks at a migration's progress
	sampleTime = 500 * time.Millisecond // bounds one such look
	abortEvery = 250 * time.Millisecond // between two tries to abort

	// abortTime is how long aborting may take before verification goes on without an
	// answer from the migration, and switchGrace how much of it a guest has that stands still
	// already: to let it arrive is quicker than to take it back.
	abortTime   = 5 * time.Second
	switchGrace = time.Second
)

// migrate runs the migration and steers it. The error is libvirt's, or why it was
// aborted. Neither says where the guest is.
func (m *mover) migrate(ctx context.Context, abortAt time.Time) error {
	defer m.step("migrate")()
	if ctx.Err() != nil || (!abortAt.IsZero() && !time.Now().Before(abortAt)) {
		return fmt.Errorf("%w: no time was left to begin", ErrOutOfTime)
	}
	m.setLimit(ctx, m.policy.First) // before the start: a short migration is over before the first look
	m.report("migrating")
	// The call outlives ctx: a cancelled migration is aborted, and then its end is awaited.
	call, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	done := make(chan error, 1)
	m.ended = false
	host := m.source.host
	go func() {
		done <- host.MigrateToURI3(call, m.req.Guest, m.req.TargetURI, libvirt.MigrateParams{
			URI: m.req.MigrateURI, Bandwidth: m.req.Bandwidth, AutoConverge: !m.req.NoConverge, Unsafe: m.req.Unsafe, MigrateOptions: m.req.Options})
	}()
	why, err := m.steer(ctx, abortAt, done)
	if why != nil {
		err = m.abort(ctx, abortAt, done, why)
	}
	return err
}

// seeThrough waits for the end of a migration that another began, and aborts it where that
// would come too late. over is false when it came to nothing, the guest stayed, and there is
// time to begin anew: then the pre-flight has been made again.
func (m *mover) seeThrough(ctx context.Context, abortAt time.Time) (over bool, err error) {
	m.note("a migration that was begun before is under way: seeing it through")
	why := m.awaitEnd(ctx, abortAt)
	if v := m.verify(ctx); v.outcome != Stayed || why != nil {
		return true, m.conclude(ctx, why)
	}
	m.note("it came to nothing: beginning anew")
	m.adopted, m.req.Adopt = false, false
	return m.runPreflight(ctx, abortAt)
}

// awaitEnd returns nil when the migration ended, or why it was aborted.
func (m *mover) awaitEnd(ctx context.Context, abortAt time.Time) error {
	defer m.step("see-through")()
	m.ended = false
	m.report("migrating")
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error)
	go m.awaitJob(watch, done)
	why, _ := m.steer(ctx, abortAt, done)
	if why == nil {
		return nil
	}
	m.tryAbort(context.WithoutCancel(ctx))
	return fmt.Errorf("%w, and was aborted", why)
}

// awaitJob sends nil once the source has no job of the guest under way, or has no such guest
// any more. It has a connection of its own, since the other is in use.
func (m *mover) awaitJob(ctx context.Context, done chan<- error) {
	own := side{uri: m.source.uri, open: m.source.open}
	defer own.close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if own.connect(ctx, lookTime) == nil {
			ask, cancel := context.WithTimeout(ctx, sampleTime)
			job, err := own.host.JobStats(ask, m.req.Guest)
			cancel()
			if errors.Is(err, libvirt.ErrNoDomain) || err == nil && !job.Active {
				select {
				case done <- nil:
				case <-ctx.Done():
				}
				return
			}
			if err != nil {
				own.drop()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// steer waits for the migration's end, and meanwhile reports and raises the downtime limit. why is
// not nil when the migration must be aborted.
func (m *mover) steer(ctx context.Context, abortAt time.Time, done <-chan error) (why, err error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var late <-chan time.Time
	if !abortAt.IsZero() {
		timer := time.NewTimer(time.Until(abortAt))
		defer timer.Stop()
		late = timer.C
	}
	for {
		select {
		case err := <-done:
			m.callEnded(err)
			return nil, err
		case <-ctx.Done():
			return ctx.Err(), nil
		case <-late:
			return ErrOutOfTime, nil
		case <-tick.C:
			m.sample(ctx, abortAt)
		}
	}
}

// callEnded notes whether the end of the call is the end of the migration: not so
// when the connection broke, for libvirtd may go on without us.
func (m *mover) callEnded(err error) {
	broken := errors.Is(err, libvirt.ErrConnect) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	m.ended = !broken
	if broken {
		m.source.drop()
	}
}

// sample looks at the progress, unless the guest stands still: then every question
// to the hypervisor would make its pause longer.
func (m *mover) sample(ctx context.Context, abortAt time.Time) {
	if m.tape.isSwitching() {
		return
	}
	ask, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	s, err := m.source.host.JobStats(ask, m.req.Guest)
	if err != nil || !s.Active {
		return
	}
	m.progress = Progress{Transferred: s.Processed, Total: s.Total, Remaining: s.Remaining, RateMiBs: float64(s.Rate) / (1 << 20), Iteration: s.Iteration, Throttle: s.Throttle}
	m.rec.Transferred, m.rec.Iterations = s.Processed, max(m.rec.Iterations, s.Iteration)
	m.rec.Throttle = max(m.rec.Throttle, s.Throttle)
	if want := m.policy.Limit(m.downtimeSample(s, abortAt)); want > m.limit && !m.tape.isSwitching() {
		m.setLimit(ctx, want)
	}
	m.report("migrating")
}

func (m *mover) downtimeSample(s libvirt.JobStats, abortAt time.Time) DowntimeSample {
	out := DowntimeSample{Elapsed: s.Elapsed, Iteration: s.Iteration, Remaining: s.Remaining, Rate: s.Rate}
	if s.Iteration > 1 {
		if m.repeated.IsZero() {
			m.repeated = time.Now()
		}
		out.Repeated = time.Since(m.repeated)
	}
	if !abortAt.IsZero() {
		out.Left = time.Until(abortAt)
	}
	return out
}

// setLimit leaves m.limit as it is when it fails, so that the next sample tries again.
func (m *mover) setLimit(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	if err := m.source.host.SetMaxDowntime(ctx, m.req.Guest, limit); err != nil {
		m.log.WithError(err).Warn("downtime limit not set")
		return
	}
	m.limit = limit
	m.rec.DowntimeLimitsMS = append(m.rec.DowntimeLimitsMS, millis(limit))
}

// abort asks libvirt to give the migration up, as often as needed: just after its start there
// is no job yet. It returns when the migration ended, or without that after abortTime. The
// migration may have won the race: then the error is nil.
func (m *mover) abort(ctx context.Context, abortAt time.Time, done <-chan error, why error) error {
	defer m.step("abort")()
	m.report("aborting")
	begin := time.Now()
	ctx = context.WithoutCancel(ctx)
	limit := abortTime
	if deadline := m.verifyBy(abortAt); !deadline.IsZero() {
		limit = max(min(limit, time.Until(deadline)*2/3), sampleTime) // leave a third for verifying
	}
	giveUp := time.NewTimer(limit)
	defer giveUp.Stop()
	tick := time.NewTicker(abortEvery)
	defer tick.Stop()
	for {
		if !m.tape.isSwitching() || time.Since(begin) >= min(switchGrace, limit/2) {
			m.tryAbort(ctx)
		}
		select {
		case err := <-done:
			m.callEnded(err)
			if err == nil {
				return nil
			}
			return fmt.Errorf("%w, and was aborted: %v", why, err)
		case <-giveUp.C:
			return fmt.Errorf("%w, and could not be aborted within %v", why, limit)
		case <-tick.C:
		}
	}
}

func (m *mover) tryAbort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	if err := m.source.host.AbortJob(ctx, m.req.Guest); err != nil {
		m.log.WithError(err).Debug("abort refused")
	}
}
