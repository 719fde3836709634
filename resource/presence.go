package resource

import (
	"context"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/resource/notes"
)

// lookStable looks until the guest's state is one that waiting would not change, for a part of the action's time.
func (a *run) lookStable(ctx context.Context) observation {
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
func (a *run) waitRunning(ctx context.Context, how string) (observation, error) {
	o, ok := a.guest.WaitFor(ctx, func(o observation) bool { a.welcome(o); return o.IsRunning() })
	if !ok {
		return o, fail(Generic, "guest %q was %s but does not run in time: %s", a.guest.Name, how, o)
	}
	if err := a.noteGuest(o); err != nil {
		return o, because(Generic, err, "guest %q was %s, but this cannot be noted for the node daemon",
			a.guest.Name, how)
	}
	a.Log.Infof("%s: %s", how, o)
	a.images.arrived(ctx)
	a.removeDepartureNote()
	return o, nil
}
