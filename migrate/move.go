package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/diskcopy"
	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/events"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/qmp"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/slot"
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
	migration
	planner
	verifier
	disks  copier
	relay  relaying
	queued admission

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
	m.migration = migration{job: &m.job, req: &m.req, state: m.planner.stateOf, copier: &m.disks}
	m.planner = planner{migration: &m.migration, hurries: sync.OnceValue(req.awaited)}
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

var (
	// ErrUnknown is in the error of a Move that cannot tell where the guest runs.
	ErrUnknown = errors.New("cannot tell where the guest runs")
	// ErrOutOfTime is in the error of a Move that aborted its migration to meet the deadline.
	ErrOutOfTime = errors.New("the migration was not done in time")
	// ErrHopeless is in the error of a Move that gave up early, as its time is better spent on
	// another way to get the guest off this node.
	ErrHopeless = errors.New("the migration cannot succeed")
	// ErrTargetSilent is in the error of a Move that gave up since its target gave no answer any more.
	ErrTargetSilent = errors.New("the target gives no answer")
)

// ofTarget are the checks that another target may pass.
var ofTarget = []string{preflight.CheckTarget, preflight.CheckSameHost, preflight.CheckDuplicate,
	preflight.CheckHypervisor, preflight.CheckMemory, preflight.CheckCPU, preflight.CheckDisk, preflight.CheckDiskMove,
	preflight.CheckNetwork, preflight.CheckFirmware, preflight.CheckAddress, preflight.CheckConnection}

// MayTryNext reports whether a move to another target makes sense after one that failed with err: the guest
// stayed, and it was the target, or the way there, that refused it, died, or was too slow. It
// does not where it is not known where the guest runs, where the source is what refused it, and where
// the time was up or the caller cancelled.
func MayTryNext(err error) bool {
	var r *preflight.Refusal
	switch {
	case err == nil || errors.Is(err, ErrUnknown):
		return false
	case errors.As(err, &r):
		return slices.Contains(ofTarget, r.Check)
	}
	over := errors.Is(err, ErrOutOfTime) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	return !over
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
