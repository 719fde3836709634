package resource

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
)

const (
	// leavingTime bounds the question whether the cluster manager empties this node.
	leavingTime = 5 * time.Second
	// clearTime is how long the target of a migration that was called off may take to clear its part away.
	clearTime = 3 * time.Second
)

// evacuation is why a stop takes the guest off its node: because it could not be moved, or was not meant to be. Where
// nothing is noted of a migration that failed, only the cluster manager knows, and is asked while the guest ends.
type evacuation struct {
	why    notes.Failure
	leaves func() bool // waits for the manager's answer, no longer than leavingTime

	params  param.Params
	pending func() (i notes.Intent, ok bool, err error)
	has     func(ctx context.Context, peer string) (bool, error) // the guest is there, or a part of it
	log     logrus.FieldLogger
}

// askInBackground asks the cluster manager whether it empties this node; the function that it returns waits for the
// answer.
func askInBackground(ctx context.Context, ask func(context.Context) (bool, error), log logrus.FieldLogger) func() bool {
	ctx, cancel := timely.Within(ctx, leavingTime)
	done, leaving := make(chan struct{}), false
	go func() {
		defer close(done)
		answer, err := ask(ctx)
		if err != nil {
			log.WithError(err).Warn("it is not known whether the cluster manager empties this node: " +
				"the guest is stopped as by an operator")
		}
		leaving = answer && err == nil
	}()
	return sync.OnceValue(func() bool {
		defer cancel()
		select {
		case <-done:
			return leaving
		case <-ctx.Done():
		}
		select {
		case <-done: // it came in time, and was used later
			return leaving
		default:
			return false
		}
	})
}

// saveWhen is whether a stop begins with saving the guest.
type saveWhen int

const (
	saveNever     saveWhen = iota
	saveOnLeaving          // when the guest is taken off its node, and has no part on a peer
	saveAlways             // at each stop
)

// notThere are the checks that a guest fails at a target which could not restore it either, and could boot it.
var notThere = []string{preflight.CheckHypervisor, preflight.CheckCPU}

// decideSave is the rule for a stop of a guest whose migration has failed, as why says, or not; reason says why a guest
// is not saved that should be.
func decideSave(p param.Params, why notes.Failure) (when saveWhen, reason string) {
	switch {
	case p.SavesTo() == "" || p.ForceStop:
		return saveNever, ""
	case p.Snapshot != "":
		return saveAlways, ""
	case !p.Ladder.Saves():
		return saveNever, ""
	case slices.Contains(notThere, why.Check):
		return saveNever, fmt.Sprintf("%s could not restore it: %s", why.Peer, why.Why)
	}
	return saveOnLeaving, ""
}

// saves reports whether the stop begins with saving the guest.
func (e *evacuation) saves(ctx context.Context) bool {
	when, reason := decideSave(e.params, e.why)
	if reason != "" {
		e.log.Warn("the guest is not saved, as " + reason)
	}
	if when != saveOnLeaving || !e.leaves() {
		return when == saveAlways
	}
	i, pending, err := e.pending()
	if err == nil && (!pending || e.isClear(ctx, i.Peer)) {
		return true
	}
	e.log.WithError(err).Warnf("the guest is not saved, as it may have a part at %s since its last migration", i.Peer)
	return false
}

// isClear reports whether the peer has nothing of the guest: what is saved here would else be restored beside it.
func (e *evacuation) isClear(ctx context.Context, peer string) bool {
	ctx, cancel := timely.Within(ctx, clearTime)
	defer cancel()
	for {
		if has, err := e.has(ctx, peer); err == nil && !has {
			return true
		}
		if wait.For(ctx, observe.PollInterval) != nil {
			return false
		}
	}
}

// record writes the record of a stop that took the guest off its node. A stop that an operator requested has none.
func (e *evacuation) record(ctx context.Context, began time.Time, rungs []record.RungTime, s *saver) {
	if len(rungs) == 0 || s.record.keep == nil || !e.leaves() {
		return
	}
	var size uint64
	if rungs[len(rungs)-1].Rung.Saves() {
		size = s.size(ctx)
	}
	s.record.ended(began, e.why, rungs, size)
}

// newEvacuation finds out why the guest is stopped. The question to the cluster manager costs the stop no time unless
// its answer decides how the guest ends; see [evacuation.saves].
func newEvacuation(ctx context.Context, a *run) *evacuation {
	e := &evacuation{params: a.Params, pending: a.pending, has: a.cluster.Has, log: a.Log}
	why, noted := a.recentFailure()
	switch {
	case noted:
		e.why, e.leaves = why, func() bool { return true }
	case a.Leaving == nil || a.Record == nil && !(a.Params.Ladder.Saves() && a.Params.SavesTo() != ""):
		e.leaves = func() bool { return false } // no manager knows, or nobody needs to know
	default:
		e.why.Why = "the cluster manager empties the node, and has requested no migration of the guest"
		e.leaves = askInBackground(ctx, a.Leaving, a.Log)
	}
	return e
}
