package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/hostproc/local"
	"github.com/vmferry/vmferry/resource/notes"
)

// tellMargin is what a forecast keeps of the time that a shutdown gives it, so that the last answer serves where no new
// one comes.
const tellMargin = 500 * time.Millisecond

// teller tells what becomes of the guests of this node when the node is emptied, and what has become of them. Its
// methods may be called from several goroutines at once.
type teller struct {
	managers func() []hbplugin.Manager // new ones for each call: each serves one goroutine
	notes    func() ([]notes.Guest, error)
	here     func(ctx context.Context) ([]string, error) // the resources whose guests have a process here
	records  func() ([]migrate.Record, error)
	open     func(ctx context.Context, uri string) (migrate.Host, error)
	run      resource.Command // for the program that tells a node's address
	exec     pacemaker.Runner // for Pacemaker's other programs
	node     string           // this node's name; empty: ask crm_node

	mu    sync.Mutex
	stop  context.CancelCauseFunc // ends the questions to the targets; nil where none are asked
	last  answer
	known map[string]notes.Guest // the last note of each resource, which goes when the guest leaves
}

// answer is what was said last.
type answer struct {
	forecast []hbplugin.Verdict // by the manager alone
	verdicts []hbplugin.Verdict // by the manager and the target
}

// hangingMost is how many questions to one libvirt may hang. Its daemon has 20 workers, which its own node needs.
const hangingMost = 16

// newTeller makes the one of the daemon.
func newTeller(c Config) *teller {
	return &teller{
		managers: func() []hbplugin.Manager { return newManagers(c) },
		notes:    func() ([]notes.Guest, error) { return notes.GuestsIn(c.GuestsDir).All() },
		here:     witnesses{dir: c.GuestsDir, list: local.List}.Here,
		records: func() ([]migrate.Record, error) {
			return migrate.ReadRecords(filepath.Join(notes.DefaultStateDir, migrate.RecordsFile))
		},
		open: client.Sparing(hangingMost, client.Opener(func(c *client.Conn) migrate.Host { return c })),
		run:  resource.Execute(os.Environ()),
		exec: pacemaker.Exec,
		node: c.Node,
	}
}

// survey is one look at the cluster managers.
type survey struct {
	running []hbplugin.Manager // those that run on this node: one at least
	standby bool               // all of them have the node in standby, and leave no guest on it
	busy    bool               // one is at work on a guest that is here
}

func look(ctx context.Context, managers []hbplugin.Manager) (survey, error) {
	s := survey{standby: true}
	for _, m := range managers {
		v, err := m.View(ctx)
		if err != nil {
			return survey{}, err
		}
		if v.Running {
			// Heartbeat's is in standby, too, where no other node is active to take its guests.
			left := slices.ContainsFunc(v.Guests, func(g hbplugin.Guest) bool { return g.Stuck != "" })
			s.running, s.standby = append(s.running, m), s.standby && v.Standby && !left
			s.busy = s.busy || slices.ContainsFunc(v.Guests, func(g hbplugin.Guest) bool { return g.Moving })
		}
	}
	if len(s.running) == 0 {
		return survey{}, errNoManager
	}
	return s, nil
}

// errShutdown is why questions to the targets were given up: the drain needs the machine.
var errShutdown = errors.New("a shutdown has begun")

// ask asks managers and targets what would become of each guest. It takes as long as the slowest target, within ctx,
// and ends with errShutdown when a shutdown begins.
func (t *teller) ask(ctx context.Context, managers []hbplugin.Manager) ([]hbplugin.Verdict, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.mu.Lock()
	t.stop = cancel
	t.mu.Unlock()
	now, err := t.answer(ctx, managers)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop = nil
	switch {
	case errors.Is(context.Cause(ctx), errShutdown):
		return nil, errShutdown
	case err != nil:
		return nil, err
	}
	t.last = now
	return now.verdicts, nil
}

func (t *teller) answer(ctx context.Context, managers []hbplugin.Manager) (now answer, err error) {
	for _, m := range managers {
		f, err := forecaster(m)
		if err != nil {
			return now, err
		}
		claims, err := f.Claims(ctx)
		if err != nil {
			return now, err
		}
		forecast, err := f.Forecast(ctx)
		if err != nil {
			return now, err
		}
		notes, err := t.note() // after the forecast: a guest that it has, and that has started just now, is noted by then
		if err != nil {
			return now, err
		}
		asker := verdict.For(f, t.open, t.run)
		asker.Forecast = func(context.Context) ([]hbplugin.Verdict, error) { return slices.Clone(forecast), nil }
		now.forecast = append(now.forecast, forecast...)
		said := asker.Ask(ctx, verdict.Guests(claims, notes))
		now.verdicts = append(now.verdicts, verdict.Foreign(said, forecast, claims, notes)...)
	}
	now.verdicts = append(now.verdicts, t.adrift(ctx, now.verdicts)...)
	return now, nil
}

// adrift are the verdicts of guests that run here without a resource, beside those that the managers have. Where that
// cannot be told there are none: a drain takes them for guests that may move.
func (t *teller) adrift(ctx context.Context, said []hbplugin.Verdict) (out []hbplugin.Verdict) {
	names, err := t.here(ctx)
	names = slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(said, func(v hbplugin.Verdict) bool { return v.Resource == name })
	})
	if err != nil || len(names) == 0 {
		return nil
	}
	claims, err := t.claims(ctx)
	if err != nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range shutdown.Adrift(names, claims) {
		out = append(out, hbplugin.Verdict{Resource: name, Fate: hbplugin.Stays, Why: "its resource was deleted while it ran",
			Remedy: "before the node goes down, type: vmferry migrate " + shellword.Operands(t.known[name].Guest, "NODE")})
	}
	return out
}

func forecaster(m hbplugin.Manager) (verdict.Manager, error) {
	f, ok := m.(verdict.Manager)
	if !ok {
		return nil, fmt.Errorf("%s does not say beforehand what it would do", m)
	}
	return f, nil
}

// note reads the agent's notes, and remembers them.
func (t *teller) note() ([]notes.Guest, error) {
	noted, err := t.notes()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known = map[string]notes.Guest{}
	}
	for _, n := range noted {
		t.known[n.Resource] = n
	}
	return noted, err
}

// foretell is for a shutdown: the managers are asked again, which takes them a fraction of a second, and the targets'
// word is that of the last time. With an error it returns what was said then.
func (t *teller) foretell(ctx context.Context) ([]hbplugin.Verdict, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-tellMargin))
		defer cancel()
	}
	_, _ = t.note() // what is missing is missing in the account alone
	t.mu.Lock()
	last := t.last
	if t.stop != nil {
		t.stop(errShutdown)
	}
	t.mu.Unlock()
	seen, err := look(ctx, t.managers())
	if errors.Is(err, errNoManager) {
		return nil, nil // the drain says so
	}
	if err != nil {
		return last.verdicts, err
	}
	var fresh []hbplugin.Verdict
	for _, m := range seen.running {
		f, err := forecaster(m)
		if err != nil {
			return last.verdicts, err
		}
		said, err := f.Forecast(ctx)
		if err != nil {
			return last.verdicts, err
		}
		fresh = append(fresh, said...)
	}
	return refresh(fresh, last), nil
}

// refresh joins a new forecast with the last verdicts: where the manager says what it said then, the target's word of
// then holds.
func refresh(fresh []hbplugin.Verdict, last answer) []hbplugin.Verdict {
	out := slices.Clone(fresh)
	for i, v := range out {
		of := func(o hbplugin.Verdict) bool { return o.Resource == v.Resource }
		then, now := slices.IndexFunc(last.forecast, of), slices.IndexFunc(last.verdicts, of)
		if then < 0 || now < 0 {
			continue
		}
		if f := last.forecast[then]; f.Fate == v.Fate && f.To == v.To && f.Why == v.Why {
			out[i] = last.verdicts[now]
		}
	}
	return out
}

// claims are the resources that the managers which run here are configured to run, wherever they are. Of Pacemaker's they
// are those of all agents: whoever has one of vmferry's notes may call the agent by a name that is not configured here.
func (t *teller) claims(ctx context.Context) ([]hbplugin.Claim, error) {
	seen, err := look(ctx, t.managers())
	if err != nil {
		return nil, err
	}
	var all []hbplugin.Claim
	for _, m := range seen.running {
		list := t.resources
		if m.String() != managerPacemaker {
			f, err := forecaster(m)
			if err != nil {
				return nil, err
			}
			list = f.Claims
		}
		claims, err := list(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, claims...)
	}
	return all, nil
}

// resources are the names of all that Pacemaker is configured to run.
func (t *teller) resources(ctx context.Context) ([]hbplugin.Claim, error) {
	out, err := t.exec(ctx, "cibadmin", "--query", "--scope=configuration")
	if err != nil {
		return nil, err
	}
	conf, err := cib.ParseConfig(bytes.NewReader(out))
	if err != nil {
		return nil, err
	}
	claims := make([]hbplugin.Claim, 0, len(conf.Resources))
	for _, r := range conf.Resources {
		claims = append(claims, hbplugin.Claim{Resource: r.ID})
	}
	return claims, nil
}

// trace is what is known of guests since a drain began: the records of this node, and where Pacemaker has each now.
func (t *teller) trace(ctx context.Context, guests []string, since time.Time) map[string]verdict.Trace {
	places, node, lost := t.places(ctx)
	records, err := t.records()
	lost = cmp.Or(lost, err)
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]verdict.Trace{}
	for _, g := range guests {
		out[g] = verdict.Trace{Node: node, Lost: lost, Nodes: places[g], Records: recordsOf(g, t.known[g], records, since)}
	}
	return out
}

// recordsOf are the records of a guest that ended since then. Without a note of it, the guest has the resource's name.
func recordsOf(name string, note notes.Guest, records []migrate.Record, since time.Time) (out []migrate.Record) {
	guest := cmp.Or(note.Guest, name)
	for _, r := range records {
		same := r.Guest == guest
		if note.UUID != "" && r.UUID != "" {
			same = strings.EqualFold(note.UUID, r.UUID)
		}
		if same && !r.Ended.Before(since) {
			out = append(out, r)
		}
	}
	return out
}

// places are the nodes on which Pacemaker has each resource, and this node's name. Heartbeat does not tell.
func (t *teller) places(ctx context.Context) (nodes map[string][]string, node string, err error) {
	seen, err := look(ctx, t.managers())
	if err != nil {
		return nil, "", err
	}
	isPacemaker := func(m hbplugin.Manager) bool { return m.String() == managerPacemaker }
	if !slices.ContainsFunc(seen.running, isPacemaker) {
		return nil, "", fmt.Errorf("%s does not tell where a guest runs", seen.running[0])
	}
	if node = t.node; node == "" {
		out, err := t.exec(ctx, "crm_node", "--name")
		if err != nil {
			return nil, "", err
		}
		node = strings.TrimSpace(string(out))
	}
	out, err := t.exec(ctx, "crm_mon", "--output-as=xml", "--exclude=all", "--include=nodes,resources", "-1")
	if err != nil {
		return nil, "", err
	}
	status, err := cib.ParseStatus(bytes.NewReader(out))
	if err != nil {
		return nil, "", err
	}
	nodes = map[string][]string{}
	for name, p := range status.Places {
		nodes[name] = p.Nodes
	}
	return nodes, node, nil
}
