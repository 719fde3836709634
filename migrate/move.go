package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
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

// Request says which guest to move where. The deadline is the context's.
type Request struct {
	Guest     string // the domain's name
	UUID      string // optional: what the caller knows, to tell the guest from another of its name
	SourceURI string // the source's libvirt, as seen from here, such as "qemu:///system"
	Target    string // the target node's name, for people and for the record
	TargetURI string // the target's libvirt, as both we and the source's libvirtd reach it

	MigrateURI    string        // optional: the hypervisor's data channel, such as "tcp://10.0.0.2"
	Bandwidth     uint64        // MiB/s, 0 for libvirt's default
	DowntimeLimit time.Duration // the longest pause, also near the deadline and after PauseAfter; 0 for no such bound
	NoConverge    bool          // do not slow down a guest that writes faster than the link carries
	Unsafe        bool          // move even where libvirt fears for disks with a host cache
	Memory        MemoryMode    // what follows where the target is short of memory for the guest
	// BlackoutBudget is what the blackout is to stay within, DefaultBudget when 0. Near the deadline a
	// guest that does not converge is paused for longer all the same, unless Firm. The record tells
	// whether the budget was kept.
	BlackoutBudget time.Duration
	Firm           bool // rather leave the guest where it is than exceed the budget
	// PauseAfter is how long after its begin a migration may make the pause as long as
	// the last copy needs; 0 leaves that to the deadline alone. Firm and DowntimeLimit go before it.
	PauseAfter time.Duration
	// PostCopy lets the engine switch a guest that does not converge to post-copy: it goes on at the target
	// at once, but is lost if one of the two nodes dies before the rest of its memory is there.
	PostCopy bool
	Options  libvirt.MigrateOptions
	// StartsNetworks says that the caller starts networks of the target that are not active.
	StartsNetworks bool

	Disks DiskMode // what is done with disks that are not on shared storage
	Fetch bool     // the source is another node, so that nothing can be done with its files
	Adopt bool     // a migration to this target was begun by a caller that died: one under way is waited for

	// Rest is for how long after the guest's RESUME at the target nothing is done that can wait, normally RestTime, 0 for
	// no time. A move whose time is short does not rest.
	Rest time.Duration
	// Others, when not nil, tells whether other guests of this node wait for the end of this move now: then it is copied as
	// fast as the link carries it, though its pause may be longer for that, and does not rest. It should return soon.
	Others func() bool

	// Shorten, when not nil, brings a deadline that is earlier than the context's. It is heeded while
	// the guest is being copied: give the channel room for one.
	Shorten <-chan time.Time

	// Progress, when not nil, is called at each step and about twice a second in between,
	// from Move's own goroutine. It should return soon.
	Progress func(Progress)
}

// awaited tells whether other guests wait for the end of this move.
func (r Request) awaited() bool { return r.Others != nil && r.Others() }

// PhaseSlot is the phase in which a move waits for its turn, and has asked nothing yet.
const PhaseSlot = "waiting for slot"

// Progress is how far a move is.
type Progress struct {
	Phase         string        // PhaseSlot, "pre-flight", PhaseDisks, "migrating", "post-copy", "aborting", "recovering", "verifying"
	Transferred   uint64        // bytes sent, pages sent again counted again
	Total         uint64        // bytes of guest memory
	Remaining     uint64        // bytes still to send
	RateMiBs      float64       // on the wire
	Iteration     int           // passes over the memory, 1 is the first
	Throttle      int           // per cent that auto-converge takes from the guest
	DowntimeLimit time.Duration // at present
	DiskTotal     uint64        // bytes of disks that go along, while they are copied
	DiskRemaining uint64        // of these, still to copy
	Elapsed       time.Duration // since the migration began; all that is known where the driver tells no more
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

func (r Request) check() error {
	for _, f := range []struct{ name, value string }{{"guest", r.Guest}, {"source URI", r.SourceURI}, {"target", r.Target}, {"target URI", r.TargetURI}} {
		if f.value == "" {
			return &Refusal{CheckRequest, "no " + f.name + " was given", "", nil}
		}
	}
	if r.Disks != "" && !slices.Contains(DiskModes, r.Disks) {
		return &Refusal{CheckRequest, fmt.Sprintf("the mode %q for disks is unknown", r.Disks), "use shared, copy or auto", nil}
	}
	if r.Memory != "" && !slices.Contains(MemoryModes, r.Memory) {
		return &Refusal{CheckRequest, fmt.Sprintf("the mode %q for memory is unknown", r.Memory), "use warn, refuse or no", nil}
	}
	if r.Options.TLS && r.Options.Tunnelled {
		// libvirtd 11.3 crashes: there is no host name for qemuMigrationSrcRun to take from a tunnel.
		return &Refusal{CheckRequest, "TLS and a tunnelled migration are both requested", "request one of them", nil}
	}
	if r.DowntimeLimit < 0 || r.BlackoutBudget < 0 || r.PauseAfter < 0 {
		return &Refusal{CheckRequest, "a limit is negative", "", nil}
	}
	return nil
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
func (m *mover) budget() time.Duration { return cmp.Or(m.req.BlackoutBudget, DefaultBudget) }

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
