package resource

import (
	"cmp"
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/route"
	"github.com/vmferry/vmferry/resource/savedstate"
	"github.com/vmferry/vmferry/resource/utilization"
)

// What an action is made of: each part gets what it needs of the action, and does not know the action.

// newObserver is for the guest of this action. A monitor that comes again soon need not read the processes where
// libvirt's answer decides alone. Other actions need the process itself, and so does a probe, after which nobody may
// come again.
func newObserver(a *run) *observe.Observer {
	return &observe.Observer{
		URI: a.Params.Hypervisor, Open: a.Open, Processes: a.Processes, CallTime: a.budget.call,
		SkipProcesses: a.isMonitor() && !a.Probe,
		IsNoted:       func() bool { return a.isNoted() }, IsClaimed: a.isClaimed, Log: a.Log,
	}
}

// newCluster is the other nodes, to be asked for the guest of this action.
func newCluster(a *run) *elsewhere.Cluster {
	return &elsewhere.Cluster{
		Guest: &a.guest.Identity, Resource: a.Instance, Node: a.Node, CallTime: a.budget.call, Log: a.Log,
		Open: a.Open, Peers: a.Peers, Runnable: a.Runnable,
		Census: elsewhere.Census{Notes: a.notes, Uptime: hostproc.Uptime},
		URI: func(ctx context.Context, node string) (string, error) {
			to, err := a.routes.To(ctx, node)
			return to.URI, err
		},
	}
}

func newGuestNotes(a *run) *guestNotes {
	return &guestNotes{
		store: a.notes, id: a.Instance, guest: &a.guest.Identity, peer: a.Target,
		step: a.step, log: a.Log, ends: a.began.Add(a.budget.end),
		entry: notes.Guest{Resource: a.Instance, URI: a.Params.Hypervisor, Priority: a.Params.DrainPriority},
	}
}

func newSaver(a *run) *saver {
	dir, uri := a.Params.SavesTo(), a.Params.Hypervisor
	return &saver{
		guest: a.guest, dir: dir, uri: uri, record: newRecorder(a), step: a.step, log: a.Log,
		survey: func() (savedstate.Place, error) {
			return savedstate.Survey(dir, cmp.Or(a.qemuDir, libvirt.QEMUDir), uri, a.config.domain.Text)
		},
	}
}

func newConfigSaver(a *run) configSaver {
	return configSaver{
		params: a.Params, config: &a.config, guest: a.guest, run: a.command, log: a.Log,
		age: func() (time.Duration, bool) { return a.notes.Guests.Age(a.Instance) },
	}
}

func newBrokenMigration(a *run) brokenMigration {
	return brokenMigration{guest: a.guest, pending: a.pending, run: a.command, log: a.Log}
}

func newImages(a *run) images {
	return images{config: &a.config, guest: &a.guest.Identity, mode: a.Params.Disks, log: a.Log}
}

func newAnnouncer(a *run) announcer {
	p := a.Params
	return announcer{
		notes: a.notes, guest: &a.guest.Identity, send: a.Announce, log: a.Log,
		expected: notes.Expected{Resource: a.Instance, URI: p.Hypervisor, Announce: p.Announce, Suffix: p.Suffix},
	}
}

func newRecorder(a *run) recorder {
	return recorder{keep: a.Record, guest: &a.guest.Identity, uri: a.Params.Hypervisor, node: a.Node}
}

// newRoutes is the table of the ways that the action looks up.
func newRoutes(a *run) *route.Table {
	address := func(ctx context.Context, node string) (string, error) {
		return AddressOf(ctx, a.Params, a.command, node)
	}
	return route.NewTable(a.Params.Routes(), address, a.Log)
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

func newStarter(a *run) *starter {
	return &starter{
		Agent: a.Agent, schedule: a.schedule, guest: a.guest, lent: a.lent, config: &a.config, notes: a.guestNotes,
		images: a.images, announcer: a.announcer, saver: a.saver, broken: a.broken, routes: a.routes,
		cluster: a.cluster, command: a.command, step: a.step,
		waitRunning: a.waitRunning, settleIn: a.settleIn,
	}
}

func newStopper(a *run) *stopper {
	return &stopper{
		schedule: a.schedule, params: a.Params, isGuessed: a.guess, guest: a.guest, notes: a.guestNotes,
		configs: a.configSaver, saver: a.saver, broken: a.broken, step: a.step, log: a.Log,
		why: func(ctx context.Context) *evacuation { return newEvacuation(ctx, a) },
	}
}

func newMigrator(a *run) *migrator {
	return &migrator{
		Agent: a.Agent, schedule: a.schedule, guest: a.guest, config: &a.config, notes: a.guestNotes, images: a.images,
		configs: a.configSaver, routes: a.routes, cluster: a.cluster, step: a.step,
	}
}

// newUtilization keeps the attributes of the resource; without Pacemaker there are none.
func newUtilization(a *run) utilization.Updater {
	u := utilization.Updater{
		Resource: a.Instance, Node: a.Node, XenAgent: a.Params.XMFile != "", Run: Command(a.command).explained,
		Notes: a.notes, Log: a.Log,
		Size: func(ctx context.Context) (info libvirt.Info, err error) {
			err = a.guest.Call(ctx, func(conn Hypervisor) error {
				info, err = conn.Info(ctx, a.guest.Ref())
				return err
			})
			return info, err
		},
	}
	if a.Pacemaker {
		u.Attributes = a.Params.Utilization
	}
	return u
}
