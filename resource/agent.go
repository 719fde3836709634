package resource

import (
	"context"
	"errors"
	"slices"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/route"
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
	// MayRun asks this node's guard whether guests may run on a node, this one or a peer, in bounded time: its error
	// says why not and what to do. nil where no guard is set up.
	MayRun func(ctx context.Context, node string) error
	// Record stores the record of a guest that left the node, or came to it, otherwise than by Migrate;
	// nil where nobody does.
	Record func(record.Record)
	Mirror Mirror // for guests whose disks are mirrored
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
	action      string
	guest       *observe.Observer
	hasMadeUUID bool // guest has its UUID from libvirt, and will have another one after its end
	guess       bool // guest is named after the config file's name only
	config      configState
	routes      *route.Table
	cluster     *elsewhere.Cluster

	notes       notes.Store
	*guestNotes // set once the guest is known
	saver       *saver
	images      images
	announcer   announcer
	configSaver configSaver
	broken      brokenMigration
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

// steps are the points of each action between which it changes something or is about to, in
// the order in which they are passed; not every call passes all of them. Whatever is killed
// at one of them, the action can be run again.
var steps = map[string][]string{
	"start":        {"begin", "proven", "judged", "promoted", "restoring", "created", "end"},
	"stop":         {"begin", "saving", "asked", "destroying", "killing", "end"},
	"monitor":      {"begin", "end"},
	"migrate_to":   {"begin", "intended", "moved", "end"},
	"migrate_from": {"begin", "intended", "end"},
}

// Steps lists the points of an action at which [Agent.Step] is called, in their order; none
// for an action that changes nothing.
func Steps(action string) []string { return slices.Clone(steps[action]) }

// step reports that a point was reached.
func (a *run) step(name string) {
	a.Log.WithField("step", name).Debug("reached")
	if a.Step != nil {
		a.Step(name)
	}
}
