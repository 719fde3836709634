package migrate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
)

const (
	timeEvery = 2 * time.Second // between two looks at a migration of which only the time is known

	unbound = math.MaxInt64 >> 20 // MiB/s, libvirt's own
)

// runner runs the migration, and again where another attempt makes sense: it samples the progress, asks the rule, and
// does what that says.
type runner struct {
	*planner
	relay  *relaying
	giveUp <-chan struct{} // closed when the queue of moves takes the turn back; nil without one
}

// reset forgets an attempt that failed.
func (r *runner) reset() {
	r.events.Reset()
	r.trend, r.limit = convergence.Trend{}, 0
	r.rec.Cap, r.rec.Pace = r.req.Bandwidth<<20, 0
}

// steer waits for the migration's end, and meanwhile reports and does what the rule says. why is
// not nil when the migration must be aborted.
func (r *runner) steer(ctx context.Context, done <-chan error) (why, err error) {
	every := convergence.PollEvery
	if !r.driver.JobControl {
		every = timeEvery // a sample without figures takes from the node what the copy needs
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	late := time.NewTimer(r.left())
	defer late.Stop()
	silent, unwatch := r.watchTarget(ctx)
	defer unwatch()
	var passSettled <-chan time.Time // while a pass is young
	sampled := time.Now()
	for why == nil {
		var stop error // why to abort, unless to give up would be to lose the guest
		select {
		case err := <-done:
			r.callEnded(err)
			return nil, err
		case <-ctx.Done():
			why = ctx.Err()
		case <-late.C:
			stop = ErrOutOfTime
		case <-r.giveUp:
			r.giveUp = nil // which stays closed
			stop = fmt.Errorf("%w: %w", ErrOutOfTime, errGaveUp)
		case stop = <-silent:
		case deadline := <-r.req.Shorten:
			r.shortenTo(deadline)
			late.Reset(r.left())
		case <-r.events.Memory():
			r.copier.copied()
		case <-r.events.Pass():
			// Passes that follow each other closely must be sampled too.
			if passSettled == nil || time.Since(sampled) < convergence.PollEvery {
				passSettled = time.After(convergence.PassSettle)
			}
		case <-passSettled:
			passSettled, why = nil, r.sample(ctx)
			sampled = time.Now()
		case <-tick.C:
			if passSettled == nil {
				why = r.sample(ctx)
				sampled = time.Now()
			}
		}
		if stop != nil && !r.events.InPostCopy() {
			why = stop
		}
	}
	return why, nil
}

// watchTarget watches a target of which nobody else would notice in time that it is gone: where the driver does not,
// and where this process manages the migration, so that the source's daemon has no connection to the target's which it
// could lose (qemuMigrationSrcWaitForCompletion). The copy hangs for as long as TCP tries, a quarter of an hour. lost
// is nil where it is not watched, as where the migration cannot be given up.
func (r *runner) watchTarget(ctx context.Context) (lost <-chan error, stop func()) {
	if r.driver.JobControl && !r.found.Params.Managed || r.lacksAbort() != nil {
		return nil, func() {}
	}
	return watchTarget(ctx, &r.target, &r.source, r.guest)
}

// shortenTo applies a deadline that is earlier than the one so far.
func (r *runner) shortenTo(deadline time.Time) {
	if r.window.shorten(deadline) {
		r.note("the time for the migration was shortened")
		r.policy.Window = max(time.Until(deadline), 1)
	}
}

// sample looks at the progress and does what the rule makes of it, unless the guest is stopped: then
// every question to the hypervisor would make its pause longer. The error is why to abort.
func (r *runner) sample(ctx context.Context) error {
	if r.events.IsSwitching() {
		return nil
	}
	s, err := r.stats(ctx, sampleTime)
	if err != nil || !s.Active {
		return nil
	}
	if s.Iteration == 0 && s.Disks.Total > 0 && !r.copier.Empty() {
		return r.copier.sample(s.Disks, r.policy.Grace())
	}
	r.copier.copied()
	r.sampled(s, r.try.compress)
	state := r.stateOf(s)
	if why := r.apply(ctx, r.policy.Decide(state), state); why != nil {
		return why
	}
	if r.events.InPostCopy() {
		r.report("post-copy")
	} else {
		r.report("migrating")
	}
	return nil
}

// apply does what the rule says. The error is why to abort.
func (r *runner) apply(ctx context.Context, d convergence.Decision, s convergence.State) error {
	switch {
	case d.GiveUp != "":
		return fmt.Errorf("%w: %s", ErrHopeless, d.GiveUp)
	case d.XBZRLECache > 0 && !s.XBZRLE:
		return &wantRestart{cache: d.XBZRLECache}
	case d.Throttle > 0 && !s.AutoConverge:
		return &wantRestart{throttle: d.Throttle}
	case r.events.IsSwitching() || s.Switched:
		return nil
	}
	r.liftPace(ctx, s)
	if d.DowntimeLimit > r.limit {
		r.setDowntime(ctx, d.DowntimeLimit)
	}
	if d.PostCopy {
		r.startPostCopy(ctx)
	}
	return nil
}

// liftPace lets a migration that is not over after its first passes have the whole link.
func (r *runner) liftPace(ctx context.Context, s convergence.State) {
	if r.try.pace == 0 || s.Iteration < convergence.PaceLift {
		return
	}
	if err := r.setSpeed(ctx, unbound, false); err != nil {
		r.log.WithError(err).Warn("the bandwidth limit of the first passes is not lifted")
		return
	}
	r.try.pace, r.rec.Cap = 0, 0
}

// startPostCopy lets the guest run at the target now. Where that is refused, pre-copy continues.
func (r *runner) startPostCopy(ctx context.Context) {
	defer r.step("post-copy")()
	r.liftBandwidth(ctx)
	ctx, cancel := context.WithTimeout(ctx, endpoint.LookTime)
	defer cancel()
	err := r.source.Host.StartPostCopy(ctx, r.guest)
	if err == nil || errors.Is(err, context.DeadlineExceeded) { // libvirt may do it yet
		r.events.ExpectPostCopy()
	}
	if err != nil {
		r.policy.PostCopy = false
		r.note("cannot switch to post-copy: " + err.Error())
		return
	}
	r.escalate(ladder.Techniques{PostCopy: true})
	r.note("the guest did not converge, and was switched to post-copy")
}

// liftBandwidth lifts a bound that was requested for what follows the switch to post-copy: from there on the guest
// waits for each page that it lacks, and a bound is meant to spare others a copy that nobody waits for. virsh migrate
// does the same.
func (r *runner) liftBandwidth(ctx context.Context) {
	if r.req.Bandwidth == 0 {
		return
	}
	if err := r.setSpeed(ctx, 0, true); err != nil {
		r.log.WithError(err).Warn("the bandwidth limit also holds for the post-copy: the guest is slow until its end")
	}
}

// awaitAdopted waits for the end of a migration that another call began, and aborts it where that comes too late. The
// error is why it was, or should have been, aborted.
func (r *runner) awaitAdopted(ctx context.Context) error {
	defer r.step("see-through")()
	r.ended = false
	r.escalate(ladder.Techniques{})
	r.report("migrating")
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go r.awaitEnd(watch, done)
	why, _ := r.steer(ctx, done)
	if why == nil || r.events.InPostCopy() {
		return why
	}
	if lack := r.lacksAbort(); lack != nil {
		return fmt.Errorf("%w, and the migration continues: %w", why, lack)
	}
	ctx = context.WithoutCancel(ctx)
	if r.mustArrive(ctx) {
		return fmt.Errorf("%w, and the migration continues: %w", why, errLastCopy)
	}
	r.tryAbort(ctx)
	return fmt.Errorf("%w, and was aborted", why)
}

// errLastCopy is why a migration is not aborted of whose end we would not know.
var errLastCopy = errors.New("the guest is already stopped for its last copy")

// run migrates as first says, and again where that was refused for something that it can
// do without, or aborted for something that it lacked. The error says nothing of where the guest is.
func (r *runner) run(ctx context.Context, first attempt) error {
	r.try = first
	if first.pace > 0 {
		r.rec.Cap, r.rec.Pace = first.pace<<20, first.pace<<20
	}
	for {
		err := r.attemptOnce(ctx)
		if isFinal(ctx, err) {
			return err
		}
		refused := r.ended && r.hears.source && !r.events.IsActive()
		next := failure{r.try, err, refused, r.policy.AutoConverge, r.switchover(true)}.retry()
		if next == nil || (verifier{r.job}).verify(ctx).Outcome != record.Stayed {
			return err
		}
		r.note(next.why)
		r.try, r.policy.PostCopy = next.attempt, next.postCopy
		if next.plain {
			r.policy.XBZRLECache = 0
		}
		r.relay.end(ctx)
		r.reset()
	}
}

// attemptOnce runs one migration and steers it. The error is libvirt's, or why it was aborted.
func (r *runner) attemptOnce(ctx context.Context) error {
	defer r.step("migrate")()
	if ctx.Err() != nil || r.left() <= 0 {
		return fmt.Errorf("%w: no time was left to begin", ErrOutOfTime)
	}
	if r.hears.source {
		r.relay.begin(ctx, r.source.Host)
	}
	r.setDowntime(ctx, r.policy.InitialDowntime) // before the start: a short migration is over before the first look
	r.escalate(ladder.Techniques{})
	r.report("migrating")
	params := r.try.params(r.found.Params)
	r.rec.Compression, r.rec.Cache = params.Compression, r.try.cache
	if params.Compressed && params.Compression == "" {
		r.rec.Compression = "xbzrle" // libvirt's default (qemuMigrationParamsSetCompression)
	}
	r.rec.Compressed, r.rec.Encrypted = r.try.compression() != "", params.TLS
	return r.start(ctx, params)
}

// start makes the call to libvirt that migrates, and steers until it ends. The call outlives ctx: a
// cancelled migration is aborted, and then its end is awaited.
func (r *runner) start(ctx context.Context, params libvirt.MigrateParams) error {
	call, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	done := make(chan error, 1)
	r.ended = false
	host := r.source.Host
	// A connection in which a call waits hands each event from thread to thread (virNetClientIOEventLoop), in the
	// middle of the guest's pause. So the call has one of its own; without one it is made all the same.
	if r.caller.Connect(ctx, endpoint.LookTime) == nil {
		host = r.caller.Host
	}
	go func() { done <- host.MigrateToURI3(call, r.guest, r.req.TargetURI, params) }()
	why, err := r.steer(ctx, done)
	if why != nil {
		err = r.abort(ctx, done, why)
	}
	return err
}
