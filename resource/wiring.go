package resource

import (
	"cmp"
	"context"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/route"
	"github.com/vmferry/vmferry/resource/savedstate"
	"github.com/vmferry/vmferry/resource/utilization"
)

// What an action is made of: each part gets what it needs of the action, and does not know the action.

func newGuestNotes(a *run) *guestNotes {
	return &guestNotes{
		store: a.notes, id: a.Instance, guest: &a.guest, peer: a.Target,
		step: a.step, log: a.Log, ends: a.began.Add(a.budget.end),
		entry: notes.Guest{Resource: a.Instance, URI: a.Params.Hypervisor, Priority: a.Params.DrainPriority},
	}
}

func newSaver(a *run) *saver {
	dir, uri := a.Params.savesTo(), a.Params.Hypervisor
	return &saver{
		observer: a, guest: &a.guest, dir: dir, uri: uri, witness: a.Witness, record: newRecorder(a), log: a.Log,
		survey: func() (savedstate.Place, error) {
			return savedstate.Survey(dir, cmp.Or(a.qemuDir, libvirt.QEMUDir), uri, a.config.domain.text)
		},
	}
}

func newRecorder(a *run) recorder {
	return recorder{keep: a.Record, guest: &a.guest, uri: a.Params.Hypervisor, node: a.Node}
}

// newRoutes is the table of the ways that the action looks up.
func newRoutes(a *run) *route.Table {
	address := func(ctx context.Context, node string) (string, error) {
		return a.Params.AddressOf(ctx, a.command, node)
	}
	return route.NewTable(a.Params.routes(), address, a.Log)
}

// newEvacuation finds out why the guest is stopped. The question to the cluster manager costs the stop no time unless
// its answer decides how the guest ends; see [evacuation.saves].
func newEvacuation(ctx context.Context, a *run) *evacuation {
	e := &evacuation{params: a.Params, pending: a.pending, has: a.isAt, log: a.Log}
	why, noted := a.recentFailure()
	switch {
	case noted:
		e.why, e.leaves = why, func() bool { return true }
	case a.Leaving == nil || a.Record == nil && !(a.Params.MayUse(ladder.Save) && a.Params.savesTo() != ""):
		e.leaves = func() bool { return false } // no manager knows, or nobody needs to know
	default:
		e.why.Why = "the cluster manager empties the node, and has requested no migration of the guest"
		e.leaves = askInBackground(ctx, a.Leaving, a.Log)
	}
	return e
}

// newUtilization keeps the attributes of the resource; without Pacemaker there are none.
func newUtilization(a *run) utilization.Updater {
	u := utilization.Updater{
		Resource: a.Instance, Node: a.Node, XenAgent: a.Params.XMFile != "", Run: Command(a.command).explained,
		Notes: a.notes, Log: a.Log,
		Size: func(ctx context.Context) (info libvirt.Info, err error) {
			conn, err := a.connect(ctx)
			if err == nil {
				info, err = conn.Info(ctx, a.ref())
				a.dropBroken(err)
			}
			return info, err
		},
	}
	if a.Pacemaker {
		u.Attributes = a.Params.Utilization
	}
	return u
}
