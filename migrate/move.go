package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"libvirt.org/go/libvirtxml"

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
	DowntimeLimit time.Duration // the first limit, 30 ms when 0
	NoConverge    bool          // do not slow down a guest that writes faster than the link carries
	Unsafe        bool          // move even where libvirt fears for disks with a host cache
	Overcommit    bool          // do not ask whether the target has enough free memory
	// BlackoutBudget bounds the pause, also near the deadline; 0 for no bound. The record
	// tells whether it was kept.
	BlackoutBudget time.Duration
	// PauseAfter is how long after its begin a migration may make the pause as long as
	// the last copy needs, within BlackoutBudget; 0 leaves that to the deadline alone.
	PauseAfter time.Duration
	Options    libvirt.MigrateOptions
	Adopt      bool // a migration to this target was begun by a caller that died: one under way is waited for

	// Progress, when not nil, is called at each step and about twice a second in between,
	// from Move's own goroutine. It should return soon.
	Progress func(Progress)
}

// PhaseSlot is the phase in which a move waits for its turn, and has asked nothing yet.
const PhaseSlot = "waiting for slot"

// Progress is how far a move is.
type Progress struct {
	Phase         string        // PhaseSlot, "pre-flight", "migrating", "aborting", "verifying"
	Transferred   uint64        // bytes sent, pages sent again counted again
	Total         uint64        // bytes of guest memory
	Remaining     uint64        // bytes still to send
	RateMiBs      float64       // on the wire
	Iteration     int           // passes over the memory, 1 is the first
	Throttle      int           // per cent that auto-converge takes from the guest
	DowntimeLimit time.Duration // at present
}

var (
	// ErrUnknown is in the error of a Move that cannot tell where the guest runs.
	ErrUnknown = errors.New("cannot tell where the guest runs")
	// ErrOutOfTime is in the error of a Move that aborted its migration to meet the deadline.
	ErrOutOfTime = errors.New("the migration was not done in time")
)

// mover is one Move under way.
type mover struct {
	req            Request
	deps           Deps
	log            logrus.FieldLogger
	rec            Record
	source, target side
	tape           *tape
	hears          struct{ source, target bool }

	uuid       string
	wasPaused  bool
	targetCaps *libvirtxml.Caps

	policy   DowntimePolicy
	limit    time.Duration // the downtime limit that is set, 0 before the first
	repeated time.Time     // when the second pass was first seen
	ended    bool          // no migration is under way at the source
	adopted  bool          // the migration was begun by another, and its first events were missed
	progress Progress
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
	err := m.run(ctx)
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
	m := &mover{req: req, deps: deps, uuid: strings.ToLower(req.UUID), tape: newTape(), ended: true}
	if deps.Log == nil {
		quiet := logrus.New()
		quiet.SetLevel(logrus.PanicLevel)
		m.deps.Log = quiet
	}
	m.log = m.deps.Log.WithFields(logrus.Fields{"guest": req.Guest, "peer": req.Target})
	m.rec = Record{Schema: RecordSchema, Guest: req.Guest, UUID: req.UUID, From: req.SourceURI, To: req.Target, TargetURI: req.TargetURI,
		Started: time.Now(), Outcome: Unknown, BudgetMS: millis(req.BlackoutBudget)}
	m.source = side{uri: req.SourceURI, open: deps.Open}
	m.target = side{uri: req.TargetURI, open: deps.Open}
	return m
}

func (m *mover) run(ctx context.Context) error {
	if err := m.req.check(); err != nil {
		return err
	}
	abortAt := m.plan(ctx)
	slot, err := m.takeSlot(ctx, abortAt)
	if err != nil {
		return err
	}
	defer slot.Release()
	already, err := m.runPreflight(ctx, abortAt)
	if err != nil {
		return err
	}
	if already {
		m.note("the guest was at the target already")
		m.rec.Outcome = Moved
		return nil
	}
	stop := m.watch(ctx)
	defer stop()
	if m.adopted {
		ended, err := m.seeThrough(ctx, abortAt)
		if ended || err != nil {
			return err
		}
	}
	jobErr := m.migrate(ctx, abortAt)
	return m.conclude(ctx, jobErr)
}

func (r Request) check() error {
	for _, f := range []struct{ name, value string }{{"guest", r.Guest}, {"source URI", r.SourceURI}, {"target", r.Target}, {"target URI", r.TargetURI}} {
		if f.value == "" {
			return &Refusal{CheckRequest, "no " + f.name + " was given", "", nil}
		}
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

// plan divides the time. abortAt is zero without a deadline.
func (m *mover) plan(ctx context.Context) (abortAt time.Time) {
	var window time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		window = time.Until(deadline)
		abortAt = deadline.Add(-reserveOf(window))
	}
	m.policy = newDowntimePolicy(m.req.DowntimeLimit, window).within(m.req.BlackoutBudget)
	m.policy.Force = m.req.PauseAfter
	return abortAt
}

// before is ctx that ends at abortAt already.
func before(ctx context.Context, abortAt time.Time) (context.Context, context.CancelFunc) {
	if abortAt.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, abortAt)
}

func (m *mover) takeSlot(ctx context.Context, abortAt time.Time) (*Slot, error) {
	defer m.step("slot")()
	ctx, cancel := before(ctx, abortAt)
	defer cancel()
	return m.deps.Slots.Acquire(ctx, func() { m.report(PhaseSlot) })
}

func (m *mover) runPreflight(ctx context.Context, abortAt time.Time) (already bool, err error) {
	defer m.step("pre-flight")()
	m.report("pre-flight")
	ctx, cancel := before(ctx, abortAt)
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

func (m *mover) report(phase string) {
	m.progress.Phase, m.progress.DowntimeLimit = phase, m.limit
	if m.req.Progress != nil {
		m.req.Progress(m.progress)
	}
}
