package migrate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/diskcopy"
	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/events"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
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
	m.finishDisks(ctx)
	m.relay.end(ctx)
	m.account.end(err)
	if err != nil {
		err = fmt.Errorf("move guest %q to %q: %w", req.Guest, req.Target, err)
	}
	return m.rec, err
}

func newMover(req Request, deps Deps) *mover {
	m := &mover{req: req, sharedBy: disks.SharedBy}
	m.hurries = sync.OnceValue(req.awaited) // forecast and migration are of one pace
	m.account = newAccount(req, deps.Log)
	source := endpoint.Endpoint{URI: req.SourceURI, Open: deps.Open}
	m.job = job{account: &m.account, window: &m.window, deps: deps, driver: libvirt.DriverOf(req.SourceURI),
		guest: req.Guest, uuid: strings.ToLower(req.UUID), source: source, caller: source,
		target: endpoint.Endpoint{URI: req.TargetURI, Open: deps.Open}, events: events.NewLog(), ended: true}
	m.disks = diskcopy.Copy{Guest: req.Guest, Peer: req.Target, Target: &m.target}
	m.migration = migration{job: &m.job, req: &m.req, state: m.state, copier: m}
	m.queued = admission{account: &m.account, queue: deps.Queue, slots: deps.Slots, shorten: m.migration.shorten}
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
	m.plan(ctx)
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
	if m.found.PostCopyBroken {
		m.note("an earlier post-copy failed: recovering it")
		return m.conclude(ctx, nil)
	}
	if m.found.Adopted {
		ended, err := m.adopt(ctx)
		if ended || err != nil {
			return err
		}
	}
	m.predict(ctx)
	if err := m.createImages(ctx); err != nil {
		return err
	}
	return m.conclude(ctx, m.migrate(ctx))
}

// plan divides the time, and makes the policy of it and of what is known of the link.
func (m *mover) plan(ctx context.Context) {
	m.recall()
	var span time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		span = time.Until(deadline)
		m.window = windowUntil(deadline)
	}
	r, o := m.req, m.req.Options
	p := convergence.NewPolicy(convergence.Pause{Budget: r.BlackoutBudget, Longest: r.DowntimeLimit,
		HandOver: m.known.Link.HandOver()}, span)
	p.Firm, p.ForceAfter = r.Firm, r.PauseAfter
	p.AutoConverge, p.PostCopy = !r.NoConverge, r.PostCopy
	// With several connections QEMU 10.0 does not give a migration up while the link is cut, and answers nothing
	// meanwhile: only who asks for them gets them.
	p.SingleConnection = !o.Parallel // which applyCapabilities took out where the driver has none
	p.Compress = !o.Compressed && !o.Tunnelled && !o.ZeroCopy
	if p.Compress && p.SingleConnection && m.driver.JobControl {
		p.XBZRLECache = convergence.MaxXBZRLECache
	}
	m.policy = p
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
		m.adoptDisks(ctx, m.target.Host)
	case m.found.Adopted:
		m.adoptDisks(ctx, m.source.Host)
	}
	if m.found.InPostCopy {
		m.events.JoinPostCopy()
	}
	return nil
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
	m.finishDisks(ctx)
	m.reset()
	err = m.runPreflight(ctx)
	return m.found.Already, err
}

// migrate starts the migration, and waits until the guest has run at the target for a moment.
func (m *mover) migrate(ctx context.Context) error {
	shared := m.queued.isShared()
	a := attempts{migration: &m.migration, relay: &m.relay, params: m.found.Params, verify: m.verify,
		switchover: func() uint64 { return m.switchover(true) }}
	err := a.run(ctx, m.firstAttempt())
	m.rec.Shared = shared && m.queued.isShared()
	if err == nil {
		m.rest(ctx)
		m.queued.copied(m.events.Timeline())
	}
	return err
}

// copiesDisks implements diskCopy.
func (m *mover) copiesDisks() bool { return !m.disks.Empty() }
