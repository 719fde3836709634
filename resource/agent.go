package resource

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/route"
)

// Hypervisor is a connection to one libvirt. Errors are those of package migrate/libvirt; every method returns at
// the end of its context. A name may be a [libvirt.Ref], by which another guest of that name is not found.
type Hypervisor interface {
	// Status is the state of the guest; libvirt.ErrNoDomain says that it is not known here, by its UUID where name
	// has one.
	Status(ctx context.Context, name string) (libvirt.Status, error)
	// Create starts the guest that xml describes, and defines nothing.
	Create(ctx context.Context, xml string) error
	// Shutdown asks the guest to shut down and does not wait. mode is "acpi", "agent",
	// or empty for the driver's choice.
	Shutdown(ctx context.Context, name, mode string) error
	// Destroy stops the guest at once.
	Destroy(ctx context.Context, name string) error
	// Close gives the connection back.
	Close() error
	// AbortJob ends a migration or a saving of the guest that is under way; the guest stays.
	AbortJob(ctx context.Context, name string) error
	Keeper
}

// Witness finds and kills what runs guests without libvirt: QEMU's processes, or Xen's domains. Package
// witness/local has the real ones.
type Witness interface {
	// Find lists the processes of the guest on this node; an error means "cannot tell".
	Find(ctx context.Context, name, uuid string) ([]hostproc.Process, error)
	// Kill ends the process, with SIGTERM and after grace with SIGKILL; nil is proof of
	// its exit.
	Kill(ctx context.Context, p hostproc.Process, grace time.Duration) error
}

// Gentle is a Witness that can ask a guest to shut down, too.
type Gentle interface {
	// Shutdown asks the guest, with mode as the parameter shutdown_mode has it, and waits for its end; nil is proof
	// of that.
	Shutdown(ctx context.Context, p hostproc.Process, mode string) error
}

// Waker is a Witness that knows a guest which stands still since a hand-over or a saving of it failed, and can let
// it go on.
type Waker interface {
	// Halted tells whether the guest is here and stands still so; an error means "cannot tell".
	Halted(ctx context.Context, name, uuid string) (bool, error)
	// Wake lets that guest go on here. It is for one that runs nowhere else.
	Wake(ctx context.Context, name, uuid string) error
}

// Aborter is a Witness that can give up the migration of a guest where libvirt's driver cannot.
type Aborter interface {
	// Abort gives up what copies the guest from here, and does not wait for its end. The guest stays, maybe as a Waker
	// tells. An error says that nothing was given up.
	Abort(ctx context.Context, name, uuid string) error
}

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
	Open    func(ctx context.Context, uri string) (Hypervisor, error)
	Migrate func(ctx context.Context, m Move) error // returns when the guest runs at the target, proven, or with an error
	Witness Witness
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
	Announce func(ctx context.Context, guest notes.Expected)
	Command  Command           // runs programs; nil where nothing but looking is possible, see ErrMore
	Fetch    bool              // a start moves a guest that runs on a peer to here, live, instead of refusing
	Step     func(step string) // called at each of [Steps]; may be nil
	RunDir   string            // state that ends with the boot, normally notes.DefaultRunDir
	StateDir string            // state that outlives it, normally notes.DefaultStateDir
	Log      logrus.FieldLogger

	readFile func(path string) ([]byte, error) // in place of readConfig, for a test
	qemuDir  string                            // in place of libvirt.QEMUDir, for a test
}

// run is one action under way.
type run struct {
	Agent
	action string
	budget budget
	began  time.Time
	guest  identity
	meant  *identity // the guest of a config file that was edited while guest ran
	lent   bool      // guest has its UUID from libvirt, and will have another one after its end
	guess  bool      // guest is named after the config file's name only
	config configState
	conn   Hypervisor
	routes *route.Table

	rungs []migrate.RungTime // what a stop has tried

	disputed time.Time // since when libvirt has called a guest here of which there is no process

	notes       notes.Store
	*guestNotes // set once the guest is known
	saver       *saver
}

// configState is what came of reading the config file.
type configState struct {
	domain domain // valid when err is nil
	err    error  // why the file cannot be used
}

// at makes a context that ends when the given part of the action's time is over.
func (a *run) at(ctx context.Context, part time.Duration) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, a.began.Add(part))
}
