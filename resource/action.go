package resource

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/resource/observe"
)

// actions are those that look at a guest. Meta-data and usage need no Agent.
var actions = map[string]func(*run, context.Context) error{
	"start":        func(r *run, ctx context.Context) error { return (&starter{run: r}).start(ctx) },
	"stop":         func(r *run, ctx context.Context) error { return (&stopper{r}).stop(ctx) },
	"monitor":      (*run).monitor,
	"status":       (*run).monitor,
	"migrate_to":   func(r *run, ctx context.Context) error { return (&emigration{run: r}).migrateTo(ctx) },
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
	r := &run{Agent: a, action: action, budget: newBudget(timeout).within(a.Params, timeout), began: time.Now(), state: stateDir(a.RunDir), lasting: stateDir(a.StateDir)}
	r.guest = r.observer()
	ctx, cancel := context.WithTimeout(ctx, r.budget.end)
	defer cancel()
	defer r.guest.Disconnect()
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
	r.guest.Log, r.cluster = r.Log, newCluster(r)
	r.expect()
	r.step("begin")
	err := r.tidyUtilization(ctx, do(r, ctx))
	r.step("end")
	return err
}

// observer looks at the guest of this action. A monitor that comes again soon need not read the processes where libvirt's
// answer decides alone. Other actions need the process itself, and so does a probe, after which nobody may come again.
func (a *run) observer() *observe.Observer {
	return &observe.Observer{
		URI: a.Params.Hypervisor, Open: a.Open, Processes: a.Processes, CallTime: a.budget.call,
		SkipProcesses: a.isMonitor() && !a.Probe, IsNoted: a.isNoted, IsClaimed: a.isClaimed, Log: a.Log,
	}
}

// isClaimed tells whether what was found under a guessed name is the guest of another resource, as noted here.
func (a *run) isClaimed(uuid string) bool {
	if !a.guess {
		return false
	}
	entries, _ := Guests(filepath.Join(a.RunDir, guestsDir)) // a note that cannot be read claims nothing
	return slices.ContainsFunc(entries, func(e Entry) bool {
		return e.Resource != a.Instance && e.UUID != "" && strings.EqualFold(e.UUID, uuid)
	})
}
