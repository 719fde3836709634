package migrate

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"libvirt.org/go/libvirtxml"

	"github.com/vmferry/vmferry/migrate/disks"
	"github.com/vmferry/vmferry/migrate/events"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// PhaseSlot is the phase in which a move waits for its turn, and has asked nothing yet.
const PhaseSlot = "waiting for slot"

// mover is one Move under way.
type mover struct {
	req            Request
	deps           Deps
	log            logrus.FieldLogger
	driver         libvirt.Driver // the source's
	unable         []string       // what it cannot do of what was asked
	rec            Record
	source, target side
	caller         side // the source once more, for the call that migrates alone
	events         *events.Log
	relay          relaying
	hears          struct{ source, target bool }

	uuid       string
	wasPaused  bool
	sourceCaps *libvirtxml.Caps // nil before they were asked
	targetCaps *libvirtxml.Caps
	sameHost   bool
	portable   *libvirtxml.Domain // the guest as the target gets it
	sent       string             // the same as text, "" where the driver does not give it
	guard      *Slot              // the guest's lock, from the rehearsal on
	managed    bool               // this process talks to both daemons, as the source's does not reach the target's
	with       []string           // what goes along with the guest or stays behind, in words
	examines   bool               // nothing is to be moved: refusals are kept
	refusals   []*Refusal         // of an examination

	deadline time.Time       // the context's, or an earlier one that came later; zero without one
	abortAt  time.Time       // what is not done by then is aborted; zero without a deadline
	turn     Turn            // that a queue of moves granted; nil without one
	giveUp   <-chan struct{} // closed when the queue of moves takes the turn back; nil without one
	link     Link            // what is remembered of the link to the target
	profile  Profile         // what is remembered of the guest
	hurries  func() bool     // others waited for the end of this move when it was first asked
	load     libvirt.Load
	measured time.Time // when the result of the measurement will be there, zero where there is none

	policy   Policy
	try      attempt
	paced    uint64        // the bound of the first passes while it is in force, in MiB/s
	limit    time.Duration // the downtime limit that is set, 0 before the first
	trend    trend
	ended    bool // no migration is under way at the source
	told     bool // libvirt itself said that the migration failed
	adopted  bool // the migration was begun by another, and its first events were missed
	torn     bool // an earlier one broke in its post-copy phase
	progress Progress

	rung      ladder.Rung // the roughest that was tried, "" before the first
	rungBegan time.Time
	carried   []*carried // the disks that go along
	disks     diskLoad
	lacks     []string // what a start at the target would need, and the target does not have
	sharedBy  func(path string) (kind string, err error)
}

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
	m.leaveRung(err)
	m.settleDisks(ctx)
	m.endRelay(ctx)
	m.rec.Ended = time.Now()
	m.rec.DurationMS = millis(m.rec.Ended.Sub(m.rec.Started))
	m.rec.Judge(nil)
	if err != nil {
		m.rec.Error = err.Error()
		err = fmt.Errorf("move guest %q to %q: %w", req.Guest, req.Target, err)
	}
	m.log.WithField("outcome", m.rec.Outcome).Info("move ended")
	return m.rec, err
}

func newMover(req Request, deps Deps) *mover {
	m := &mover{req: req, deps: deps, driver: libvirt.DriverOf(req.SourceURI), uuid: strings.ToLower(req.UUID), events: events.NewLog(), ended: true}
	if deps.Log == nil {
		quiet := logrus.New()
		quiet.SetLevel(logrus.PanicLevel)
		m.deps.Log = quiet
	}
	m.log = m.deps.Log.WithFields(logrus.Fields{"guest": req.Guest, "peer": req.Target})
	m.rec = Record{Schema: RecordSchema, Guest: req.Guest, UUID: req.UUID, From: req.SourceURI, To: req.Target, TargetURI: req.TargetURI,
		Started: time.Now(), Outcome: Unknown, Cap: req.Bandwidth << 20}
	m.rec.BudgetMS = millis(m.budget())
	m.source = side{uri: req.SourceURI, open: deps.Open}
	m.caller = m.source
	m.hurries = sync.OnceValue(req.awaited) // forecast and migration are of one pace
	m.target = side{uri: req.TargetURI, open: deps.Open}
	m.sharedBy = disks.SharedBy
	m.relay = relaying{open: deps.Relay, guest: req.Guest, events: m.events, log: m.log}
	if req.Fetch { // the guest's tap is on another node
		m.relay.open = nil
	}
	return m
}

func (m *mover) run(ctx context.Context) error {
	if err := m.req.check(); err != nil {
		return err
	}
	if err := m.fit(); err != nil {
		return err
	}
	m.plan(ctx)
	m.beginMeasuring(ctx)
	place, err := m.takePlace(ctx)
	if err != nil {
		return err
	}
	defer place.release()
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
	stop := m.listen(ctx)
	defer stop()
	if m.torn {
		m.note("a post-copy that was begun before broke: going on with it")
		return m.conclude(ctx, nil)
	}
	if m.adopted {
		ended, err := m.seeThrough(ctx)
		if ended || err != nil {
			return err
		}
	}
	m.predict(ctx)
	if err := m.receive(ctx); err != nil {
		return err
	}
	shared := place.isShared()
	err = m.migrate(ctx)
	m.rec.Shared = shared && place.isShared()
	if err == nil {
		m.rest(ctx)
		place.copied(m.events.Timeline())
	}
	return m.conclude(ctx, err)
}

// reserveOf is the part of a window that aborting and verifying may need.
func reserveOf(window time.Duration) time.Duration {
	return min(max(window/8, 2*time.Second), 10*time.Second)
}

// plan divides the time, and makes the policy of it and of what is known of the link.
func (m *mover) plan(ctx context.Context) {
	links, err := ReadLinks(m.deps.Links)
	if err != nil {
		m.log.WithError(err).Warn("what earlier moves taught is lost")
	}
	m.link = links[m.req.Target]
	m.recallGuest()
	var window time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		window = time.Until(deadline)
		m.deadline, m.abortAt = deadline, deadline.Add(-reserveOf(window))
	}
	m.policy = newPolicy(0, m.req.BlackoutBudget, m.link.handOver(), window).within(m.req.DowntimeLimit, m.link.handOver(), m.req.BlackoutBudget > 0)
	m.policy.Firm, m.policy.Force = m.req.Firm, m.req.PauseAfter
	m.policy.Throttle, m.policy.PostCopy = !m.req.NoConverge, m.req.PostCopy
	// With several connections QEMU 10.0 does not give a migration up while the link is cut, and answers nothing
	// meanwhile: only who asks for them gets them.
	m.policy.Single = !m.req.Options.Parallel // which fit took out where the driver has none
	m.policy.Compress = !m.req.Options.Compressed && !m.req.Options.Tunnelled && !m.req.Options.ZeroCopy
	if m.policy.Compress && m.policy.Single && m.driver.Can(libvirt.CanTune) {
		m.policy.Delta = mostCache
	}
}

// budget is what the blackout is to stay within.
func (m *mover) budget() time.Duration { return m.req.budget() }

// shorten takes over a deadline that is earlier than the one so far.
func (m *mover) shorten(deadline time.Time) {
	if !m.deadline.IsZero() && !deadline.Before(m.deadline) {
		return
	}
	m.note("the time for the migration was shortened")
	left := time.Until(deadline)
	m.deadline, m.abortAt = deadline, deadline.Add(-reserveOf(left))
	m.policy.Window = max(left, 1)
}

// before is ctx that ends at abortAt already.
func (m *mover) before(ctx context.Context) (context.Context, context.CancelFunc) {
	if m.abortAt.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, m.abortAt)
}

// left is how long until abortAt, without one for ever.
func (m *mover) left() time.Duration {
	if m.abortAt.IsZero() {
		return math.MaxInt64
	}
	return time.Until(m.abortAt)
}

func (m *mover) runPreflight(ctx context.Context) (already bool, err error) {
	defer m.step("pre-flight")()
	m.report("pre-flight")
	ctx, cancel := m.before(ctx)
	defer cancel()
	return m.preflight(ctx)
}

// step notes when a step began, and with the returned function how long it took.
func (m *mover) step(name string) (end func()) {
	begin := time.Now()
	m.log.WithField("phase", name).Debug("begin")
	return func() {
		m.rec.Steps = append(m.rec.Steps, Step{Name: name, Begin: begin, MS: millis(time.Since(begin))})
	}
}

func (m *mover) note(text string) {
	m.rec.Notes = append(m.rec.Notes, text)
	m.log.Info(text)
}

// endRelay ends the relay of the last attempt, and records what it forwarded.
func (m *mover) endRelay(ctx context.Context) {
	limit := relayTime
	if !m.deadline.IsZero() {
		limit = min(limit, max(time.Until(m.deadline), relayLeast))
	}
	m.rec.Relayed = m.relay.end(ctx, m.rec.Outcome, limit)
}

func (m *mover) report(phase string) {
	m.progress.Phase, m.progress.DowntimeLimit = phase, m.limit
	if m.req.Progress != nil {
		m.req.Progress(m.progress)
	}
}
