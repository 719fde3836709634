package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/verify"
)

const (
	pollEvery  = 500 * time.Millisecond // between two looks at a migration's progress
	timeEvery  = 2 * time.Second        // where a look tells no more than the time
	sampleTime = 500 * time.Millisecond // bounds one such look
)

// seeThrough waits for the end of a migration that another began, and aborts it where that
// would come too late. over is false when it came to nothing, the guest stayed, and there is
// time to begin anew: then the pre-flight has been made again.
func (m *mover) seeThrough(ctx context.Context) (over bool, err error) {
	m.note("a migration that was begun before is under way: seeing it through")
	why := m.awaitEnd(ctx)
	if v := m.verify(ctx); v.Outcome != verify.Stayed || why != nil {
		return true, m.conclude(ctx, why)
	}
	m.note("it came to nothing: beginning anew")
	m.adopted, m.req.Adopt = false, false
	m.rec.Outcome = Stayed
	m.settleDisks(ctx)
	m.forgetAttempt(ctx)
	return m.runPreflight(ctx)
}

// awaitEnd returns nil when the migration ended, or why it was aborted.
func (m *mover) awaitEnd(ctx context.Context) error {
	defer m.step("see-through")()
	m.ended = false
	m.climb(ladder.Live)
	m.report("migrating")
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error)
	go m.awaitJob(watch, done)
	why, _ := m.steer(ctx, done)
	if why == nil {
		return nil
	}
	if m.events.InPostCopy() {
		return why
	}
	if lack := m.lacksAbort(); lack != nil {
		return fmt.Errorf("%w, and goes on: %w", why, lack)
	}
	ctx = context.WithoutCancel(ctx)
	if m.mustArrive(ctx) {
		return fmt.Errorf("%w, and goes on: %w", why, errLastCopy)
	}
	m.tryAbort(ctx)
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

// passSettle is how long after a new pass the hypervisor is left alone: if the pass has little to
// send, the guest is stopped in this time, and a question would make its pause longer.
const passSettle = 50 * time.Millisecond

// steer waits for the migration's end, and meanwhile reports and carries out what the rule says. why is
// not nil when the migration must be aborted.
func (m *mover) steer(ctx context.Context, done <-chan error) (why, err error) {
	tick := time.NewTicker(m.sampleEvery())
	defer tick.Stop()
	late := time.NewTimer(m.left())
	defer late.Stop()
	var settled <-chan time.Time // while a pass is young
	sampled := time.Now()
	silent, unwatch := m.watchTarget(ctx)
	defer unwatch()
	for why == nil {
		select {
		case err := <-done:
			m.callEnded(err)
			return nil, err
		case <-ctx.Done():
			why = ctx.Err()
		case <-late.C:
			if !m.events.InPostCopy() { // then to give up would be to lose the guest
				why = ErrOutOfTime
			}
		case <-m.giveUp:
			m.giveUp = nil // which stays closed
			if !m.events.InPostCopy() {
				why = fmt.Errorf("%w: %w", ErrOutOfTime, errGaveUp)
			}
		case deadline := <-m.req.Shorten:
			m.shorten(deadline)
			late.Reset(m.left())
		case lost := <-silent:
			if !m.events.InPostCopy() {
				why = lost
			}
		case <-m.events.Memory():
			m.copied()
		case <-m.events.Pass():
			if settled == nil || time.Since(sampled) < pollEvery { // passes that follow each other closely must not go on unseen
				settled = time.After(passSettle)
			}
		case <-settled:
			settled, why = nil, m.sample(ctx)
			sampled = time.Now()
		case <-tick.C:
			if settled == nil {
				why = m.sample(ctx)
				sampled = time.Now()
			}
		}
	}
	return why, nil
}

// sampleEvery is the time between two samples. One that tells nothing takes from the node what the copy needs.
func (m *mover) sampleEvery() time.Duration {
	if m.driver.Can(libvirt.CanTellProgress) {
		return pollEvery
	}
	return timeEvery
}

// callEnded notes whether the end of the call is the end of the migration: not so
// when the connection broke, for libvirtd may go on without us.
func (m *mover) callEnded(err error) {
	broken := errors.Is(err, libvirt.ErrConnect) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	m.ended, m.told = !broken, !broken && err != nil
	if broken {
		m.source.drop()
		m.caller.drop()
	}
}

// sample looks at the progress and does what the rule makes of it, unless the guest stands still: then
// every question to the hypervisor would make its pause longer. The error is why to abort.
func (m *mover) sample(ctx context.Context) error {
	if m.events.IsSwitching() {
		return nil
	}
	ask, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	s, err := m.source.host.JobStats(ask, m.req.Guest)
	if err != nil || !s.Active {
		return nil
	}
	if s.Iteration == 0 && s.Disks.Total > 0 && len(m.carried) > 0 {
		return m.sampleDisks(s.Disks)
	}
	m.copied()
	m.progress = Progress{Elapsed: s.Elapsed, Transferred: s.Processed, Total: s.Total, Remaining: s.Remaining, RateMiBs: float64(s.Rate) / (1 << 20), Iteration: s.Iteration, Throttle: s.Throttle}
	m.rec.Transferred, m.rec.Iterations = s.Processed, max(m.rec.Iterations, s.Iteration)
	m.rec.Throttle, m.rec.Rate = max(m.rec.Throttle, s.Throttle), max(m.rec.Rate, s.Rate)
	if m.try.compress {
		m.rec.Pages = s.Pages
	}
	m.rec.deltas(s.XBZRLE)
	if s.Throttle > 0 {
		m.climb(ladder.Converge)
	}
	state := m.state(s)
	if why := m.carryOut(ctx, m.policy.Decide(state), state); why != nil {
		return why
	}
	if m.events.InPostCopy() {
		m.report("post-copy")
	} else {
		m.report("migrating")
	}
	return nil
}

// carryOut does what the rule says. The error is why to abort.
func (m *mover) carryOut(ctx context.Context, d Decision, s State) error {
	switch {
	case d.GiveUp != "":
		return fmt.Errorf("%w: %s", ErrHopeless, d.GiveUp)
	case d.Cache > 0 && !s.Deltas:
		return &wantDelta{d.Cache}
	case d.Throttle > 0 && !s.Throttled:
		return &wantThrottle{d.Throttle}
	case m.events.IsSwitching() || s.Switched:
		return nil
	}
	m.liftPace(ctx, s)
	if d.Limit > m.limit {
		m.setLimit(ctx, d.Limit)
	}
	if d.PostCopy {
		m.startPostCopy(ctx)
	}
	return nil
}

// setLimit leaves m.limit as it is when it fails, so that the next sample tries again. A driver that has
// no limit is not asked.
func (m *mover) setLimit(ctx context.Context, limit time.Duration) {
	if !m.driver.Can(libvirt.CanBoundPause) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	if err := m.source.host.SetMaxDowntime(ctx, m.req.Guest, limit); err != nil {
		m.log.WithError(err).Warn("downtime limit not set")
		return
	}
	m.limit = limit
	m.rec.DowntimeLimitsMS = append(m.rec.DowntimeLimitsMS, millis(limit))
}
