package resource

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/resource/notes"
)

// actions are those that look at a guest. Meta-data and usage need no Agent.
var actions = map[string]func(*run, context.Context) error{
	"start":        (*run).start,
	"stop":         (*run).stop,
	"monitor":      (*run).monitor,
	"status":       (*run).monitor,
	"migrate_to":   (*run).migrateTo,
	"migrate_from": (*run).migrateFrom,
	"reload-agent": (*run).reload,
	"validate-all": (*run).validate,
}

// Run does one action and returns nil or an error with an exit code, see [CodeOf]. It
// ends before the action's timeout, and earlier when ctx ends. Killed at any point, it can be run again.
func (a Agent) Run(ctx context.Context, action string) error {
	do, ok := actions[action]
	if !ok {
		return fail(Unimplemented, "unknown action %q: use %s", action, Usage)
	}
	timeout := a.Timeout
	if timeout <= 0 {
		timeout = defaults[action]
	}
	r := &run{Agent: a, action: action, budget: newBudget(timeout).within(a.Params, timeout), began: time.Now(), notes: notes.Open(a.RunDir, a.StateDir)}
	ctx, cancel := context.WithTimeout(ctx, r.budget.end)
	defer cancel()
	defer r.disconnect()
	r.recall()
	if err := r.check(action); err != nil {
		return err
	}
	for _, name := range a.Ignored {
		r.Log.Debugf("parameter %s has no meaning for this agent and is ignored", name)
	}
	for _, p := range a.overlooked(action) {
		r.Log.Warnf("the guest could not be moved: %s", p.Err.Reason)
	}
	if err := r.identify(ctx); err != nil {
		return err
	}
	r.Log = a.Log.WithFields(logrus.Fields{"guest": r.guest.Name, "phase": action})
	if a.Node != "" {
		r.Log = r.Log.WithField("node", a.Node)
	}
	r.guestNotes, r.saver = newGuestNotes(r), newSaver(r)
	r.routes = newRoutes(r)
	r.expect()
	r.step("begin")
	err := r.tidyUtilization(ctx, do(r, ctx))
	r.step("end")
	return err
}
