package resource

import (
	"context"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// monitor answers whether the guest runs here. A verdict that is not clear at once gets part of the action's time
// to become so. Where nothing of the guest is here, a probe says so even without the config file, whose file
// system the cluster may have yet to mount: any other answer would ban the resource from the node.
func (a *run) monitor(ctx context.Context) error {
	o := a.settle(ctx)
	switch o.verdict {
	case running:
		a.noteOddities(o)
		noted := a.isNoted()
		if !a.guess {
			a.tryNoteGuest(o)
			a.arrived(ctx)
		}
		return a.tend(ctx, o, noted)
	case notRunning:
		if o.namesake != nil {
			return fail(NotRunning, "guest %q with UUID %s does not run here: %s", a.guest.Name, a.guest.UUID, o)
		}
		return &Error{Code: NotRunning}
	case incoming:
		a.Log.Infof("the guest is arriving and does not run here yet: %s", o)
		return &Error{Code: NotRunning}
	}
	return a.refuse(o)
}

// noteOddities logs what an operator should know of a guest that counts as running.
func (a *run) noteOddities(o observation) {
	if a.meant != nil {
		a.Log.Warnf("the config file describes guest %q with UUID %q by now, and %q with UUID %s runs here: "+
			"the file counts when that one has ended",
			a.meant.Name, a.meant.UUID, a.guest.Name, a.guest.UUID)
	}
	switch {
	case o.libErr != nil:
		a.Log.WithError(o.libErr).Warnf("libvirt does not answer, but the guest runs: %v", o.found[0])
	case o.answer == absent || o.status.State == libvirt.ShutOff:
		a.Log.Warnf("the guest runs without libvirt's knowledge: %s", o)
	case o.status.State == libvirt.Paused:
		a.Log.Warnf("the guest is here but paused, and counts as running: %s", o)
	}
}

// refuse is the error for a guest that cannot be called running nor stopped.
func (a *run) refuse(o observation) *Error {
	switch o.verdict {
	case stalled:
		return fail(Generic, "guest %q is here but does not work: %s", a.guest.Name, o)
	case switching:
		return fail(Generic, "guest %q was left paused by a migration: %s", a.guest.Name, o)
	case incoming:
		return fail(Generic, "guest %q is arriving by a migration and does not run yet: %s", a.guest.Name, o)
	}
	return fail(Generic, "cannot tell whether guest %q runs here: %s", a.guest.Name, o)
}
