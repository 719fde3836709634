package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/term"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/resource/agentd/admission"
	"github.com/vmferry/vmferry/resource/agentd/wire"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/hostproc/local"
	"github.com/vmferry/vmferry/resource/notes"
)

// What one question to the machine may take: an answer that takes longer is a
// finding in itself.
const (
	libvirtTime = 10 * time.Second
	managerTime = 15 * time.Second
	systemdTime = 10 * time.Second
)

// host is one libvirt: what a migration needs of it, and a little more.
type host interface {
	migrate.Host
	// Active lists the names of the guests that run there.
	Active(ctx context.Context) ([]string, error)
	// Hostname is what that node calls itself.
	Hostname(ctx context.Context) (string, error)
}

// machine is all that the program asks of what is outside it.
type machine struct {
	root      string // before each absolute path: empty, but in tests
	stateDir  string // where the records are
	slots     migrate.Slots
	queue     migrate.Queue // of the node daemon; nil for none
	run       pacemaker.Runner
	open      func(ctx context.Context, uri string) (host, error)
	processes func(ctx context.Context, uris ...string) ([]hostproc.Process, error) // of the guests of these libvirts
	witness   func(uri string) local.Witness                                        // of the guests of this node's libvirt
	units     units
	// forecaster is the manager as one that tells beforehand what it would do; false where it is none.
	forecaster func(hbplugin.Manager) (hbplugin.Forecaster, bool)
	delayMax   func(ctx context.Context) (time.Duration, error)
	poll       time.Duration // from one look at the cluster to the next
	lines      time.Duration // between two lines of progress where there is no terminal
}

func newMachine() *machine {
	return &machine{
		stateDir:  environ("VMFERRY_STATE_DIR", notes.DefaultStateDir),
		queue:     admission.Queue(filepath.Join(notes.DefaultRunDir, wire.Socket), admission.Request{}),
		run:       pacemaker.Exec,
		open:      client.Opener(func(c *client.Conn) host { return c }),
		processes: local.List,
		witness:   local.Of,
		units:     systemd{},

		forecaster: forecaster,
		delayMax:   logind.DelayMax,
		poll:       time.Second,
		lines:      5 * time.Second,
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
func (m *machine) records() string { return filepath.Join(m.stateDir, migrate.RecordsFile) }

// links is the file of what the links to the peers have carried.
func (m *machine) links() string { return filepath.Join(m.stateDir, migrate.LinksFile) }

// profiles is the file of what migrations have taught of the guests.
func (m *machine) profiles() string { return filepath.Join(m.stateDir, migrate.GuestsFile) }

// ask connects to a libvirt, puts one question to it, and bounds the time of
// both.
func (m *machine) ask(ctx context.Context, uri string, question func(context.Context, host) error) error {
	ctx, cancel := context.WithTimeout(ctx, libvirtTime)
	defer cancel()
	h, err := m.open(ctx, uri)
	if err != nil {
		return err
	}
	defer h.Close()
	return question(ctx, h)
}

// isTerminal tells whether w is one, on which a line can be written again.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// nodeName is what the cluster calls this node, else its host name.
func (c *call) nodeName(ctx context.Context, managers []managed) (string, error) {
	if c.config.Node != "" {
		return c.config.Node, nil
	}
	for _, m := range managers {
		if m.pacemaker() {
			return c.crmNode(ctx)
		}
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name this node: %w", err)
	}
	return name, nil
}
