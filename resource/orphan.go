package resource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// orphanTime is how long a start waits for a guest that seems to arrive, before it asks whether anybody still sends it.
const orphanTime = 10 * time.Second

// isArrival tells whether what is here of the guest is what a migration has brought so far, with a driver that does not
// let go of that. One that was seen to run here may be paused by somebody.
func (a *run) isArrival(o observation) bool {
	return !libvirt.DriverOf(a.Params.Hypervisor).TracksProcess && o.sight == arriving && o.verdict != running && o.libErr == nil && !a.isNoted()
}

// clearOrphan ends what a migration to here has left whose source is gone: Xen's driver waits for the rest of the guest for
// ever. It never ran here, so that nothing is lost with it. A guest that another node may have is let be.
func (a *run) clearOrphan(ctx context.Context, o observation) observation {
	if !a.isArrival(o) {
		return o
	}
	p := &proof{run: a}
	c, by, err := p.round(ctx)
	if err == nil && c != goAhead {
		err = a.refusal(by)
	}
	if err != nil {
		a.Log.WithError(err).Info("what was left of a migration to here stays")
		return o
	}
	for _, p := range o.found {
		if a.isOther(p.UUID) {
			return o
		}
		a.Log.Warnf("ending %v, in which the guest was arriving from a node that does not send it any more", p)
		if err := a.Witness.Kill(ctx, p, 0); err != nil {
			a.Log.WithError(err).Warn("what was left of a migration to here could not be ended")
		}
	}
	return a.look(ctx)
}

// isLost tells whether libvirt still has the guest on its list that Xen has not: its driver keeps one for ever in whose
// arrival it was interrupted, and takes no other start of it.
func (a *run) isLost(o observation) bool {
	return !libvirt.DriverOf(a.Params.Hypervisor).TracksProcess &&
		o.libErr == nil && o.sight == none && o.answer != absent && !o.status.Persistent
}

// tidyLost is for a stop of a guest that is not here: the next migration to here would be refused for what libvirt still
// has of it. That it cannot be tidied fails nothing.
func (a *run) tidyLost(ctx context.Context, o observation) {
	if !a.isLost(o) {
		return
	}
	if err := a.revive(ctx); err != nil {
		a.Log.WithError(err).Warn("the guest cannot be moved to this node before that is in order")
	}
}

// revive starts libvirt's daemon anew, which is all that helps then, and waits until it answers. Guests go on running, but
// what libvirt does with one just now would be broken off: then this is left to a person.
func (a *run) revive(ctx context.Context) error {
	conn, err := a.connectBriefly(ctx)
	if err != nil {
		return err
	}
	busy, err := conn.Busy(ctx)
	a.dropBroken(err)
	if err != nil {
		return err
	}
	const hint = "type systemctl restart libvirtd, which leaves guests alone"
	if busy = slices.DeleteFunc(busy, func(name string) bool { return name == a.guest.Name }); len(busy) > 0 {
		return fmt.Errorf("libvirt is stuck with it since a migration broke, and is at work on %s: when that is done, %s", strings.Join(busy, ", "), hint)
	}
	a.Log.Warn("libvirt is stuck with the guest since a migration to here broke: starting its daemon anew")
	a.disconnect()
	var failed []error
	daemons := []string{"libvirtd", libvirt.DriverOf(a.Params.Hypervisor).Daemon}
	for _, name := range daemons {
		if out, err := a.command(ctx, "systemctl", "try-restart", name+".service"); err != nil {
			failed = append(failed, explain(out, err))
		}
	}
	if len(failed) == len(daemons) {
		return fmt.Errorf("libvirt is stuck with it since a migration broke, and its daemon cannot be started anew: %w: %s", errors.Join(failed...), hint)
	}
	o, ok := a.lookUntil(ctx, func(o observation) bool { return o.libErr == nil })
	switch {
	case !ok:
		return fmt.Errorf("libvirt does not answer since its daemon was started anew: %w", o.libErr)
	case a.isLost(o):
		return fmt.Errorf("libvirt is stuck with it since a migration broke: %s", hint)
	}
	return nil
}
