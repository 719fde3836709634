package migrate

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/verify"
	"github.com/vmferry/vmferry/migrate/wait"
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
		// Without events, the order of libvirt's protocol has to do: it lets the target run the guest after all
		// else succeeded, and an error of its own says that it has had it drop the guest.
		e.Blind = false
	}
	return e
}

// endJob reports whether the source has no migration under way. One that nobody steers any more is
// aborted: the guest is safe where it is. One that must arrive is not: in post-copy, and where the guest is stopped
// for its last copy and only a driver's answer, which nobody will get, could show that it may continue here.
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

// fillTimeline puts QEMU's account into the record.
func (v verifier) fillTimeline() {
	t := v.events.Timeline()
	v.rec.AddTimeline(t)
	if v.hears.source && v.hears.target && !v.source.Broken && !v.target.Broken {
		same := !t.Rebooted
		v.rec.Verified.SameBoot = &same
	}
	if t.Rebooted {
		v.note("the guest rebooted or shut down during the migration")
	}
}

// collect takes libvirt's own account from the target, which has it after a migration. Short
// migrations are over before they were ever looked at.
func (v verifier) collect(ctx context.Context) {
	if v.target.Host == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endpoint.LookTime)
	defer cancel()
	job, err := v.target.Host.CompletedJob(ctx, v.guest)
	if err != nil {
		return
	}
	v.rec.Transferred = max(v.rec.Transferred, job.Processed)
	v.rec.Iterations = max(v.rec.Iterations, job.Iteration)
	v.rec.Rate = max(v.rec.Rate, job.Rate)
	v.rec.AddXBZRLE(job.XBZRLE)
}

const (
	// A post-copy that failed is recovered after so long, then after twice as long and so on, and without a
	// deadline for so long. A libvirtd 11.3 at the target dies of such a try, and systemd does not
	// start one again that dies too often.
	recoverEvery = 2 * time.Second
	recoverTime  = time.Minute
	// recoverQuiet is how long such a try may carry nothing. One whose connection breaks while QEMU sets it up
	// would wait for ever, and libvirt begins no other meanwhile.
	recoverQuiet = 5 * time.Second
)

// recovery recovers a post-copy that failed: the guest is paused, and its memory is at both ends.
type recovery struct {
	*job
	targetURI string
	params    libvirt.MigrateParams
}

// try tries once. ok is false when no time is left for another try. It is not cancelled with ctx: a caller
// who cancels does not want the guest lost. n counts the tries from 0, and began is when the first one did.
func (r recovery) try(ctx context.Context, began time.Time, n int) (ok bool) {
	defer r.step("recover")()
	r.report("recovering")
	end := began.Add(recoverTime)
	if !r.deadline.IsZero() {
		end = r.deadline.Add(-verifyLeast)
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), end)
	defer cancel()
	if r.source.Connect(ctx, endpoint.LookTime) != nil {
		return wait.For(ctx, recoverEvery) == nil
	}
	r.ended = false
	err := r.call(ctx)
	r.callEnded(err)
	if err == nil {
		r.note("post-copy failed, and was recovered")
		return true
	}
	r.log.WithError(err).Warn("post-copy recovery failed")
	return wait.For(ctx, recoverEvery<<min(n, 4)) == nil
}

// call makes the call that recovers, and ends it where it carries nothing.
func (r recovery) call(ctx context.Context) error {
	params := r.params
	params.Recover, params.Bandwidth = true, 0 // see migration.liftBandwidth
	host, done := r.source.Host, make(chan error, 1)
	go func() { done <- host.MigrateToURI3(ctx, r.guest, r.targetURI, params) }()
	tick := time.NewTicker(convergence.PollEvery)
	defer tick.Stop()
	sent, quiet := uint64(0), time.Now()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
		ask, cancel := context.WithTimeout(ctx, sampleTime)
		if s, err := host.JobStats(ask, r.guest); err == nil && s.Processed != sent {
			sent, quiet = s.Processed, time.Now()
		} else if time.Since(quiet) >= recoverQuiet {
			quiet = time.Now()
			if err := host.AbortPostCopy(ask, r.guest); err != nil {
				r.log.WithError(err).Warn("post-copy recovery stalled; abort failed")
			}
		}
		cancel()
	}
}
