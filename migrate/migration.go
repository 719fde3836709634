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

// migration is the migration under way: it looks at its progress, asks the rule, and does what that says.
type migration struct {
	*planner
	relay  *relaying
	giveUp <-chan struct{} // closed when the queue of moves takes the turn back; nil without one
}

// reset forgets an attempt that failed.
func (g *migration) reset() {
	g.events.Reset()
	g.trend, g.limit = convergence.Trend{}, 0
	g.rec.Cap, g.rec.Pace = g.req.Bandwidth<<20, 0
}

// steer waits for the migration's end, and meanwhile reports and does what the rule says. why is
// not nil when the migration must be aborted.
func (g *migration) steer(ctx context.Context, done <-chan error) (why, err error) {
	every := convergence.PollEvery
	if !g.driver.JobControl {
		every = timeEvery // a sample without figures takes from the node what the copy needs
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	late := time.NewTimer(g.left())
	defer late.Stop()
	silent, unwatch := g.watchTarget(ctx)
	defer unwatch()
	var passSettled <-chan time.Time // while a pass is young
	sampled := time.Now()
	for why == nil {
		var stop error // why to abort, unless to give up would be to lose the guest
		select {
		case err := <-done:
			g.callEnded(err)
			return nil, err
		case <-ctx.Done():
			why = ctx.Err()
		case <-late.C:
			stop = ErrOutOfTime
		case <-g.giveUp:
			g.giveUp = nil // which stays closed
			stop = fmt.Errorf("%w: %w", ErrOutOfTime, errGaveUp)
		case stop = <-silent:
		case deadline := <-g.req.Shorten:
			g.shorten(deadline)
			late.Reset(g.left())
		case <-g.events.Memory():
			g.copier.copied()
		case <-g.events.Pass():
			// Passes that follow each other closely must be sampled too.
			if passSettled == nil || time.Since(sampled) < convergence.PollEvery {
				passSettled = time.After(convergence.PassSettle)
			}
		case <-passSettled:
			passSettled, why = nil, g.sample(ctx)
			sampled = time.Now()
		case <-tick.C:
			if passSettled == nil {
				why = g.sample(ctx)
				sampled = time.Now()
			}
		}
		if stop != nil && !g.events.InPostCopy() {
			why = stop
		}
	}
	return why, nil
}

// watchTarget watches a target of which nobody else would notice in time that it is gone: where the driver does not,
// and where this process manages the migration, so that the source's daemon has no connection to the target's which it
// could lose (qemuMigrationSrcWaitForCompletion). The copy hangs for as long as TCP tries, a quarter of an hour. lost
// is nil where it is not watched, as where the migration cannot be given up.
func (g *migration) watchTarget(ctx context.Context) (lost <-chan error, stop func()) {
	if g.driver.JobControl && !g.found.Params.Managed || g.lacksAbort() != nil {
		return nil, func() {}
	}
	return watchTarget(ctx, &g.target, &g.source, g.guest)
}

// shorten applies a deadline that is earlier than the one so far.
func (g *migration) shorten(deadline time.Time) {
	if g.window.shorten(deadline) {
		g.note("the time for the migration was shortened")
		g.policy.Window = max(time.Until(deadline), 1)
	}
}

// sample looks at the progress and does what the rule makes of it, unless the guest is stopped: then
// every question to the hypervisor would make its pause longer. The error is why to abort.
func (g *migration) sample(ctx context.Context) error {
	if g.events.IsSwitching() {
		return nil
	}
	s, err := g.stats(ctx, sampleTime)
	if err != nil || !s.Active {
		return nil
	}
	if s.Iteration == 0 && s.Disks.Total > 0 && !g.copier.Empty() {
		return g.copier.sample(s.Disks, g.policy.Grace())
	}
	g.copier.copied()
	g.sampled(s, g.try.compress)
	state := g.stateOf(s)
	if why := g.apply(ctx, g.policy.Decide(state), state); why != nil {
		return why
	}
	if g.events.InPostCopy() {
		g.report("post-copy")
	} else {
		g.report("migrating")
	}
	return nil
}

// apply does what the rule says. The error is why to abort.
func (g *migration) apply(ctx context.Context, d convergence.Decision, s convergence.State) error {
	switch {
	case d.GiveUp != "":
		return fmt.Errorf("%w: %s", ErrHopeless, d.GiveUp)
	case d.XBZRLECache > 0 && !s.XBZRLE:
		return &wantRestart{cache: d.XBZRLECache}
	case d.Throttle > 0 && !s.AutoConverge:
		return &wantRestart{throttle: d.Throttle}
	case g.events.IsSwitching() || s.Switched:
		return nil
	}
	g.liftPace(ctx, s)
	if d.DowntimeLimit > g.limit {
		g.setDowntime(ctx, d.DowntimeLimit)
	}
	if d.PostCopy {
		g.startPostCopy(ctx)
	}
	return nil
}

// liftPace lets a migration that is not over after its first passes have the whole link.
func (g *migration) liftPace(ctx context.Context, s convergence.State) {
	if g.try.pace == 0 || s.Iteration < convergence.PaceLift {
		return
	}
	if err := g.setSpeed(ctx, unbound, false); err != nil {
		g.log.WithError(err).Warn("the bandwidth limit of the first passes is not lifted")
		return
	}
	g.try.pace, g.rec.Cap = 0, 0
}

// startPostCopy lets the guest run at the target now. Where that is refused, pre-copy continues.
func (g *migration) startPostCopy(ctx context.Context) {
	defer g.step("post-copy")()
	g.liftBandwidth(ctx)
	ctx, cancel := context.WithTimeout(ctx, endpoint.LookTime)
	defer cancel()
	err := g.source.Host.StartPostCopy(ctx, g.guest)
	if err == nil || errors.Is(err, context.DeadlineExceeded) { // libvirt may do it yet
		g.events.ExpectPostCopy()
	}
	if err != nil {
		g.policy.PostCopy = false
		g.note("no switch to post-copy: " + err.Error())
		return
	}
	g.escalate(ladder.PostCopy)
	g.note("the guest did not converge, and was switched to post-copy")
}

// liftBandwidth lifts a bound that was requested for what follows the switch to post-copy: from there on the guest
// waits for each page that it lacks, and a bound is meant to spare others a copy that nobody waits for. virsh migrate
// does the same.
func (g *migration) liftBandwidth(ctx context.Context) {
	if g.req.Bandwidth == 0 {
		return
	}
	if err := g.setSpeed(ctx, 0, true); err != nil {
		g.log.WithError(err).Warn("the bandwidth limit also holds for the post-copy: the guest is slow until its end")
	}
}

// awaitAdopted waits for the end of a migration that another call began, and aborts it where that comes too late. The
// error is why it was, or should have been, aborted.
func (g *migration) awaitAdopted(ctx context.Context) error {
	defer g.step("see-through")()
	g.ended = false
	g.escalate(ladder.Live)
	g.report("migrating")
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go g.awaitEnd(watch, done)
	why, _ := g.steer(ctx, done)
	if why == nil || g.events.InPostCopy() {
		return why
	}
	if lack := g.lacksAbort(); lack != nil {
		return fmt.Errorf("%w, and the migration continues: %w", why, lack)
	}
	ctx = context.WithoutCancel(ctx)
	if g.mustArrive(ctx) {
		return fmt.Errorf("%w, and the migration continues: %w", why, errLastCopy)
	}
	g.tryAbort(ctx)
	return fmt.Errorf("%w, and was aborted", why)
}

// errLastCopy is why a migration is not aborted of whose end we would not know.
var errLastCopy = errors.New("the guest is already stopped for its last copy")

// run migrates as first says, and again where that was refused for something that it can
// do without, or aborted for something that it lacked. The error says nothing of where the guest is.
func (g *migration) run(ctx context.Context, first attempt) error {
	g.try = first
	if first.pace > 0 {
		g.rec.Cap, g.rec.Pace = first.pace<<20, first.pace<<20
	}
	for {
		err := g.once(ctx)
		if isFinal(ctx, err) {
			return err
		}
		refused := g.ended && g.hears.source && !g.events.IsActive()
		next := failure{g.try, err, refused, g.policy.AutoConverge, g.switchover(true)}.retry()
		if next == nil || (verifier{g.job}).verify(ctx).Outcome != record.Stayed {
			return err
		}
		g.note(next.why)
		g.try, g.policy.PostCopy = next.attempt, next.postCopy
		if next.plain {
			g.policy.XBZRLECache = 0
		}
		g.relay.end(ctx)
		g.reset()
	}
}

// once runs one migration and steers it. The error is libvirt's, or why it was aborted.
func (g *migration) once(ctx context.Context) error {
	defer g.step("migrate")()
	if ctx.Err() != nil || g.left() <= 0 {
		return fmt.Errorf("%w: no time was left to begin", ErrOutOfTime)
	}
	if g.hears.source {
		g.relay.begin(ctx, g.source.Host)
	}
	g.setDowntime(ctx, g.policy.InitialDowntime) // before the start: a short migration is over before the first look
	g.escalate(ladder.Live)
	g.report("migrating")
	params := g.try.params(g.found.Params)
	g.rec.Compression, g.rec.Cache = params.Compression, g.try.cache
	if params.Compressed && params.Compression == "" {
		g.rec.Compression = "xbzrle" // libvirt's default (qemuMigrationParamsSetCompression)
	}
	g.rec.Compressed, g.rec.Encrypted = g.try.compression() != "", params.TLS
	return g.call(ctx, params)
}

// call makes the call to libvirt that migrates, and steers until it ends. The call outlives ctx: a
// cancelled migration is aborted, and then its end is awaited.
func (g *migration) call(ctx context.Context, params libvirt.MigrateParams) error {
	call, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	done := make(chan error, 1)
	g.ended = false
	host := g.source.Host
	// A connection in which a call waits hands each event from thread to thread (virNetClientIOEventLoop), in the
	// middle of the guest's pause. So the call has one of its own; without one it is made all the same.
	if g.caller.Connect(ctx, endpoint.LookTime) == nil {
		host = g.caller.Host
	}
	go func() { done <- host.MigrateToURI3(call, g.guest, g.req.TargetURI, params) }()
	why, err := g.steer(ctx, done)
	if why != nil {
		err = g.abort(ctx, done, why)
	}
	return err
}
