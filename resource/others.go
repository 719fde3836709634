package resource

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/resource/observe"
)

const (
	// othersQuiet is for how long no other guest may be on its way before a failure is told: the next one may just begin.
	othersQuiet = time.Second
	// handOverTime is how long the cluster manager may take, after a migrate_to, for the migrate_from on the target and
	// the stop here. Later than that it has done something else.
	handOverTime = 30 * time.Second
)

// awaitOthers delays the answer of a migrate_to that failed until no other guest is on its way from this node, for
// at most half of the time of a migration. Pacemaker ends its transition at a failure. In the next one it stops a
// guest, and starts it again, whose migrate_to has succeeded and whose migrate_from has not, if the new plan has
// another node for it ("Forcing recovery … because it can no longer migrate", pcmk__create_actions): one guest
// that cannot move live would cost others their live migration.
func (a *run) awaitOthers(ctx context.Context) {
	if !a.Pacemaker {
		return
	}
	ctx, cancel := a.at(ctx, a.budget.migrate/2)
	defer cancel()
	others := a.onTheirWay()
	if len(others) == 0 {
		return
	}
	a.Log.Infof("the failure is told when the others have arrived: %s", strings.Join(others, ", "))
	for last := time.Now(); time.Since(last) < othersQuiet; {
		if !observe.Sleep(ctx, observe.PollInterval) {
			return
		}
		if len(a.onTheirWay()) > 0 {
			last = time.Now()
		}
	}
}

// onTheirWay are the other guests that are leaving this node, by the agent's notes, sorted.
func (a *run) onTheirWay() []string {
	var out []string
	add := func(guest string) {
		if guest != a.guest.Name && !slices.Contains(out, guest) {
			out = append(out, guest)
		}
	}
	_ = readNotes(filepath.Join(string(a.lasting), intentsDir), func(raw []byte) { // one that cannot be read delays nothing
		var i intent
		if json.Unmarshal(raw, &i) == nil && i.leaves(time.Now()) {
			add(i.Guest)
		}
	})
	_ = readNotes(filepath.Join(string(a.state), departuresDir), func(raw []byte) {
		var d departure
		if json.Unmarshal(raw, &d) == nil && d.isHandedOver(time.Now()) {
			add(d.Guest)
		}
	})
	slices.Sort(out)
	return out
}

// leaves tells whether the migration of the note may be under way. One that began long ago was interrupted.
func (i intent) leaves(now time.Time) bool {
	age := now.Sub(i.Began)
	return i.Way == outward && age >= 0 && age < departureTime
}

// isHandedOver tells whether the guest has moved, and the cluster manager has yet to hear of it on the target and to
// stop it here.
func (d departure) isHandedOver(now time.Time) bool {
	age := now.Sub(d.At)
	return !d.Stopped && age >= 0 && age < handOverTime
}

// concluded notes that the manager has stopped a guest here that has moved: it knows where the guest is.
func (a *run) concluded() {
	var d departure
	if err := a.state.load(departuresDir, a.Instance, &d); err != nil || d.Stopped {
		return
	}
	d.Stopped = true
	if err := a.state.save(departuresDir, a.Instance, d); err != nil {
		a.Log.WithError(err).Info("a migration that fails in the next half minute is told of later than need be")
	}
}
