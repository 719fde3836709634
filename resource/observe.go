package resource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
)

// pollInterval is the pause between two looks at a guest.
const pollInterval = 500 * time.Millisecond

// observation is one look at a guest by both witnesses.
type observation struct {
	answer   answer
	status   libvirt.Status  // where libvirt knows the guest
	namesake *libvirt.Status // where libvirt does not: another guest of its name, which is not ours
	libErr   error           // why libvirt is unreachable
	sight    sight
	found    []hostproc.Process
	seeErr   error // why the witness is unsure
	verdict  verdict
	kind     string // what runs the guest, in words
}

// String tells both sides of the observation for log lines and exit reasons.
func (o observation) String() string {
	said := strings.TrimSuffix("libvirt says "+string(o.answer), "/unknown")
	if o.namesake != nil {
		said += fmt.Sprintf(" (another guest of this name is %s here, with UUID %s)", o.namesake.State, o.namesake.UUID)
	}
	if o.libErr != nil {
		said = fmt.Sprintf("libvirt does not answer (%v)", o.libErr)
	}
	switch o.sight {
	case unasked:
		return said
	case none:
		return fmt.Sprintf("%s, and no %s of it is here", said, o.kind)
	case unsure:
		return fmt.Sprintf("%s, and whether a %s of it is here cannot be told (%v)", said, o.kind, o.seeErr)
	case arriving:
		return fmt.Sprintf("%s, and %v was started for an incoming migration", said, o.found[0])
	case halted, ending, broken:
		return fmt.Sprintf("%s, and %v is %v", said, o.found[0], o.found[0].Condition)
	}
	return fmt.Sprintf("%s, and %v is here", said, o.found[0])
}

// uuid is the guest's UUID as observed, or "".
func (o observation) uuid() string {
	if o.status.UUID != "" {
		return o.status.UUID
	}
	if len(o.found) > 0 {
		return o.found[0].UUID
	}
	return ""
}

// executing tells whether the guest can act on a request to shut down.
func (o observation) executing() bool {
	if o.sight == halted || o.sight == ending || o.sight == broken {
		return false
	}
	switch o.status.State {
	case libvirt.Running, libvirt.Blocked, libvirt.ShuttingDown:
		return o.libErr == nil && o.answer != absent
	}
	return false
}

// look looks for the guest that was seen here last, and for the one that an edited config file describes by now
// only when that is proven to be gone.
func (a *run) look(ctx context.Context) observation {
	o := a.lookOnce(ctx)
	if a.guess && a.isClaimed(o) {
		o.verdict = notRunning
	}
	if o.verdict != notRunning || a.meant == nil {
		return o
	}
	a.Log.Infof("going on with guest %q of the config file: the last one, %q with UUID %s, is gone",
		a.meant.Name, a.guest.Name, a.guest.UUID)
	a.guest, a.meant = *a.meant, nil
	return a.lookOnce(ctx)
}

// isClaimed tells whether what was found under a guessed name is the guest of another resource, as noted here.
func (a *run) isClaimed(o observation) bool {
	noted, _ := a.notes.Guests.All() // a note that cannot be read claims nothing
	return slices.ContainsFunc(noted, func(g notes.Guest) bool {
		return g.Resource != a.Instance && g.UUID != "" && strings.EqualFold(g.UUID, o.uuid())
	})
}

// lookOnce asks both witnesses once. libvirt is asked first: a guest that ends in
// between is then seen by libvirt only, and the next look tells.
// A monitor does not ask the processes where libvirt's answer decides alone: reading them all is
// most of what it would cost on a node of many. Other actions need the process itself, and so does a probe, after which
// nobody may come again, and a monitor of a driver that does not know by itself how its guests are.
func (a *run) lookOnce(ctx context.Context) observation {
	driver := libvirt.DriverOf(a.Params.Hypervisor)
	o := observation{kind: driver.Vessel}
	status, err := a.status(ctx, a.ref())
	switch {
	case err == nil:
		o.answer, o.status = answerOf(status), status
		if (o.answer == pausedByUser || o.answer == pausedUnknown) && !driver.Can(libvirt.CanKnowState) && !a.isNoted() {
			o.answer = pausedAtArrival
		}
	case errors.Is(err, libvirt.ErrNoDomain):
		o.answer, o.namesake = absent, a.namesake(ctx)
	default:
		o.answer, o.libErr = unreachable, err
	}
	if a.isMonitor() && !a.Probe && undisputed(o.answer) && driver.Can(libvirt.CanKnowState) {
		o.sight = unasked
	} else {
		o.found, o.seeErr = a.find(ctx)
		o.sight = sightOf(o.found, o.seeErr)
	}
	o.verdict = judge(o.answer, o.sight)
	if o.sight == none && !driver.Can(libvirt.CanKnowState) {
		o.verdict = notRunning // proven, and libvirt will hear of it yet
	}
	if a.isDisputed(o) {
		o.verdict = unknown
	}
	return o
}

// isDisputed tells that libvirt calls a guest here of which there is no process, and has not done so for long. A daemon
// that was just started lists the guests that it had, as they were, until it has found their monitors gone
// (qemuProcessReconnect): QEMU may have ended while it was away. If it stays with that it is believed,
// as a process may have a shape that the witness does not know.
func (a *run) isDisputed(o observation) bool {
	if o.sight != none || o.verdict != running && o.verdict != stalled {
		return false
	}
	if a.disputed.IsZero() {
		a.disputed = time.Now()
	}
	return time.Since(a.disputed) < a.budget.call
}

func (a *run) isMonitor() bool { return a.action == "monitor" || a.action == "status" }

func sightOf(found []hostproc.Process, err error) sight {
	switch {
	case len(found) == 0 && err != nil:
		return unsure
	case len(found) == 0:
		return none
	}
	best := arriving
	for _, p := range found {
		switch s, known := conditions[p.Condition]; {
		case known:
			best = s
		case !p.Incoming:
			return seen
		}
	}
	return best
}

// conditions are the sights of what the hypervisor itself calls not alive.
var conditions = map[hostproc.Condition]sight{hostproc.Halted: halted, hostproc.Ending: ending, hostproc.Broken: broken}

// namesake is another guest that libvirt has under the name of ours, nil where there is none or it cannot be asked.
func (a *run) namesake(ctx context.Context) *libvirt.Status {
	if a.guest.UUID == "" {
		return nil
	}
	status, err := a.status(ctx, a.guest.Name)
	if err != nil || !a.isOther(status.UUID) {
		return nil
	}
	return &status
}

// status asks libvirt for a guest, for at most half of the time that is left: a daemon that
// hangs must leave the process witness time to answer.
func (a *run) status(ctx context.Context, ref string) (libvirt.Status, error) {
	limit := a.budget.call
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := a.connect(ctx)
	if err != nil {
		return libvirt.Status{}, err
	}
	status, err := conn.Status(ctx, ref)
	a.dropBroken(err)
	return status, err
}

// find lists what runs the guest. A process with the name of ours and another UUID is another guest's.
func (a *run) find(ctx context.Context) ([]hostproc.Process, error) {
	ctx, cancel := context.WithTimeout(ctx, a.budget.call)
	defer cancel()
	found, err := a.Witness.Find(ctx, a.guest.Name, a.guest.UUID)
	return slices.DeleteFunc(found, func(p hostproc.Process) bool { return a.isOther(p.UUID) }), err
}

// connect returns the connection to the node's libvirt, opening it when there is none.
func (a *run) connect(ctx context.Context) (Hypervisor, error) {
	if a.conn != nil {
		return a.conn, nil
	}
	conn, err := a.Open(ctx, a.Params.Hypervisor)
	if err != nil {
		return nil, err
	}
	a.conn = conn
	return conn, nil
}

// dropBroken forgets a connection over which libvirt stopped to answer, so that the
// next question tries a fresh one: the daemon may have been restarted.
func (a *run) dropBroken(err error) {
	if a.conn == nil || err == nil {
		return
	}
	if errors.Is(err, libvirt.ErrConnect) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		a.disconnect()
	}
}

func (a *run) disconnect() {
	if a.conn != nil {
		_ = a.conn.Close() // nothing depends on a clean goodbye
		a.conn = nil
	}
}

// lookUntil looks until done accepts an observation or ctx ends, and returns the last one.
// ok is false when ctx ended first.
func (a *run) lookUntil(ctx context.Context, done func(observation) bool) (o observation, ok bool) {
	for {
		o = a.look(ctx)
		if done(o) {
			return o, true
		}
		if !pause(ctx, pollInterval) {
			return o, false
		}
	}
}

const (
	// rebootTime is how long a guest of Xen's may be away while it reboots: it is torn down and made anew, and in between
	// there is none. One to two seconds are usual (resource-agents' issues 308 and 314).
	rebootTime = 5 * time.Second
	// remakeTime is the same where libvirt still has a guest on its list that it would forget had it ended: it
	// is at work on it.
	remakeTime = 15 * time.Second
)

// outlast looks again and again while a guest that is not here may be back at once, at most until the part of the action's
// time is over. o is the last look.
func (a *run) outlast(ctx context.Context, o observation, part time.Duration) observation {
	if libvirt.DriverOf(a.Params.Hypervisor).Can(libvirt.CanKeepGuest) {
		return o
	}
	part = min(part, time.Since(a.began)+remakeTime)
	ctx, cancel := a.at(ctx, part)
	defer cancel()
	began, told := time.Now(), false
	for o.verdict == notRunning {
		listed := o.libErr == nil && o.answer != absent && (o.status.State.Active() || !o.status.Persistent)
		if !listed && (!a.isNoted() || time.Since(began) >= rebootTime) {
			return o
		}
		if !told {
			a.Log.Infof("the guest is away for the moment, and may only reboot: %s", o)
			told = true
		}
		if !pause(ctx, pollInterval) {
			return o
		}
		if again := a.look(ctx); ctx.Err() == nil {
			o = again // else it was cut short
		}
	}
	return o
}

// settle looks until the verdict is one that waiting would not change, for a part
// of the action's time.
func (a *run) settle(ctx context.Context) observation {
	return a.outlast(ctx, a.settled(ctx), a.budget.settle)
}

func (a *run) settled(ctx context.Context) observation {
	soft, cancel := context.WithDeadline(ctx, a.began.Add(a.budget.settle))
	defer cancel()
	o, ok := a.lookUntil(soft, a.isSettled)
	if !ok && ctx.Err() == nil {
		o = a.look(ctx) // the last look may have been cut short by its own deadline
	}
	return o
}

// isSettled tells whether waiting is not expected to change what was seen. A probe waits for a guest that arrives: between
// the looks at two nodes the guest may change over, and be taken for stopped on both.
func (a *run) isSettled(o observation) bool {
	return o.verdict.settled() && !(a.Probe && o.verdict == incoming)
}

// pause waits, and reports false when ctx ended instead.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
