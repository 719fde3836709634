package migrate

import (
	"context"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/verify"
)

const (
	verifyTime  = 10 * time.Second       // the longest that verification goes on
	verifyLeast = time.Second            // what it gets even past the deadline
	verifyEvery = 250 * time.Millisecond // between two rounds of questions
)

// conclude finds out where the guest runs and turns that, and not jobErr, into the result.
func (m *mover) conclude(ctx context.Context, jobErr error) error {
	defer m.step("verify")()
	m.report("verifying")
	v := m.verify(ctx)
	for began, try := time.Now(), 0; v.Recover && m.recover(ctx, began, try); try++ {
		v = m.verify(ctx)
	}
	m.rec.Outcome = Outcome(v.Outcome)
	if v.Note != "" {
		m.note(v.Note)
	}
	if v.Outcome == verify.Moved {
		m.events.AwaitResume()
		m.collect(ctx)
		m.rec.Rung = m.meansTaken()
	}
	m.fillTimeline()
	switch {
	case v.Outcome == verify.Moved && jobErr != nil:
		m.note("libvirt reported an error, and the guest was moved all the same: " + jobErr.Error())
		return nil
	case v.Outcome == verify.Moved:
		return nil
	case v.Outcome == verify.Unknown && jobErr != nil:
		return fmt.Errorf("%w: %s: %w", ErrUnknown, v.Note, jobErr)
	case v.Outcome == verify.Unknown:
		return fmt.Errorf("%w: %s", ErrUnknown, v.Note)
	case jobErr != nil:
		return m.hinted(jobErr)
	}
	return fmt.Errorf("libvirt reported success, and the guest is at the source")
}

// meansTaken is the rung on which the guest moved.
func (m *mover) meansTaken() ladder.Rung {
	switch {
	case m.events.InPostCopy() || m.torn:
		return ladder.PostCopy
	case m.rec.Throttle > 0:
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

// verify asks both ends until the verdict is final, or the time is up. It goes on
// after ctx was cancelled: a caller who cancels needs the answer most.
func (m *mover) verify(ctx context.Context) verify.Verdict {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), m.verifyEnd())
	defer cancel()
	tick := time.NewTicker(verifyEvery)
	defer tick.Stop()
	resumed := false
	for {
		e := m.evidence(ctx)
		v := verify.Decide(e)
		if v.Final {
			return v
		}
		if v.Resume && !resumed {
			resumed = m.resumeSource(ctx, e.Source.Halted)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return v
		}
	}
}

func (m *mover) verifyEnd() time.Time {
	now := time.Now()
	end := now.Add(verifyTime)
	if !m.deadline.IsZero() && m.deadline.Before(end) {
		end = m.deadline
	}
	if least := now.Add(verifyLeast); end.Before(least) {
		end = least
	}
	return end
}

// evidence asks the target before the source: a guest that moves meanwhile is then seen at
// neither end for a moment, which is not final, rather than at both.
func (m *mover) evidence(ctx context.Context) verify.Evidence {
	target, source := m.target.look(ctx, m.req.Guest), m.source.look(ctx, m.req.Guest)
	if source.condition(m.uuid) == noAnswer && m.deps.Gone != nil {
		gone, err := m.deps.Gone(ctx, m.req.Guest, m.uuid)
		source.gone = gone && err == nil
	}
	source.halted = m.isHalted(ctx, source)
	m.rec.Verified.Source, m.rec.Verified.Target = source.String(), target.String()
	e := verify.Evidence{Source: endOf(source, m.uuid), Target: endOf(target, m.uuid), WasPaused: m.wasPaused,
		// A migration that is found ended now may have moved the guest since the questions
		// above: only the next round's answers count as given after its end.
		Ended: m.ended}
	if !m.ended && source.err == nil {
		m.ended = m.endJob(ctx, source.inPostCopy(m.uuid) || source.halted)
	}
	e.Completed, e.PostCopy = m.events.IsCompleted(), m.events.InPostCopy()
	e.Blind = !m.hears.source || m.source.broken || m.adopted
	if !m.driver.Can(libvirt.CanTellPause) && m.told && !m.source.broken {
		// Without events, the order of libvirt's protocol has to do: it tells the target to let the guest run after all
		// else succeeded, and an error of its own says that it has told it to drop it.
		e.Blind = false
	}
	return e
}

// endOf is what the verdict needs of an end's answer.
func endOf(v view, uuid string) verify.End {
	e := verify.End{Reason: v.status.Reason, Halted: v.halted}
	switch v.condition(uuid) {
	case absent:
		e.State = verify.Absent
	case paused:
		e.State = verify.Paused
	case running:
		e.State = verify.Running
	}
	return e
}

// isHalted asks the other witness where libvirt's word for a running guest is no proof. A driver that was started
// anew sees for itself, and calls it asleep.
func (m *mover) isHalted(ctx context.Context, source view) bool {
	if m.driver.Can(libvirt.CanKnowState) || source.condition(m.uuid) != running {
		return false
	}
	if source.status.State == libvirt.PMSuspended {
		return true
	}
	if m.deps.Halted == nil {
		return false
	}
	ask, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	halted, err := m.deps.Halted(ask, m.req.Guest, m.uuid)
	return halted && err == nil
}

// endJob tells whether the source has no migration under way. One that nobody steers any more is
// aborted: the guest is safe where it is. One that must arrive is not: in post-copy, and where the guest stands still
// for its last copy and only a driver's answer, which nobody will hear, could tell that it may go on here.
func (m *mover) endJob(ctx context.Context, mustArrive bool) bool {
	ask, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	job, err := m.source.host.JobStats(ask, m.req.Guest)
	if err != nil {
		return false
	}
	if job.Active && !mustArrive {
		m.tryAbort(ctx)
	}
	return !job.Active
}

func (m *mover) resumeSource(ctx context.Context, halted bool) bool {
	defer m.step("resume")()
	ask, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	resume := m.source.host.Resume
	if halted {
		if m.deps.Wake == nil {
			return true
		}
		resume = func(ctx context.Context, guest string) error { return m.deps.Wake(ctx, guest, m.uuid) }
	}
	if err := resume(ask, m.req.Guest); err != nil {
		m.note("the guest could not be resumed at the source: " + err.Error())
		return false
	}
	m.note("the migration left the guest paused at the source, and it was resumed")
	return true
}

// collect takes libvirt's own account from the target, which has it after a migration. Short
// migrations are over before they were ever looked at.
func (m *mover) collect(ctx context.Context) {
	if m.target.host == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	var job libvirt.JobStats
	job, err := m.target.host.CompletedJob(ctx, m.req.Guest)
	if err != nil {
		return
	}
	m.rec.Transferred = max(m.rec.Transferred, job.Processed)
	m.rec.Iterations = max(m.rec.Iterations, job.Iteration)
	m.rec.Rate = max(m.rec.Rate, job.Rate)
	m.rec.deltas(job.XBZRLE)
}
