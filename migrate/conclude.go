package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/verify"
)

// conclude finds out where the guest runs and turns that, and not jobErr, into the result. A post-copy that failed is
// recovered before.
func (m *mover) conclude(ctx context.Context, jobErr error) error {
	defer m.step("verify")()
	m.report("verifying")
	v := m.verifier().verify(ctx)
	r := recovery{&m.account, &m.window, &m.job, m.req.TargetURI, m.params()}
	for began, n := time.Now(), 0; v.Recover && r.try(ctx, began, n); n++ {
		v = m.verifier().verify(ctx)
	}
	m.rec.Outcome = Outcome(v.Outcome)
	if v.Note != "" {
		m.note(v.Note)
	}
	if v.Outcome == verify.Moved {
		m.events.AwaitResume()
		m.collect(ctx)
		m.rec.Rung = rungTaken(m.events.InPostCopy() || m.torn, m.rec.Throttle)
	}
	m.fillTimeline()
	err := result(v, jobErr)
	if err == nil && jobErr != nil {
		m.note("libvirt reported an error, and the guest was moved all the same: " + jobErr.Error())
	}
	if v.Outcome == verify.Stayed {
		return m.hinted(err)
	}
	return err
}

// result is nil where the guest was moved, whatever the error of the migration.
func result(v verify.Verdict, jobErr error) error {
	switch {
	case v.Outcome == verify.Moved:
		return nil
	case v.Outcome == verify.Unknown && jobErr != nil:
		return fmt.Errorf("%w: %s: %w", ErrUnknown, v.Note, jobErr)
	case v.Outcome == verify.Unknown:
		return fmt.Errorf("%w: %s", ErrUnknown, v.Note)
	case jobErr == nil:
		return errors.New("libvirt reported success, and the guest is at the source")
	}
	return jobErr
}

// rungTaken is the rung on which the guest moved, which was slowed down by so many per cent.
func rungTaken(postCopy bool, throttle int) ladder.Rung {
	switch {
	case postCopy:
		return ladder.PostCopy
	case throttle > 0:
		return ladder.Converge
	}
	return ladder.Live
}

// fillTimeline puts QEMU's account into the record.
func (m *mover) fillTimeline() {
	t := m.events.Timeline()
	m.rec.fill(t)
	if m.hears.source && m.hears.target && !m.source.broken && !m.target.broken {
		same := !t.Rebooted
		m.rec.Verified.SameBoot = &same
	}
	if t.Rebooted {
		m.note("the guest reset itself or switched itself off meanwhile")
	}
}

// collect takes libvirt's own account from the target, which has it after a migration. Short
// migrations are over before they were ever looked at.
func (m *mover) collect(ctx context.Context) {
	if m.target.host == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	job, err := m.target.host.CompletedJob(ctx, m.req.Guest)
	if err != nil {
		return
	}
	m.rec.Transferred = max(m.rec.Transferred, job.Processed)
	m.rec.Iterations = max(m.rec.Iterations, job.Iteration)
	m.rec.Rate = max(m.rec.Rate, job.Rate)
	m.rec.deltas(job.XBZRLE)
}
