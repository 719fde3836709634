package resource

import (
	"context"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/route"
)

type (
	// Hypervisor is a connection to one libvirt.
	Hypervisor = observe.Hypervisor
	// observation is one look at a guest by libvirt and by the processes.
	observation = observe.Observation
)

// Agent is the resource agent for one call. All fields but Environ's contents, Peers and
// Step are required.
type Agent struct {
	Environ
	Open func(ctx context.Context, uri string) (Hypervisor, error)
	// Migrate returns when the guest runs at the target, proven, or with an error.
	Migrate   func(ctx context.Context, m Move) error
	Processes observe.Processes
	// Peers lists the other nodes of the cluster; nil where no manager can be asked.
	Peers func(ctx context.Context) ([]Peer, error)
	// Runnable names the nodes that may run the resource at all; nil where no manager knows, and all are asked before
	// a start.
	Runnable func(ctx context.Context, resource string) ([]string, error)
	// Leaving reports whether the cluster manager empties this node: it is in standby, or the manager shuts
	// down. nil where no manager knows.
	Leaving func(ctx context.Context) (bool, error)
	// Record stores the record of a guest that left the node, or came to it, otherwise than by Migrate;
	// nil where nobody does.
	Record func(record.Record)
	// Announce tells the network that the guest runs here now. It returns at the end of its
	// context, or when it is done; nil announces nothing.
	Announce func(ctx context.Context, guest notes.Expected)
	Command  Command           // runs programs; nil where nothing but looking is possible, see ErrMore
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
