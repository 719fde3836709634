package resource

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/witness"
)

// pollInterval is the pause between two looks at a guest.
const pollInterval = 500 * time.Millisecond

// observation is one look at a guest by both witnesses.
type observation struct {
	answer  answer
	status  libvirt.Status // where libvirt knows the guest
	libErr  error          // why libvirt is unreachable
	sight   sight
	found   []witness.Process
	seeErr  error // why the witness is unsure
	verdict verdict
}

// String tells both sides of the observation for log lines and exit reasons.
func (o observation) String() string {
	said := strings.TrimSuffix("libvirt says "+string(o.answer), "/unknown")
	if o.libErr != nil {
		said = fmt.Sprintf("libvirt does not answer (%v)", o.libErr)
	}
	switch o.sight {
	case unasked:
		return said
	case none:
		return said + ", and no QEMU process of it is here"
	case unsure:
		return fmt.Sprintf("%s, and the processes cannot be told (%v)", said, o.seeErr)
	case arriving:
		return fmt.Sprintf("%s, and QEMU process %d was started for an incoming migration", said, o.found[0].PID)
	}
	return fmt.Sprintf("%s, and QEMU process %d is here", said, o.found[0].PID)
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
	switch o.status.State {
	case libvirt.Running, libvirt.Blocked, libvirt.ShuttingDown:
		return o.libErr == nil && o.answer != absent
	}
	return false
}

// look asks both witnesses once. libvirt is asked first: a guest that ends in
// between is then seen by libvirt only, and believed to be here until the next look.
// A monitor does not ask the processes where libvirt's answer decides alone: reading them all is
// most of what it would cost on a node of many. Other actions need the process itself.
func (a *run) look(ctx context.Context) observation {
	var o observation
	status, err := a.status(ctx)
	switch {
	case err == nil:
		o.answer, o.status = answerOf(status), status
	case errors.Is(err, libvirt.ErrNoDomain):
		o.answer = absent
	default:
		o.answer, o.libErr = unreachable, err
	}
	if a.isMonitor() && undisputed(o.answer) {
		o.sight = unasked
	} else {
		o.found, o.seeErr = a.find(ctx)
		o.sight = sightOf(o.found, o.seeErr)
	}
	o.verdict = judge(o.answer, o.sight)
	return o
}

func (a *run) isMonitor() bool { return a.action == "monitor" || a.action == "status" }

func sightOf(found []witness.Process, err error) sight {
	switch {
	case len(found) == 0 && err != nil:
		return unsure
	case len(found) == 0:
		return none
	}
	for _, p := range found {
		if !p.Incoming {
			return seen
		}
	}
	return arriving
}

// status asks libvirt, for at most half of the time that is left: a daemon that
// hangs must leave the process witness time to answer.
func (a *run) status(ctx context.Context) (libvirt.Status, error) {
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
	status, err := conn.Status(ctx, a.guest.Name)
	a.dropBroken(err)
	return status, err
}

func (a *run) find(ctx context.Context) ([]witness.Process, error) {
	ctx, cancel := context.WithTimeout(ctx, a.budget.call)
	defer cancel()
	return a.Witness.Find(ctx, a.guest.Name, a.guest.UUID)
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

// settle looks until the verdict is one that waiting would not change, for a part
// of the action's time.
func (a *run) settle(ctx context.Context) observation {
	soft, cancel := context.WithDeadline(ctx, a.began.Add(a.budget.settle))
	defer cancel()
	o, ok := a.lookUntil(soft, func(o observation) bool { return o.verdict.settled() })
	if !ok && ctx.Err() == nil {
		o = a.look(ctx) // the last look may have been cut short by its own deadline
	}
	return o
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
