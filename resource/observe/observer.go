package observe

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// Identity is whom to look for. A guest of the same name and another UUID is another guest.
type Identity struct {
	Name string
	UUID string // empty when it is not known: then the name alone counts
}

// IsOther reports whether a UUID proves that a guest of this name is another one.
func (i Identity) IsOther(uuid string) bool {
	return i.UUID != "" && uuid != "" && !strings.EqualFold(i.UUID, uuid)
}

// Ref is what libvirt looks the guest up by.
func (i Identity) Ref() string { return libvirt.Ref(i.Name, i.UUID) }

// Observer looks at one guest on this node. All fields but Configured and SkipProcesses are required. The connection to
// libvirt is opened at the first question, and again after one that broke. It is for one goroutine at a time.
type Observer struct {
	Identity
	// Configured is the guest of a config file that was edited while the one looked for ran. It takes that one's
	// place when that is proven to be gone.
	Configured *Identity

	URI       string // this node's libvirt
	Open      func(ctx context.Context, uri string) (Hypervisor, error)
	Processes Processes
	CallTime  time.Duration // the most that one question may take
	// SkipProcesses leaves the processes alone where libvirt's answer decides alone: to read them all is most of what a
	// look costs on a node of many guests. It is for a look that comes again soon.
	SkipProcesses bool
	IsNoted       func() bool            // the guest was seen to run here
	IsClaimed     func(uuid string) bool // what was found is the guest of another resource
	Log           logrus.FieldLogger

	conn     Hypervisor
	disputed time.Time // since when libvirt has called a guest here of which there is no process
}

// Driver is what the driver of this libvirt can do.
func (g *Observer) Driver() libvirt.Driver { return libvirt.DriverOf(g.URI) }

// Look looks once: for the guest that was seen here last, and for the one that an edited config file describes by now
// only when that is proven to be gone.
func (g *Observer) Look(ctx context.Context) Observation {
	o := g.look(ctx)
	if g.IsClaimed(o.UUID()) {
		o.State = NotRunning
	}
	if !o.IsGone() || g.Configured == nil {
		return o
	}
	g.Log.Infof("continuing with guest %q of the config file: the last one, %q with UUID %s, is gone",
		g.Configured.Name, g.Name, g.UUID)
	g.Identity, g.Configured = *g.Configured, nil
	return g.look(ctx)
}

// look asks libvirt first: a guest that ends in between is then seen by libvirt only, and the next look decides.
func (g *Observer) look(ctx context.Context) Observation {
	o, trusted := g.askLibvirt(ctx), g.Driver().TracksProcess
	if g.SkipProcesses && trusted && o.Libvirt.decidesAlone() {
		o.Proc = ProcUnasked
	} else {
		o.Processes, o.ProcErr = g.Find(ctx)
		o.Proc = procStateOf(o.Processes, o.ProcErr)
	}
	o.State = Judge(o.Libvirt, o.Proc)
	if o.Proc == ProcNone && !trusted {
		o.State = NotRunning // proven, and libvirt will notice
	}
	if g.isDisputed(o) {
		o.State = Unknown
	}
	return o
}

func (g *Observer) askLibvirt(ctx context.Context) Observation {
	o := Observation{Kind: g.Driver().Vessel}
	status, err := g.status(ctx, g.Ref())
	switch {
	case errors.Is(err, libvirt.ErrNoDomain):
		o.Libvirt, o.Namesake = Absent, g.namesake(ctx)
	case err != nil:
		o.Libvirt, o.LibvirtErr = Unreachable, err
	default:
		o.Libvirt, o.Status = StateOf(status), status
		isPaused := o.Libvirt == PausedUser || o.Libvirt == PausedUnknown
		if isPaused && !g.Driver().TracksProcess && !g.IsNoted() {
			o.Libvirt = PausedStartingUp
		}
	}
	return o
}

// isDisputed reports that libvirt calls a guest here of which there is no process, and has not done so for long. A
// daemon that was just started lists the guests that it had, as they were, until it has found their monitors gone
// (qemuProcessReconnect): QEMU may have ended while it was away. If libvirt keeps saying so it is believed, as a
// process may have a shape that is not known.
func (g *Observer) isDisputed(o Observation) bool {
	if o.Proc != ProcNone || o.State != Running && o.State != Stalled {
		return false
	}
	if g.disputed.IsZero() {
		g.disputed = time.Now()
	}
	return time.Since(g.disputed) < g.CallTime
}

// namesake is another guest that libvirt has under the name of ours, nil where there is none or it cannot be asked.
func (g *Observer) namesake(ctx context.Context) *libvirt.Status {
	if g.UUID == "" {
		return nil
	}
	status, err := g.status(ctx, g.Name)
	if err != nil || !g.IsOther(status.UUID) {
		return nil
	}
	return &status
}

// status asks libvirt for a guest, for at most half of the time that is left: a daemon that
// hangs must leave time to look at the processes.
func (g *Observer) status(ctx context.Context, ref string) (libvirt.Status, error) {
	limit := g.CallTime
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return Ask(ctx, g, func(conn Hypervisor) (libvirt.Status, error) { return conn.Status(ctx, ref) })
}

// Find lists what runs the guest; an error means "cannot tell". A process with the name of ours and another UUID is
// another guest's.
func (g *Observer) Find(ctx context.Context) ([]hostproc.Process, error) {
	ctx, cancel := context.WithTimeout(ctx, g.CallTime)
	defer cancel()
	found, err := g.Processes.Find(ctx, g.Name, g.UUID)
	return slices.DeleteFunc(found, func(p hostproc.Process) bool { return g.IsOther(p.UUID) }), err
}

// Connect opens the connection to the node's libvirt where there is none, within the time of one question.
func (g *Observer) Connect(ctx context.Context) error {
	if g.conn != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.CallTime)
	defer cancel()
	conn, err := g.Open(ctx, g.URI)
	if err != nil {
		return err
	}
	g.conn = conn
	return nil
}

// Call does something over the connection to the node's libvirt, and closes it when libvirt stopped to answer over it,
// so that the next question opens another one: the daemon may have been restarted.
func (g *Observer) Call(ctx context.Context, do func(Hypervisor) error) error {
	if err := g.Connect(ctx); err != nil {
		return err
	}
	err := do(g.conn)
	if HasNoAnswer(err) {
		g.Disconnect()
	}
	return err
}

// Ask is [Observer.Call] for a question.
func Ask[T any](ctx context.Context, g *Observer, question func(Hypervisor) (T, error)) (answer T, err error) {
	err = g.Call(ctx, func(conn Hypervisor) error { answer, err = question(conn); return err })
	return answer, err
}

// HasNoAnswer reports whether it is not known what libvirt did: it gave no answer.
func HasNoAnswer(err error) bool {
	return errors.Is(err, libvirt.ErrConnect) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, context.Canceled)
}

// Disconnect closes the connection, if there is one.
func (g *Observer) Disconnect() {
	if g.conn != nil {
		_ = g.conn.Close() // nothing depends on a clean goodbye
		g.conn = nil
	}
}

// PollInterval is the pause between two looks at a guest.
const PollInterval = 500 * time.Millisecond

const (
	// rebootTime is how long a guest of Xen's may be away while it reboots: it is destroyed and created again, and in
	// between there is none. One to two seconds are usual (resource-agents' issues 308 and 314).
	rebootTime = 5 * time.Second
	// rebuildTime is the same where libvirt still has a guest on its list that it would forget had it ended: it
	// is at work on it.
	rebuildTime = 15 * time.Second
)

// WaitFor looks until done accepts an observation or ctx ends, and returns the last one.
// ok is false when ctx ended first.
func (g *Observer) WaitFor(ctx context.Context, done func(Observation) bool) (o Observation, ok bool) {
	for {
		if o = g.Look(ctx); done(o) {
			return o, true
		}
		if wait.For(ctx, PollInterval) != nil {
			return o, false
		}
	}
}

// WaitUntil is WaitFor with a time at which the last observation is taken as it is.
func (g *Observer) WaitUntil(ctx context.Context, end time.Time, done func(Observation) bool) Observation {
	soft, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	o, ok := g.WaitFor(soft, done)
	if !ok && ctx.Err() == nil {
		o = g.Look(ctx) // the last look may have been cut short by its own deadline
	}
	return o
}

// WaitStable looks until the state is one that waiting would not change, at most until end. arrival tells to wait for
// a guest that arrives, too: between the looks at two nodes the guest may change over, and be taken for stopped on
// both.
func (g *Observer) WaitStable(ctx context.Context, end time.Time, arrival bool) Observation {
	o := g.WaitUntil(ctx, end, func(o Observation) bool {
		return o.State.isStable() && !(arrival && o.State == Incoming)
	})
	return g.WaitReboot(ctx, o, end)
}

// WaitReboot looks again and again while a guest that is not here may be back at once, at most until end. o is the
// last look.
func (g *Observer) WaitReboot(ctx context.Context, o Observation, end time.Time) Observation {
	began := time.Now()
	isAway := func(o Observation) bool {
		return o.IsGone() && (o.IsListed() || g.IsNoted() && time.Since(began) < rebootTime)
	}
	if g.Driver().TracksProcess || !isAway(o) {
		return o
	}
	g.Log.Infof("the guest is not here for the moment, maybe as it reboots: %s", o)
	if last := began.Add(rebuildTime); last.Before(end) {
		end = last
	}
	return g.WaitUntil(ctx, end, func(o Observation) bool { return !isAway(o) })
}
