package resource

import (
	"context"
	"errors"
	"github.com/sirupsen/logrus"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/route"
	"time"
)

// Agent is the resource agent for one call. All fields but Environ's contents, Peers and
// Step are required.
type Agent struct {
	param.Environ
	Open func(ctx context.Context, uri string) (observe.Hypervisor, error)
	// Migrate returns when the guest runs at the target, proven, or with an error.
	Migrate   func(ctx context.Context, m param.Move) error
	Processes observe.Processes
	// Peers lists the other nodes of the cluster; nil where no manager can be asked.
	Peers func(ctx context.Context) ([]elsewhere.Peer, error)
	// Runnable names the nodes that may run the resource at all; nil where no manager knows, and all are asked before
	// a start.
	Runnable func(ctx context.Context, resource string) ([]string, error)
	// Leaving reports whether the cluster manager empties this node: it is in standby, or the manager shuts
	// down. nil where no manager knows.
	Leaving func(ctx context.Context) (bool, error)
	// Record stores the record of a guest that left the node, or came to it, otherwise than by Migrate;
	// nil where nobody does.
	Record func(migrate.Record)
	// Announce tells the network that the guest runs here now. It returns at the end of its
	// context, or when it is done; nil announces nothing.
	Announce func(ctx context.Context, guest notes.Expected)
	Command  command.Runner    // runs programs; nil where nothing but looking is possible, see ErrMore
	Fetch    bool              // a start moves a guest that runs on a peer to here, live, instead of refusing
	Step     func(step string) // called at each of [Steps]; may be nil
	RunDir   string            // state that ends with the boot, normally notes.DefaultRunDir
	StateDir string            // state that outlives it, normally notes.DefaultStateDir
	Log      logrus.FieldLogger

	readFile func(path string) ([]byte, error) // in place of domainxml.ReadFile, for a test
	qemuDir  string                            // in place of libvirt.QEMUDir, for a test
}

// run is one action under way.
type run struct {
	Agent
	schedule
	action  string
	guest   *observe.Observer
	lent    bool // guest has its UUID from libvirt, and will have another one after its end
	guess   bool // guest is named after the config file's name only
	config  configState
	routes  *route.Table
	cluster *elsewhere.Cluster

	notes       notes.Store
	*guestNotes // set once the guest is known
	saver       *saver
	images      images
	announcer   announcer
	configSaver configSaver
	broken      brokenMigration
}

// configState is what came of reading the config file.
type configState struct {
	domain domainxml.Domain // valid when err is nil
	err    error            // why the file cannot be used
}

func (a *run) isMonitor() bool { return a.action == "monitor" || a.action == "status" }

// command runs a program for the action.
func (a *run) command(ctx context.Context, name string, args ...string) (string, error) {
	if a.Command == nil {
		return "", errNoCommand
	}
	return a.Command(ctx, name, args...)
}

var errNoCommand = errors.New("no programs can be run here")

// Reserves of an action with the usual timeout. Shorter timeouts scale them down.
const (
	// destroyReserve is what a stop keeps for destroying: libvirt's destroy gives
	// QEMU 10 s after SIGTERM and then up to 5 s after SIGKILL.
	destroyReserve = 17 * time.Second
	// killReserve is the end of that, for our own SIGTERM and SIGKILL.
	killReserve = 5 * time.Second
	// answerReserve is for reporting, before the manager kills the agent.
	answerReserve = time.Second
	// callLimit is how long one question to libvirt may take. A daemon that needs
	// longer is called blocked.
	callLimit = 10 * time.Second
	// checkReserve is for looking where the guest is after a migration that failed. The
	// migration keeps its own reserve for taking itself back.
	checkReserve = 3 * time.Second
	// startReserve is what a start that waits for another node keeps for the guest itself.
	startReserve = 15 * time.Second
)

// budget is how an action's time is spent, each counted from its start.
type budget struct {
	end      time.Duration // all work ends
	save     time.Duration // a stop: saving the guest is given up, so that it can still shut down
	graceful time.Duration // a stop: patience with the guest ends, destroy begins
	destroy  time.Duration // a stop: patience with libvirt ends, kill begins
	migrate  time.Duration // a migration must have returned
	wait     time.Duration // a start: patience with what is on its way between nodes ends
	stable   time.Duration // an unclear answer is taken as it is
	call     time.Duration // length of one question to libvirt
}

// newBudget divides a timeout, which must be positive.
func newBudget(timeout time.Duration) budget {
	end := timeout - min(answerReserve, timeout/10)
	reserve := min(destroyReserve, timeout/2)
	return budget{
		end:      end,
		save:     (end - reserve) * 2 / 3, // the guest's own shutdown gets the rest
		graceful: end - reserve,
		destroy:  end - min(killReserve, reserve/3),
		migrate:  end - min(checkReserve, timeout/10),
		wait:     end - min(startReserve, timeout/4),
		stable:   end / 2,
		call:     min(callLimit, timeout/3),
	}
}

// within shortens a stop's patience to what the parameters say. What follows it keeps its time.
func (b budget) within(p param.Params, timeout time.Duration) budget {
	b.graceful = p.ShutdownTime(b.graceful, timeout)
	b.save = b.graceful * 2 / 3
	return b
}

// schedule is when an action began, and how it spends its time.
type schedule struct {
	budget budget
	began  time.Time
}

// until is when the given part of the action's time is over.
func (s schedule) until(part time.Duration) time.Time { return s.began.Add(part) }

// at makes a context that ends when the given part of the action's time is over.
func (s schedule) at(ctx context.Context, part time.Duration) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, s.until(part))
}
