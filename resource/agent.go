package resource

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/elsewhere"
)

type (
	// Hypervisor is a connection to one libvirt.
	Hypervisor = observe.Hypervisor
	// observation is one look at a guest by libvirt and by the processes.
	observation = observe.Observation
)

// Move is a live migration to make.
type Move struct {
	Guest      string
	UUID       string        // empty when it is not known
	SourceURI  string        // this node's libvirt
	Target     string        // the target node's name
	TargetURI  string        // the target's libvirt, as seen from here
	MigrateURI string        // where the memory goes; empty lets libvirt choose
	Bandwidth  uint64        // MiB/s, 0 for no limit
	Downtime   time.Duration // longest pause to allow, 0 for no such bound
	Tuning                   // how, beyond that
	Adopt      bool          // one to this target was begun before: where it is under way, wait for it
	Fetch      bool          // this node is the target, and the source another
	Relay      bool          // what comes in here while the guest is stopped is passed on to the target
	Rest       time.Duration // how long after the guest runs there nothing is done that can wait
	Others     func() bool   // other guests of this node wait for its end; nil for none
}

// Agent is the resource agent for one call. All fields but Environ's contents, Peers and
// Step are required.
type Agent struct {
	Environ
	Open      func(ctx context.Context, uri string) (Hypervisor, error)
	Migrate   func(ctx context.Context, m Move) error // returns when the guest runs at the target, proven, or with an error
	Processes observe.Processes
	// Peers lists the other nodes of the cluster; nil where no manager can be asked.
	Peers func(ctx context.Context) ([]Peer, error)
	// Runnable names the nodes that may run the resource at all; nil where nobody can tell, and all are asked before a start.
	Runnable func(ctx context.Context, resource string) ([]string, error)
	// Leaving tells whether the cluster manager empties this node: it is in standby, or the manager shuts
	// down. nil where nobody can tell.
	Leaving func(ctx context.Context) (bool, error)
	// Record keeps the account of a guest that left the node, or came to it, otherwise than by Migrate;
	// nil where nobody does.
	Record func(migrate.Record)
	// Announce tells the network that the guest runs here now. It returns at the end of its
	// context, or when all is said; nil says nothing.
	Announce func(ctx context.Context, guest Expected)
	Command  Command           // runs programs; nil where nothing but looking is possible, see ErrMore
	Fetch    bool              // a start moves a guest that runs on a peer to here, live, instead of refusing
	Step     func(step string) // called at each of [Steps]; may be nil
	RunDir   string            // state that ends with the boot, normally DefaultRunDir
	StateDir string            // state that outlives it, normally DefaultStateDir
	Log      logrus.FieldLogger

	readFile func(path string) ([]byte, error) // in place of readConfig, for a test
	qemuDir  string                            // in place of libvirt.QEMUDir, for a test
}

// Where the agent keeps its state.
const (
	DefaultRunDir   = "/run/vmferry"
	DefaultStateDir = "/var/lib/vmferry"
)

// run is one action under way.
type run struct {
	Agent
	action  string
	budget  budget
	began   time.Time
	guest   *observe.Observer
	lent    bool // guest has its UUID from libvirt, and will have another one after its end
	guess   bool // guest is named after the config file's name only
	config  configState
	routes  routes
	cluster *elsewhere.Cluster

	rungs   []migrate.RungTime // what a stop has tried
	refused bool               // libvirt itself said that it could not save the guest
	saving  bool               // libvirt was asked to save the guest, and this was not seen to end

	state   stateDir // ends with the boot
	lasting stateDir // does not
}

// configState is what came of reading the config file.
type configState struct {
	domain domain // valid when err is nil
	err    error  // why the file cannot be used
}

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

func (a *run) isMonitor() bool { return a.action == "monitor" || a.action == "status" }

// isNoted tells whether the guest was seen to run here.
func (a *run) isNoted() bool {
	_, noted := a.state.age(guestsDir, a.Instance)
	return noted
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

// until is when the given part of the action's time is over.
func (a *run) until(part time.Duration) time.Time { return a.began.Add(part) }

// at makes a context that ends when the given part of the action's time is over.
func (a *run) at(ctx context.Context, part time.Duration) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, a.until(part))
}

// record notes that the guest runs here, for the node daemon.
func (a *run) record(o observation) error {
	return a.state.hold(Entry{Guest: a.guest.Name, UUID: o.UUID(), Resource: a.Instance, URI: a.Params.Hypervisor, Priority: a.Params.DrainPriority})
}

// keep is record where a failure to write must not fail the action: the guest does run.
func (a *run) keep(o observation) {
	if err := a.record(o); err != nil {
		a.Log.WithError(err).Error("the node daemon will not see this guest: make the state directory writable")
	}
}

// forget removes the note. A note that stays makes the daemon wait for a guest that has left.
func (a *run) forget() {
	if err := a.state.release(a.Instance); err != nil {
		a.Log.WithError(err).Error("the node daemon may wait for this guest in vain: remove the file by hand")
	}
	a.forgetUtilization()
}
