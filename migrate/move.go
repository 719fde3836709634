package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/diskcopy"
	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/events"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/qmp"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/slot"
	"github.com/vmferry/vmferry/migrate/verify"
	"github.com/vmferry/vmferry/migrate/wait"
)

// Move moves one guest and returns the account of it, which is complete whatever the error.
// The error is nil exactly when the outcome is Moved, also when the guest was moved
// before. It is a [preflight.Refusal] when nothing was begun, and [ErrUnknown] when it is not known.
//
// Some of the time before the context's deadline, an eighth but between two and ten
// seconds, is kept for aborting and verifying. Cancelling aborts the migration, and Move
// returns when it knows where the guest runs, or fifteen seconds later.
func Move(ctx context.Context, req Request, deps Deps) (record.Record, error) {
	m := newMover(req, deps)
	defer m.target.Close()
	defer m.source.Close()
	defer m.caller.Close()
	err := m.run(ctx)
	m.guard.Release()
	m.endRung(err)
	m.disks.finish(ctx)
	m.relay.end(ctx)
	m.account.end(err)
	if err != nil {
		err = fmt.Errorf("move guest %q to %q: %w", req.Guest, req.Target, err)
	}
	return m.rec, err
}

// mover is one Move under way: the parts that make it, and what they share.
type mover struct {
	account
	window
	job
	planner
	runner
	verifier
	disks  copier
	relay  relaying
	queued admitter

	req      Request
	without  []error    // what the source's driver cannot do of what was requested
	guard    *slot.Slot // the guest's lock, from the rehearsal on
	sharedBy func(path string) (kind string, err error)
}

func newMover(req Request, deps Deps) *mover {
	m := &mover{req: req, sharedBy: disks.SharedBy}
	m.account = newAccount(req, deps.Log)
	source := endpoint.Endpoint{URI: req.SourceURI, Open: deps.Open}
	m.job = job{account: &m.account, window: &m.window, deps: deps, driver: libvirt.DriverOf(req.SourceURI),
		guest: req.Guest, uuid: strings.ToLower(req.UUID), source: source, caller: source,
		target: endpoint.Endpoint{URI: req.TargetURI, Open: deps.Open}, events: events.NewLog(), ended: true}
	m.verifier = verifier{&m.job}
	m.disks = copier{job: &m.job, req: &m.req,
		Copy: diskcopy.Copy{Guest: req.Guest, Peer: req.Target, Target: &m.target}}
	m.planner = planner{job: &m.job, req: &m.req, copier: &m.disks, hurries: sync.OnceValue(req.awaited)}
	m.runner = runner{planner: &m.planner, relay: &m.relay}
	m.queued = admitter{account: &m.account, queue: deps.Queue, slots: deps.Slots, shorten: m.shortenTo}
	if req.Adopt { // what is under way already asks nobody
		m.queued.queue = nil
	}
	m.relay = relaying{account: &m.account, window: &m.window, open: deps.Relay, guest: req.Guest, events: m.events}
	if req.Fetch { // the guest's tap is on another node
		m.relay.open = nil
	}
	return m
}

// run is the move: check, wait for admission, pre-flight, predict, migrate, verify. What it did is in the record.
func (m *mover) run(ctx context.Context) error {
	if err := m.req.check(); err != nil {
		return err
	}
	var err error
	if m.req, m.without, err = applyCapabilities(m.req, m.driver); err != nil {
		return err
	}
	m.rec.Cap = m.req.Bandwidth << 20
	m.recall()
	m.setPolicy(ctx)
	m.beginMeasuring(ctx)
	if err := m.admit(ctx); err != nil {
		return err
	}
	defer m.queued.release()
	if err := m.runPreflight(ctx); err != nil {
		return err
	}
	if m.found.Already {
		m.note("the guest was at the target already")
		return nil
	}
	m.warnUnsupported()
	defer m.listen(ctx)()
	if m.found.PostCopyFailed {
		m.note("an earlier post-copy failed: recovering it")
		return m.conclude(ctx, nil)
	}
	if m.found.Adopted {
		ended, err := m.adopt(ctx)
		if ended || err != nil {
			return err
		}
	}
	m.predict(ctx, m.queued.update)
	if err := m.disks.create(ctx); err != nil {
		return err
	}
	if m.policy.PostCopy && !m.disks.Empty() {
		m.policy.PostCopy = false
		m.note("post-copy is not used for a guest whose disks are copied")
	}
	return m.conclude(ctx, m.migrate(ctx))
}

// admit waits until the move may begin.
func (m *mover) admit(ctx context.Context) error {
	ctx, cancel := m.before(ctx)
	defer cancel()
	err := m.queued.admit(ctx, m.admissionRequest())
	m.giveUp = m.queued.giveUp
	return err
}

func (m *mover) runPreflight(ctx context.Context) error {
	defer m.step("pre-flight")()
	m.report("pre-flight")
	ctx, cancel := m.before(ctx)
	defer cancel()
	if err := m.preflight(ctx, false); err != nil {
		return err
	}
	switch {
	case m.found.Already:
		m.rec.Outcome = record.Moved
		m.disks.adopt(ctx, m.target.Host)
	case m.found.Adopted:
		m.disks.adopt(ctx, m.source.Host)
	}
	if m.found.InPostCopy {
		m.events.JoinPostCopy()
	}
	return nil
}

// preflight asks both ends all that can be asked, and keeps what was found. all is preflight.Request.All.
func (m *mover) preflight(ctx context.Context, all bool) error {
	paused := m.found.Paused // of a pre-flight before: a guest that was paused on purpose stays so
	var err error
	m.found, err = preflight.Run(ctx, m.req.preflight(m.uuid, all), preflight.Deps{
		Source: &m.source, Target: &m.target, Halted: m.deps.Halted, Lock: m.lockGuest, SharedBy: m.sharedBy,
		Resolve: m.deps.Resolve, Own: m.deps.Own, Conf: m.deps.Conf, Log: m.log,
	})
	m.found.Paused = m.found.Paused || paused
	m.uuid, m.rec.UUID, m.rec.Memory = m.found.UUID, m.found.UUID, m.found.Memory
	m.rec.Notes = append(m.rec.Notes, m.found.Notes...)
	switch {
	case m.found.AtBoth:
		m.rec.Outcome = record.Unknown
	case m.found.AtSource:
		m.rec.Outcome = record.Stayed // until something is begun
	}
	m.disks.Plan(m.uuid, m.found.Copies)
	return err
}

// lockGuest takes the guest's lock until the end of the move. The error is that another has it; a node without locks
// continues without.
func (m *mover) lockGuest(ctx context.Context, uuid string) error {
	if m.guard != nil {
		return nil
	}
	guard, err := m.deps.Slots.AcquireGuest(ctx, uuid)
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil {
		m.log.WithError(err).Info("the guest cannot be locked against other pre-flights and moves")
	}
	m.guard = guard
	return nil
}

// warnUnsupported notes, before the guest is touched, what this move cannot promise.
func (m *mover) warnUnsupported() {
	for _, promise := range []struct {
		what libvirt.Ability
		text string
	}{
		{libvirt.CanBoundPause, fmt.Sprintf("the blackout budget of %v cannot be held", m.req.budget())},
		{libvirt.CanTellPause, "the pause will not be known"},
	} {
		if err := m.driver.Lacks(promise.what); err != nil {
			m.rec.Unsupported = append(m.rec.Unsupported, promise.what)
			m.note(fmt.Sprintf("%s: %v", promise.text, err))
		}
	}
	for _, err := range m.without {
		m.note(fmt.Sprintf("left out: %v", err))
	}
}

// adopt waits for the end of a migration that another began, and aborts it where that
// would come too late. over is false when it failed, the guest stayed, and there is
// time to start another: then the pre-flight has been made again.
func (m *mover) adopt(ctx context.Context) (over bool, err error) {
	m.note("an earlier migration is under way: waiting for its end")
	why := m.awaitAdopted(ctx)
	if m.verify(ctx).Outcome != record.Stayed || why != nil {
		return true, m.conclude(ctx, why)
	}
	m.note("the earlier migration failed; retrying")
	m.req.Adopt = false
	m.rec.Outcome = record.Stayed
	m.disks.finish(ctx)
	m.reset()
	err = m.runPreflight(ctx)
	return m.found.Already, err
}

// migrate starts the migration, and waits until the guest has run at the target for a moment.
func (m *mover) migrate(ctx context.Context) error {
	shared := m.queued.isShared()
	err := m.runner.run(ctx, m.firstAttempt())
	m.rec.Shared = shared && m.queued.isShared()
	if err == nil {
		m.rest(ctx)
		m.queued.copied(m.events.Timeline())
	}
	return err
}

// RestTime is how long a guest that came to run at the target may have the processors of both nodes for itself: it
// begins with cold caches, and whoever asks libvirt about it in that time keeps its clients waiting.
const RestTime = time.Second

// rest waits until the guest has run for [Request.Rest] at the target. What comes after it is the move's own
// account: libvirt has said that the guest runs there, and nothing of it becomes less true by waiting.
func (m *mover) rest(ctx context.Context) {
	resume, ran := m.events.Timeline().Find(qmp.Target, qmp.PhaseResume)
	if !ran {
		return
	}
	if left := restFor(m.req.Rest, time.Since(resume.Received), m.left()); left > 0 && !m.req.awaited() {
		defer m.step("rest")()
		_ = wait.For(ctx, left) // what follows sees the end of ctx for itself
	}
}

// restFor is how much longer a guest rests that has run for so long. Where time is short, it does not.
func restFor(rest, ran, left time.Duration) time.Duration {
	if left < 2*rest {
		return 0
	}
	return max(rest-ran, 0)
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
		m.rec.Rung = ladder.Techniques{Throttle: m.rec.Throttle > 0,
			PostCopy: m.events.InPostCopy() || m.found.PostCopyFailed}.Rung()
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
