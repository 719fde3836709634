package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/verify"
)

const (
	verifyTime  = 10 * time.Second       // the longest that verification continues
	verifyEvery = 250 * time.Millisecond // between two rounds of questions
)

// verifier gathers the evidence of where the guest runs, and resumes a guest that a failed migration left paused.
type verifier struct{ *job }

// verify asks both ends until the verdict is final, or the time is up. It continues
// after ctx was cancelled: a caller who cancels needs the answer most.
func (v verifier) verify(ctx context.Context) verify.Verdict {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(min(verifyTime, v.all()), verifyLeast))
	defer cancel()
	tick := time.NewTicker(verifyEvery)
	defer tick.Stop()
	resumed := false
	for {
		e := v.evidence(ctx)
		verdict := verify.Decide(e)
		if verdict.Final {
			return verdict
		}
		if verdict.Resume && !resumed {
			resumed = v.resumeSource(ctx, e.Source.Halted)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return verdict
		}
	}
}

// evidence asks the target before the source: a guest that moves meanwhile is then seen at
// neither end for a moment, which is not final, rather than at both.
func (v verifier) evidence(ctx context.Context) verify.Evidence {
	target, source := v.target.Observe(ctx, v.guest), v.source.Observe(ctx, v.guest)
	if source.Condition(v.uuid) == endpoint.NoAnswer && v.deps.Gone != nil {
		gone, err := v.deps.Gone(ctx, v.guest, v.uuid)
		source.Gone = gone && err == nil
	}
	source.Halted = v.isHalted(ctx, source)
	v.rec.Verified.Source, v.rec.Verified.Target = source.String(), target.String()
	e := verify.Evidence{Source: source.End(v.uuid), Target: target.End(v.uuid), WasPaused: v.found.Paused,
		// A migration that is found ended now may have moved the guest since the questions
		// above: only the next round's answers count as given after its end.
		Ended: v.ended}
	if !v.ended && source.Err == nil {
		v.ended = v.endJob(ctx, e.Source.InPostCopy() || source.Halted)
	}
	e.Completed, e.PostCopy = v.events.IsCompleted(), v.events.InPostCopy()
	e.Blind = !v.hears.source || v.source.Broken || v.found.Adopted
	if !v.driver.JobControl && v.failed && !v.source.Broken {
		// Without events, the order of libvirt's protocol has to do: it tells the target to let the guest run after all
		// else succeeded, and an error of its own says that it has told it to drop it.
		e.Blind = false
	}
	return e
}

// endJob reports whether the source has no migration under way. One that nobody steers any more is
// aborted: the guest is safe where it is. One that must arrive is not: in post-copy, and where the guest is stopped
// for its last copy and only a driver's answer, which nobody will hear, could tell that it may continue here.
func (v verifier) endJob(ctx context.Context, mustArrive bool) bool {
	job, err := v.stats(ctx, endpoint.LookTime)
	if err != nil {
		return false
	}
	if job.Active && !mustArrive {
		v.tryAbort(ctx)
	}
	return !job.Active
}

// resumeSource reports whether it need not be tried again.
func (v verifier) resumeSource(ctx context.Context, halted bool) bool {
	defer v.step("resume")()
	ask, cancel := context.WithTimeout(ctx, endpoint.LookTime)
	defer cancel()
	resume := v.source.Host.Resume
	if halted {
		if v.deps.Wake == nil {
			return true
		}
		resume = func(ctx context.Context, guest string) error { return v.deps.Wake(ctx, guest, v.uuid) }
	}
	if err := resume(ask, v.guest); err != nil {
		v.note("the guest could not be resumed at the source: " + err.Error())
		return false
	}
	v.note("the migration left the guest paused at the source, and it was resumed")
	return true
}

// verify says where the guest is, and resumes it where a failed migration left it paused.
func (m *mover) verify(ctx context.Context) verify.Verdict {
	return verifier{&m.job}.verify(ctx)
}

// conclude finds out where the guest runs and turns that, and not jobErr, into the result. A post-copy that failed is
// recovered before.
func (m *mover) conclude(ctx context.Context, jobErr error) error {
	defer m.step("verify")()
	m.report("verifying")
	v := m.verify(ctx)
	r := recovery{&m.job, m.req.TargetURI, m.try.params(m.found.Params)}
	for began, n := time.Now(), 0; v.Recover && r.try(ctx, began, n); n++ {
		v = m.verify(ctx)
	}
	m.rec.Outcome = v.Outcome
	if v.Note != "" {
		m.note(v.Note)
	}
	if v.Outcome == record.Moved {
		m.events.AwaitResume()
		m.collect(ctx)
		m.rec.Rung = rungTaken(m.events.InPostCopy() || m.found.PostCopyBroken, m.rec.Throttle)
	}
	m.fillTimeline()
	err := result(v, jobErr)
	if err == nil && jobErr != nil {
		m.note("libvirt reported an error, and the guest was moved all the same: " + jobErr.Error())
	}
	if v.Outcome == record.Stayed {
		return preflight.WithTLSHint(err, m.req.Guest, m.req.Options.TLS)
	}
	return err
}

// result is nil where the guest was moved, whatever the error of the migration.
func result(v verify.Verdict, jobErr error) error {
	switch {
	case v.Outcome == record.Moved:
		return nil
	case v.Outcome == record.Unknown && jobErr != nil:
		return fmt.Errorf("%w: %s: %w", ErrUnknown, v.Note, jobErr)
	case v.Outcome == record.Unknown:
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
	m.rec.AddTimeline(t)
	if m.hears.source && m.hears.target && !m.source.Broken && !m.target.Broken {
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
	if m.target.Host == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endpoint.LookTime)
	defer cancel()
	job, err := m.target.Host.CompletedJob(ctx, m.req.Guest)
	if err != nil {
		return
	}
	m.rec.Transferred = max(m.rec.Transferred, job.Processed)
	m.rec.Iterations = max(m.rec.Iterations, job.Iteration)
	m.rec.Rate = max(m.rec.Rate, job.Rate)
	m.rec.AddXBZRLE(job.XBZRLE)
}
