package migrate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/events"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/verify"
)

// Move moves one guest and returns the account of it, which is complete whatever the error.
// The error is nil exactly when the outcome is Moved, also when the guest was moved
// before. It is a [*Refusal] when nothing was begun, and [ErrUnknown] when nobody can tell.
//
// Some of the time before the context's deadline, an eighth but between two and ten
// seconds, is kept for aborting and verifying. Cancelling aborts the migration, and Move
// returns when it knows where the guest runs, or fifteen seconds later.
func Move(ctx context.Context, req Request, deps Deps) (Record, error) {
	m := newMover(req, deps)
	defer m.target.close()
	defer m.source.close()
	defer m.caller.close()
	err := m.run(ctx)
	m.guard.Release()
	m.endRung(err)
	m.settleDisks(ctx)
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
	source := side{uri: req.SourceURI, open: deps.Open}
	m.job = job{account: &m.account, window: &m.window, deps: deps, driver: libvirt.DriverOf(req.SourceURI),
		guest: req.Guest, uuid: strings.ToLower(req.UUID), source: source, caller: source,
		target: side{uri: req.TargetURI, open: deps.Open}, events: events.NewLog(), ended: true}
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
	if err := m.fit(); err != nil {
		return err
	}
	m.plan(ctx)
	m.beginMeasuring(ctx)
	if err := m.admit(ctx); err != nil {
		return err
	}
	defer m.queued.release()
	already, err := m.runPreflight(ctx)
	if err != nil {
		return err
	}
	if already {
		m.note("the guest was at the target already")
		m.rec.Outcome = Moved
		return nil
	}
	m.foretell()
	defer m.listen(ctx)()
	if m.torn {
		m.note("an earlier post-copy failed: recovering it")
		return m.conclude(ctx, nil)
	}
	if m.adopted {
		ended, err := m.adopt(ctx)
		if ended || err != nil {
			return err
		}
	}
	m.predict(ctx)
	if err := m.receive(ctx); err != nil {
		return err
	}
	return m.conclude(ctx, m.migrate(ctx))
}

// plan divides the time, and makes the policy of it and of what is known of the link.
func (m *mover) plan(ctx context.Context) {
	links, err := ReadLinks(m.deps.Links)
	if err != nil {
		m.log.WithError(err).Warn("what earlier moves taught is lost")
	}
	m.link = links[m.req.Target]
	m.recallGuest()
	var span time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		span = time.Until(deadline)
		m.window = windowUntil(deadline)
	}
	r, o := m.req, m.req.Options
	p := newPolicy(0, r.BlackoutBudget, m.link.handOver(), span).
		within(r.DowntimeLimit, m.link.handOver(), r.BlackoutBudget > 0)
	p.Firm, p.Force = r.Firm, r.PauseAfter
	p.Throttle, p.PostCopy = !r.NoConverge, r.PostCopy
	// With several connections QEMU 10.0 does not give a migration up while the link is cut, and answers nothing
	// meanwhile: only who asks for them gets them.
	p.Single = !o.Parallel // which fit took out where the driver has none
	p.Compress = !o.Compressed && !o.Tunnelled && !o.ZeroCopy
	if p.Compress && p.Single && m.driver.JobControl {
		p.Delta = mostCache
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

func (m *mover) runPreflight(ctx context.Context) (already bool, err error) {
	defer m.step("pre-flight")()
	m.report("pre-flight")
	ctx, cancel := m.before(ctx)
	defer cancel()
	return m.preflight(ctx)
}

// adopt waits for the end of a migration that another began, and aborts it where that
// would come too late. over is false when it failed, the guest stayed, and there is
// time to start another: then the pre-flight has been made again.
func (m *mover) adopt(ctx context.Context) (over bool, err error) {
	m.note("an earlier migration is under way: waiting for its end")
	why := m.awaitAdopted(ctx)
	if m.verify(ctx).Outcome != verify.Stayed || why != nil {
		return true, m.conclude(ctx, why)
	}
	m.note("the earlier migration failed; retrying")
	m.adopted, m.req.Adopt = false, false
	m.rec.Outcome = Stayed
	m.settleDisks(ctx)
	m.reset()
	return m.runPreflight(ctx)
}

// migrate starts the migration, and waits until the guest has run at the target for a moment.
func (m *mover) migrate(ctx context.Context) error {
	shared := m.queued.isShared()
	a := attempts{migration: &m.migration, relay: &m.relay, params: m.params(), verify: m.verify,
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
func (m *mover) copiesDisks() bool { return len(m.carried) > 0 }
