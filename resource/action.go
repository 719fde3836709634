package resource

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
	"github.com/vmferry/vmferry/resource/route"
	"github.com/vmferry/vmferry/resource/savedstate"
)

// actions are those that look at a guest. Meta-data and usage need no Agent.
var actions = map[string]func(*run, context.Context) error{
	"start":        func(r *run, ctx context.Context) error { return (&starter{run: r}).start(ctx) },
	"stop":         func(r *run, ctx context.Context) error { return (&stopper{run: r}).stop(ctx) },
	"monitor":      (*run).monitor,
	"status":       (*run).monitor,
	"migrate_to":   func(r *run, ctx context.Context) error { return (&migrator{run: r}).migrateTo(ctx) },
	"migrate_from": (*run).migrateFrom,
	"reload-agent": (*run).reload,
	"validate-all": (*run).validate,
}

// Run does one action and returns nil or an error with an exit code, see [CodeOf]. It
// ends before the action's timeout, and earlier when ctx ends. Killed at any point, it can be run again.
func (a Agent) Run(ctx context.Context, action string) error {
	do, ok := actions[action]
	if !ok {
		return ocf.Errorf(ocf.Unimplemented, "unknown action %q: use %s", action, ocf.Names())
	}
	r := newRun(a, action)
	ctx, cancel := context.WithTimeout(ctx, r.budget.end)
	defer cancel()
	defer r.guest.Disconnect()
	if err := r.prepare(ctx); err != nil {
		return err
	}
	r.step("begin")
	err := r.tidyUtilization(ctx, do(r, ctx))
	r.step("end")
	return err
}

func newRun(a Agent, action string) *run {
	timeout := a.Timeout
	if timeout <= 0 {
		timeout = metadata.Timeout(action)
	}
	r := &run{
		Agent: a, action: action, notes: notes.Open(a.RunDir, a.StateDir),
		schedule: schedule{newBudget(timeout).within(a.Params, timeout), time.Now()},
	}
	r.guest = newObserver(r)
	return r
}

// prepare checks the parameters and finds out which guest they are about.
func (a *run) prepare(ctx context.Context) error {
	a.recall()
	if err := a.Check(a.action); err != nil {
		return err
	}
	for _, name := range a.Ignored {
		a.Log.Debugf("parameter %s has no meaning for this agent and is ignored", name)
	}
	for _, p := range a.Overlooked(a.action) {
		a.Log.Warnf("the guest could not be moved: %s", p.Err.Reason)
	}
	if err := a.identify(ctx); err != nil {
		return err
	}
	a.Log = a.Log.WithFields(logrus.Fields{"guest": a.guest.Name, "phase": a.action})
	if a.Node != "" {
		a.Log = a.Log.WithField("node", a.Node)
	}
	a.equip()
	if !a.guess && slices.Contains(expecting, a.action) {
		a.announcer.expect()
	}
	return nil
}

// What an action is made of: each part gets what it needs of the action, and does not know the action.

// equip makes the parts of an action whose guest is known.
func (a *run) equip() {
	p, who := a.Params, &a.guest.Identity
	a.guest.Log = a.Log
	a.guestNotes = &guestNotes{
		store: a.notes, id: a.Instance, guest: who, peer: a.Target,
		step: a.step, log: a.Log, ends: a.began.Add(a.budget.end),
		entry: notes.Guest{Resource: a.Instance, URI: p.Hypervisor, Priority: p.DrainPriority, Params: a.Set},
	}
	a.saver, a.routes, a.cluster = newSaver(a), newRoutes(a), newCluster(a)
	a.images = images{config: &a.config, guest: who, mode: p.Disks, log: a.Log}
	a.configSaver = configSaver{
		params: p, config: &a.config, guest: a.guest, run: a.command, log: a.Log,
		age: func() (time.Duration, bool) { return a.notes.Guests.Age(a.Instance) },
	}
	a.broken = brokenMigration{guest: a.guest, pending: a.pending, run: a.command, log: a.Log}
	a.announcer = announcer{
		notes: a.notes, guest: who, send: a.Announce, log: a.Log,
		expected: notes.Expected{Resource: a.Instance, URI: p.Hypervisor, Announce: p.Announce, Suffix: p.Suffix},
	}
}

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

// newCluster is the other nodes, which are queried about the guest of this action.
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

func newSaver(a *run) *saver {
	dir, uri := a.Params.SavesTo(), a.Params.Hypervisor
	return &saver{
		guest: a.guest, dir: dir, uri: uri, step: a.step, log: a.Log,
		record: recorder{keep: a.Record, guest: &a.guest.Identity, uri: uri, node: a.Node},
		survey: func() (savedstate.Place, error) {
			return savedstate.Survey(dir, cmp.Or(a.qemuDir, libvirt.QEMUDir), uri, a.config.domain.Text)
		},
	}
}

// newRoutes is the table of the ways that the action looks up.
func newRoutes(a *run) *route.Table {
	ways := a.Params.Routes()
	address := func(ctx context.Context, node string) (string, error) { return ways.Address(ctx, a.command, node) }
	return route.NewTable(ways, address, a.Log)
}
