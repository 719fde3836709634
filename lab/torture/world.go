package torture

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/lab/scenario"
)

// ErrUnable is the error of a fault that this world cannot carry out. It is counted as skipped.
var ErrUnable = errors.New("not possible here")

// Way is what a node reaches others by.
type Way string

// The ways.
const (
	Link    Way = "link"    // the messages of cluster manager and guard
	Inward  Way = "inward"  // those that come from the other nodes, and not those that go to them
	Network Way = "network" // all between the nodes
	Gateway Way = "gateway" // the addresses of the ping list
	Storage Way = "storage" // disks and lease
)

// World is a cluster with guests that can be broken. A method that breaks or mends returns when that is done, and not
// when the cluster has recovered; of a node that is down it is an error that wraps cluster.ErrDown. All of them end
// with ctx.
type World interface {
	// Prepare starts the guests, and a bystander on each node. It returns the guests' names and what recoveries may
	// take.
	Prepare(ctx context.Context) ([]string, Limits, error)
	// Service is the address of a guest's ledger, as HOST:PORT.
	Service(guest string) string

	// Crash cuts a node's power. It boots again by itself.
	Crash(ctx context.Context, node string) error
	// Hang stops all processes of a node at once, and Wake lets them go on. To wake a node that does not hang is no
	// error.
	Hang(ctx context.Context, node string) error
	// Wake is the end of Hang.
	Wake(ctx context.Context, node string) error
	// Cut cuts a node off on one way, and Heal mends that. To mend what is not cut is no error.
	Cut(ctx context.Context, node string, way Way) error
	// Heal is the end of Cut.
	Heal(ctx context.Context, node string, way Way) error
	// Kill kills what a kind of fault that begins with "kill" names.
	Kill(ctx context.Context, node string, what Kind) error
	// KillAgent has a guest moved between node and another one, and kills the agent that carries it out, delay after it
	// was seen.
	KillAgent(ctx context.Context, node string, delay time.Duration) error
	// Fill takes all room on a node's own disk, and Free gives it back.
	Fill(ctx context.Context, node string) error
	// Free is the end of Fill.
	Free(ctx context.Context, node string) error
	// StepClock sets a node's wall clock forward, or back.
	StepClock(ctx context.Context, node string, by time.Duration) error
	// Reboot reboots a node in an orderly way, and returns when it boots again.
	Reboot(ctx context.Context, node string) error
	// Move has the manager move a guest of the node to another one, or, where it has none, a guest to it.
	Move(ctx context.Context, node string) error

	// Settled is nil when all nodes are members, nothing changes hands and the manager is sure of every guest;
	// otherwise it says what is missing.
	Settled(ctx context.Context) error
	// Bystanders are the processes outside the cluster's care, by node. One that has ended is missing.
	Bystanders(ctx context.Context) (map[string]Process, error)
	// Renew does what an operator does after each recovery: failed actions are forgotten, and a bystander that has
	// ended is started again.
	Renew(ctx context.Context) error
	// Seen are all copies of a guest since Prepare, their events, and the times in which a node could not write.
	Seen(ctx context.Context, guest string) ([]scenario.Copy, []scenario.Event, []scenario.Bar, error)
	// Status asks a guest for the record on its disk, which it writes ten times a second whatever its clients do.
	Status(ctx context.Context, guest string) (guest.Status, error)
	// Evidence is what helps to understand a failure, such as the nodes' logs since then; it is written to a file.
	Evidence(ctx context.Context, since time.Time, to io.Writer) error
	// Mend brings a cluster back that did not recover by itself: by force, with whatever it takes.
	Mend(ctx context.Context) error
	// End stops the guests and reads their ledgers from the storage's side.
	End(ctx context.Context) (map[string]ledger.Scan, error)
}

// Process is a process that is told from every other by its number and its start.
type Process struct {
	PID   int
	Start uint64 // proc_pid_stat(5) field 22, clock ticks after boot
}
