package resource

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/notes"
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
}

// evacuates finds out why the guest is stopped. The question to the cluster manager costs the stop no time unless its
// answer decides how the guest ends; see [run.saves].
func (a *run) evacuates(ctx context.Context) evacuation {
	if why, noted := a.failedMove(); noted {
		return evacuation{why, func() bool { return true }}
	}
	if a.Leaving == nil || a.Record == nil && !a.maySave() {
		return evacuation{leaves: func() bool { return false }} // nobody can tell, or needs to know
	}
	ctx, cancel := within(ctx, leavingTime)
	answer := make(chan bool, 1)
	go func() {
		leaving, err := a.Leaving(ctx)
		if err != nil {
			a.Log.WithError(err).Warn("cannot tell whether this node is emptied: the guest is stopped as by an operator")
		}
		answer <- err == nil && leaving
	}()
	return evacuation{
		why: notes.Failure{Why: "the cluster manager empties the node, and has requested no migration of the guest"},
		leaves: sync.OnceValue(func() bool {
			defer cancel()
			select {
			case leaving := <-answer:
				return leaving
			case <-ctx.Done():
			}
			select {
			case leaving := <-answer: // it came in time, and was asked for later
				return leaving
			default:
				return false
			}
		}),
	}
}

// maySave tells whether the guest's ladder has the rung and a place for it.
func (a *run) maySave() bool { return a.Params.MayUse(ladder.Save) && a.Params.savesTo() != "" }

// notThere are the checks that a guest fails at a target which could not restore it either, and could boot it.
var notThere = []string{migrate.CheckHypervisor, migrate.CheckCPU}

// saves tells whether the stop begins with saving the guest.
func (a *run) saves(ctx context.Context, d evacuation) bool {
	p, why := a.Params, d.why
	switch {
	case p.savesTo() == "" || p.ForceStop:
		return false
	case p.Snapshot != "": // at each stop
	case !p.MayUse(ladder.Save) || !d.leaves():
		return false
	case slices.Contains(notThere, why.Check):
		a.Log.Warnf("the guest is not saved, as %s could not restore it: %s", why.Peer, why.Why)
		return false
	}
	i, pending, err := a.pending()
	if err == nil && !pending {
		return true
	}
	if err == nil && a.isClear(ctx, i.Peer) {
		return true
	}
	a.Log.WithError(err).Warnf("the guest is not saved, as it may have a part at %s since its last migration", i.Peer)
	return false
}

// isClear tells whether the peer has nothing of the guest: what is saved here would else be restored beside it.
func (a *run) isClear(ctx context.Context, peer string) bool {
	ctx, cancel := within(ctx, clearTime)
	defer cancel()
	for {
		status, err := a.askPeer(ctx, peer)
		if errors.Is(err, libvirt.ErrNoDomain) || err == nil && (!status.State.Active() || a.isOther(status.UUID)) {
			return true
		}
		if !pause(ctx, pollInterval) {
			return false
		}
	}
}

// account writes the record of a stop that took the guest off its node. A stop that an operator asked for has none.
func (a *run) account(ctx context.Context, d evacuation) {
	if len(a.rungs) == 0 || a.Record == nil || !d.leaves() {
		return
	}
	r, why := a.newRecord(a.began), d.why
	r.To, r.Outcome, r.Rungs, r.Error = why.Peer, migrate.Ended, a.rungs, why.Why
	r.Rung = a.rungs[len(a.rungs)-1].Rung
	if r.Rung == ladder.Save {
		r.Transferred = a.savedBytes(ctx)
	}
	a.Record(r)
}

// recordRestored writes the record of a guest that was brought back from file.
func (a *run) recordRestored(file string, began time.Time) {
	if a.Record == nil {
		return
	}
	r := a.newRecord(began)
	r.From, r.To, r.Outcome, r.Rung = file, a.Node, migrate.Restored, ladder.Save
	r.Steps = []migrate.Step{{Name: "restore", Begin: began, MS: r.DurationMS}}
	ctx, cancel := context.WithTimeout(context.Background(), tidyTime)
	defer cancel()
	if info, err := timelyValue(ctx, func() (fs.FileInfo, error) { return os.Stat(file) }); err == nil {
		r.Notes = []string{"the guest was saved until " + info.ModTime().UTC().Format(time.RFC3339)}
	}
	a.Record(r)
}

func (a *run) newRecord(began time.Time) migrate.Record {
	now := time.Now()
	return migrate.Record{
		Schema: migrate.RecordSchema, Guest: a.guest.Name, UUID: a.guest.UUID, From: a.Params.Hypervisor,
		Started: began, Ended: now, DurationMS: float64(now.Sub(began).Microseconds()) / 1000, Steps: []migrate.Step{},
	}
}
