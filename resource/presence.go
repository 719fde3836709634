package resource

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
)

// lookStable looks until the guest's state is one that waiting would not change, for a part of the action's time.
func (a *run) lookStable(ctx context.Context) observe.Observation {
	return a.guest.WaitStable(ctx, a.until(a.budget.stable), a.Probe)
}

// isClaimed reports whether what was found under a guessed name is the guest of another resource, as noted here.
func (a *run) isClaimed(uuid string) bool {
	if !a.guess {
		return false
	}
	entries, _ := a.notes.Guests.All() // a note that cannot be read claims nothing
	return slices.ContainsFunc(entries, func(e notes.Guest) bool {
		return e.Resource != a.Instance && e.UUID != "" && strings.EqualFold(e.UUID, uuid)
	})
}

// waitRunning returns nil when the guest is seen to run here, and has noted it.
func (a *run) waitRunning(ctx context.Context, how string) (observe.Observation, error) {
	o, ok := a.guest.WaitFor(ctx, func(o observe.Observation) bool { a.welcome(o); return o.IsRunning() })
	if !ok {
		return o, ocf.Errorf(ocf.Generic, "guest %q was %s but does not run in time: %s", a.guest.Name, how, o)
	}
	if err := a.noteGuest(o); err != nil {
		return o, ocf.Wrapf(ocf.Generic, err, "guest %q was %s, but this cannot be noted for the node daemon",
			a.guest.Name, how)
	}
	a.Log.Infof("%s: %s", how, o)
	a.images.arrived(ctx)
	a.removeDepartureNote()
	return o, nil
}

// stateError is the error for a guest that cannot be called running nor stopped.
func stateError(guest string, o observe.Observation) *ocf.Error {
	switch o.State {
	case observe.Stalled:
		return ocf.Errorf(ocf.Generic, "guest %q is here but does not work: %s", guest, o)
	case observe.Switching:
		return ocf.Errorf(ocf.Generic, "guest %q was left paused by a migration: %s", guest, o)
	case observe.Incoming:
		return ocf.Errorf(ocf.Generic, "guest %q is arriving by a migration and does not run yet: %s", guest, o)
	}
	return ocf.Errorf(ocf.Generic, "cannot tell whether guest %q runs here: %s", guest, o)
}

var (
	errNotAlive = errors.New("the guest is paused, suspended or crashed")
	errTimeUp   = errors.New("timed out")
)
