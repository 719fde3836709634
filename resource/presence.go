package resource

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
)

// lookStable looks until the guest's state is one that waiting would not change, for a part of the action's time.
func (a *run) lookStable(ctx context.Context) observation {
	return a.guest.WaitStable(ctx, a.until(a.budget.stable), a.Probe)
}

// isNoted reports whether the guest was seen to run here.
func (a *run) isNoted() bool {
	_, noted := a.state.age(guestsDir, a.Instance)
	return noted
}

// isClaimed reports whether what was found under a guessed name is the guest of another resource, as noted here.
func (a *run) isClaimed(uuid string) bool {
	if !a.guess {
		return false
	}
	entries, _ := Guests(filepath.Join(a.RunDir, guestsDir)) // a note that cannot be read claims nothing
	return slices.ContainsFunc(entries, func(e Entry) bool {
		return e.Resource != a.Instance && e.UUID != "" && strings.EqualFold(e.UUID, uuid)
	})
}

// record notes that the guest runs here, for the node daemon.
func (a *run) record(o observation) error {
	return a.state.hold(Entry{
		Guest: a.guest.Name, UUID: o.UUID(), Resource: a.Instance, URI: a.Params.Hypervisor, Priority: a.Params.DrainPriority,
	})
}

// keep is record where a failure to write must not fail the action: the guest does run.
func (a *run) keep(o observation) {
	if err := a.record(o); err != nil {
		a.Log.WithError(err).Error("the node daemon will not see this guest: make the state directory writable")
	}
}

// forget removes the note. A note that stays makes the daemon wait for a guest that has left.
func (a *run) forget() {
	if err := a.state.release(a.Instance); err != nil {
		a.Log.WithError(err).Error("the node daemon may wait for this guest in vain: remove the file by hand")
	}
	a.forgetUtilization()
}

// waitRunning returns nil when the guest is seen to run here, and has noted it.
func (a *run) waitRunning(ctx context.Context, how string) (observation, error) {
	o, ok := a.guest.WaitFor(ctx, func(o observation) bool { a.welcome(o); return o.IsRunning() })
	if !ok {
		return o, fail(Generic, "guest %q was %s but does not run in time: %s", a.guest.Name, how, o)
	}
	if err := a.record(o); err != nil {
		return o, because(Generic, err, "guest %q was %s, but this cannot be noted for the node daemon",
			a.guest.Name, how)
	}
	a.Log.Infof("%s: %s", how, o)
	a.arrived(ctx)
	a.returned()
	return o, nil
}
