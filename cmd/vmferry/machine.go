package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/check"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/migrate/slot"
	"github.com/vmferry/vmferry/resource/agentd/admission"
	"github.com/vmferry/vmferry/resource/agentd/wire"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/hostproc/local"
	"github.com/vmferry/vmferry/resource/notes"
)

// machine is all that the program asks of what is outside it.
type machine struct {
	root      string // before each absolute path: empty, but in tests
	stateDir  string // where the records are
	slots     slot.Pool
	queue     migrate.Queue // of the node daemon; nil for none
	run       pacemaker.Runner
	open      inventory.Opener
	processes func(ctx context.Context, uris ...string) ([]hostproc.Process, error) // of the guests of these libvirts
	witness   func(uri string) local.Processes                                      // of the guests of this node's libvirt
	units     check.Units
	// forecast asks a manager what it would do.
	forecast func(ctx context.Context, m hbplugin.Cluster) ([]hbplugin.Verdict, error)
	delayMax func(ctx context.Context) (time.Duration, error)
	poll     time.Duration // from one look at the cluster to the next
	lines    time.Duration // between two lines of progress where there is no terminal
}

func newMachine() *machine {
	return &machine{
		stateDir:  environ("VMFERRY_STATE_DIR", notes.DefaultStateDir),
		queue:     admission.Queue(filepath.Join(notes.DefaultRunDir, wire.Socket), admission.Request{}),
		run:       pacemaker.Exec,
		open:      client.Opener(func(c *client.Conn) inventory.Host { return c }),
		processes: local.List,
		witness:   local.Of,
		units:     logind.System{},

		forecast: func(ctx context.Context, m hbplugin.Cluster) ([]hbplugin.Verdict, error) { return m.Forecast(ctx) },
		delayMax: logind.DelayMax,
		poll:     time.Second,
		lines:    5 * time.Second,
	}
}

func environ(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}

// path is where a file of the system is.
func (m *machine) path(name string) string { return filepath.Join(m.root, name) }

// records is the file of the migrations that began on this node.
func (m *machine) records() string { return filepath.Join(m.stateDir, history.RecordsFile) }

// links is the file of what the links to the peers have carried.
func (m *machine) links() string { return filepath.Join(m.stateDir, history.LinksFile) }

// profiles is the file of what migrations have taught of the guests.
func (m *machine) profiles() string { return filepath.Join(m.stateDir, history.GuestsFile) }

// program runs a program of the cluster manager's.
func (m *machine) program(ctx context.Context, name string, args ...string) (string, error) {
	out, err := m.run(ctx, name, args...)
	return string(out), err
}
