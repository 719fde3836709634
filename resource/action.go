package resource

import (
	"context"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocf/metadata"
)

// actions are those that look at a guest. Meta-data and usage need no Agent.
var actions = map[string]func(*run, context.Context) error{
	"start":        func(r *run, ctx context.Context) error { return newStarter(r).start(ctx) },
	"stop":         func(r *run, ctx context.Context) error { return newStopper(r).stop(ctx) },
	"monitor":      (*run).monitor,
	"status":       (*run).monitor,
	"migrate_to":   func(r *run, ctx context.Context) error { return newMigrator(r).migrateTo(ctx) },
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
	a.guest.Log, a.guestNotes, a.saver = a.Log, newGuestNotes(a), newSaver(a)
	a.routes, a.cluster, a.images = newRoutes(a), newCluster(a), newImages(a)
	a.configSaver, a.broken = newConfigSaver(a), newBrokenMigration(a)
	if a.announcer = newAnnouncer(a); !a.guess && slices.Contains(expecting, a.action) {
		a.announcer.expect()
	}
	return nil
}
