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

	params  Params
	pending func() (i notes.Intent, ok bool, err error)
	has     func(ctx context.Context, peer string) (bool, error) // the guest is there, or a part of it
	log     logrus.FieldLogger
}

// askInBackground asks the cluster manager whether it empties this node; the function that it returns waits for the
// answer.
func askInBackground(ctx context.Context, ask func(context.Context) (bool, error), log logrus.FieldLogger) func() bool {
	ctx, cancel := within(ctx, leavingTime)
	answer := make(chan bool, 1)
	go func() {
		leaving, err := ask(ctx)
		if err != nil {
			log.WithError(err).Warn("it is not known whether the cluster manager empties this node: " +
				"the guest is stopped as by an operator")
		}
		answer <- err == nil && leaving
	}()
	return sync.OnceValue(func() bool {
		defer cancel()
		select {
		case leaving := <-answer:
			return leaving
		case <-ctx.Done():
		}
		select {
		case leaving := <-answer: // it came in time, and was used later
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
func decideSave(p Params, why notes.Failure) (when saveWhen, reason string) {
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
	ctx, cancel := within(ctx, clearTime)
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
