package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/check"
	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/migrate/slot"
	"github.com/vmferry/vmferry/resource/agentd/admission"
	"github.com/vmferry/vmferry/resource/agentd/wire"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/hostproc/local"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
)

// machine is all that the program asks of what is outside it.
type machine struct {
	root      string // before each absolute path: empty, but in tests
	stateDir  string // where the records are
	slots     slot.Pool
	queue     migrate.Queue // of the node daemon; nil for none
	run       command.Runner
	open      inventory.Opener
	processes func(ctx context.Context, uris ...string) ([]hostproc.Process, error) // of the guests of these libvirts
	// of the guests of this node's libvirt
	witness func(uri string) local.Processes
	units   check.Units
	// forecast asks a manager what it would do.
	forecast func(ctx context.Context, m hbplugin.Cluster) ([]hbplugin.Verdict, error)
	delayMax func(ctx context.Context) (time.Duration, error)
	poll     time.Duration          // from one look at the cluster to the next
	answer   func() (string, error) // reads one line of the operator; nil where there is no terminal
	lines    time.Duration          // between two lines of progress where there is no terminal
}

func newMachine() *machine {
	m := &machine{
		stateDir:  ocf.Variable(os.Environ(), "VMFERRY_STATE_DIR", notes.DefaultStateDir),
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
	if isTerminal(os.Stdin) {
		m.answer = func() (string, error) { return bufio.NewReader(os.Stdin).ReadString('\n') }
	}
	return m
}

// path is where a file of the system is.
func (m *machine) path(name string) string { return filepath.Join(m.root, name) }

// records is the file of the migrations that began on this node.
func (m *machine) records() string { return filepath.Join(m.stateDir, history.RecordsFile) }

// links is the file of what the links to the peers have carried.
func (m *machine) links() string { return filepath.Join(m.stateDir, history.LinksFile) }

// profiles is the file of what migrations have taught of the guests.
func (m *machine) profiles() string { return filepath.Join(m.stateDir, history.GuestsFile) }

// candidates are the managers that the configuration allows.
func (c *call) candidates() []hbplugin.Cluster {
	p := &pacemaker.Client{Agents: c.config.Agents, Node: c.config.Node, Run: c.run, Proc: c.path("/proc"),
		Etc: c.path("/etc")}
	h := &heartbeat.Client{Node: c.config.Node, Run: c.run, Proc: c.path("/proc"),
		PIDFile:     c.path("/run/heartbeat.pid"),
		Haresources: c.path("/etc/ha.d/haresources")}
	if c.root != "" {
		h.Scripts = c.path("/usr/share/heartbeat")
	}
	return managers.Select(c.config, p, h)
}

// survey finds out which guests are here.
func (c *call) survey(ctx context.Context) *inventory.Inventory {
	return inventory.Sources{Managers: c.candidates(), Node: c.config.Node, GuestsDir: c.config.GuestsDir, Path: c.path,
		Open: c.open, Processes: c.processes}.Survey(ctx)
}

const (
	// forecastTime bounds the manager's forecast: Pacemaker's scheduler runs once for it.
	forecastTime = 30 * time.Second
	// predictTime bounds all verdicts of a node together.
	predictTime = 5 * time.Minute
)

// predict asks what becomes of each guest of this node when the node goes into standby, and says so meanwhile.
// Nothing is changed. Who gives no answer in time is Unknown, as is everybody when ctx ends.
func (c *call) predict(ctx context.Context, inv *inventory.Inventory) []inventory.Prediction {
	ctx, cancel := context.WithTimeoutCause(ctx, predictTime, fmt.Errorf("not all was answered within %v", predictTime))
	defer cancel()
	verdicts := map[string][]hbplugin.Verdict{}
	for _, m := range inv.Managers {
		if guests := inv.ManagedBy(m); len(guests) > 0 {
			c.printf("asking %s what becomes of %s", m, verdict.Count(len(guests), "guest"))
			verdicts[m.String()] = c.ask(ctx, m, guests)
		}
	}
	return inv.Predict(verdicts)
}

// ask has the verdicts of the guests that one manager has here.
func (c *call) ask(ctx context.Context, m inventory.Manager, guests []verdict.Guest) []hbplugin.Verdict {
	meter := c.meter()
	defer meter.end()
	asker := verdict.For(m, c.open.Host, c.run)
	asker.Forecast = func(ctx context.Context) ([]hbplugin.Verdict, error) { return c.managersForecast(ctx, m) }
	examine := asker.Examine
	asker.Examine = func(ctx context.Context, req migrate.Request) (migrate.Examination, error) {
		doing := fmt.Sprintf("asking node %s about guest %s", req.Target, req.Guest)
		meter.show(time.Now(), doing, doing)
		return examine(ctx, req)
	}
	return asker.Ask(ctx, guests)
}

func (c *call) managersForecast(ctx context.Context, m inventory.Manager) ([]hbplugin.Verdict, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, forecastTime, fmt.Errorf("no answer within %v", forecastTime))
	defer cancel()
	return c.forecast(ctx, m.Cluster)
}

var errNoManager = errors.New("no cluster manager runs on this node: type systemctl start pacemaker, or heartbeat; " +
	"a guest that no cluster has is moved with vmferry migrate GUEST NODE")

// manager is the one that runs here, and this node's name. It refuses the name of any node but this one: a manager
// takes standby for another node too, but nobody would count the guests there.
func (c *call) manager(ctx context.Context, node string) (m inventory.Manager, own string, err error) {
	found := inventory.Managers(ctx, c.candidates())
	switch {
	case len(found) == 0:
		return m, "", errNoManager
	case len(found) > 1:
		return m, "", fmt.Errorf("both pacemaker and heartbeat run on this node: name one of them as manager in %s",
			c.configPath)
	case found[0].Err != nil:
		return m, "", fmt.Errorf("%s does not answer: %w: type systemctl status %[1]s", found[0], found[0].Err)
	}
	own, err = inventory.NodeName(ctx, c.config.Node, found)
	if err == nil && node != "" && !strings.EqualFold(node, own) {
		err = misuse("%s: this is node %q: on %s, type vmferry %s", c.name, own, node, c.name)
	}
	return found[0], own, err
}

// drained is the note that an operator has drained this node with this program.
func (c *call) drained() shutdown.Intent { return shutdown.OperatorIntent(c.path(c.config.StateDir)) }

// forShutdown is vmferryd's own note.
func (c *call) forShutdown() shutdown.Intent { return shutdown.DaemonIntent(c.path(c.config.StateDir)) }

const byDrain = "vmferry drain"

// standbyBy says who has put the node into standby.
func (c *call) standbyBy() string {
	if ours, err := c.drained().Exists(); err == nil && ours {
		return byDrain
	}
	if ours, err := c.forShutdown().Exists(); err == nil && ours {
		return "vmferryd"
	}
	return "somebody else"
}
