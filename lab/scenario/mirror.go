package scenario

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/lab/mirrored"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/notes"
)

// The mirror of the demo's guest. The interval is short, so that some rounds are to be seen in little time.
const (
	mirrorInterval = 3 * time.Second
	mirrorMaxLoss  = 60 * time.Second
	mirrorNoise    = 24                    // MiB of its disk beside the ledger
	mirrorPace     = 50 * time.Millisecond // between two numbers: the client remembers those of ten seconds at least
	mirrorCalm     = 1500 * time.Millisecond
	mirrorLook     = 100 * time.Millisecond
	mirrorWhole    = time.Minute // for a replica to be whole
)

// MakeMirrored makes the guest of the scenarios of two nodes that share no disk, but for its disk, which is a node's own.
func MakeMirrored(ctx context.Context, c *cluster.Cluster, shared string) ([]Guest, error) {
	kind := Kind{Name: "ledger", First: 74, MemoryMiB: guest.MinMemoryMiB, Ledger: true}
	guests, err := kind.Make(ctx, c, shared, 1)
	for i := range guests {
		for _, p := range mirrored.Parameters([2]string(c.Nodes), mirrorInterval, mirrorMaxLoss) {
			guests[i].More = append(guests[i].More, cluster.Parameter{Name: p[0], Value: p[1]})
		}
	}
	return guests, err
}

// mirroring is the scenarios of two nodes that share no disk, with one guest.
type mirroring struct {
	*Runner
	guest  Guest
	view   mirrored.View
	watch  *mirrorWatch
	client *ledger.Client
	hangUp func() // ends the client, and returns when it has ended
	lost   []ledger.Ack
}

// Mirrored runs the scenarios of two nodes that share no disk, and adds them to the report. dir is the lab's folder. Unless
// leave is set, the nodes are left without the guest, and do not remember it.
func (r *Runner) Mirrored(ctx context.Context, dir string, leave bool, rep *report.Report) error {
	if len(r.Guests) != 1 {
		return fmt.Errorf("the scenarios of nodes that share no disk need 1 guest, and got %d", len(r.Guests))
	}
	view := mirrored.View{Dir: dir}
	m := &mirroring{Runner: r, guest: r.Guests[0], view: view, hangUp: func() {},
		watch: &mirrorWatch{nodes: r.Cluster.Nodes, look: lookAt(r.Cluster, view, r.Guests[0])}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.watch.run(ctx) })
	group.Go(func() error {
		defer cancel()
		defer func() { m.hangUp() }()
		err := m.scenes(ctx, rep)
		rep.Mirror = m.watch.told(m.guest.Name)
		if err == nil && !leave {
			err = m.forget(ctx)
		}
		return err
	})
	return group.Wait()
}

// scenes runs them. The second one needs what the first one leaves.
func (m *mirroring) scenes(ctx context.Context, rep *report.Report) error {
	first, second := m.Cluster.Nodes[0], m.Cluster.Nodes[1]
	if err := m.begin(ctx, first, second); err != nil {
		return err
	}
	for _, scene := range []func() (report.Scenario, error){
		func() (report.Scenario, error) { return m.crash(ctx, first, second) },
		func() (report.Scenario, error) { return m.comeBack(ctx, first, second, rep) },
		func() (report.Scenario, error) { return m.drain(ctx, second, first) },
		func() (report.Scenario, error) { return m.drain(ctx, first, second) },
	} {
		s, err := scene()
		if err != nil {
			return err
		}
		rep.Scenarios = append(rep.Scenarios, s)
		if !s.Passed { // the others would fail because of it
			return nil
		}
	}
	return nil
}

// begin has the guest run on the first node, with a whole replica on the second one.
func (m *mirroring) begin(ctx context.Context, first, second string) error {
	if err := m.Take(ctx); err != nil {
		return err
	}
	m.Progress("making the guest's disk")
	m.forgetEpochs(ctx)
	if err := m.Cluster.Everywhere(ctx, "bash", "-euc", "rm --force "+m.files()+"; "+mirrored.Pool); err != nil {
		return err
	}
	if _, err := m.Cluster.Run(ctx, first, "bash", "-euc", mirrored.LedgerDisk(m.disk(), mirrorNoise)); err != nil {
		return err
	}
	// A node that is fenced stays off, so that its return is a scene of its own.
	if _, err := m.Cluster.Run(ctx, first, "crm_attribute", "--type=crm_config", "--name=stonith-action", "--update=off"); err != nil {
		return err
	}
	begun := time.Now()
	if err := m.Place(ctx, cluster.Ours, first); err != nil {
		return err
	}
	m.dial()
	return m.awaitWhole(ctx, second, begun)
}

func (m *mirroring) disk() string { return mirrored.Disk(m.guest.Name) }

// files are all that a node has of the guest, as patterns of the shell.
func (m *mirroring) files() string {
	return m.disk() + "* " + filepath.Join(mirror.DefaultDir, m.guest.UUID) + ".*"
}

// forgetEpochs has Pacemaker forget the guest's epochs. It fails where there are none.
func (m *mirroring) forgetEpochs(ctx context.Context) {
	for _, name := range m.Cluster.Nodes {
		_, _ = m.Cluster.Run(ctx, m.Cluster.Nodes[0], "crm_attribute", "--type=nodes", "--node="+name,
			"--name="+mirrored.Attribute(m.guest.Name), "--delete")
	}
}

// forget leaves the nodes as they were.
func (m *mirroring) forget(ctx context.Context) error {
	m.hangUp()
	if err := m.Remove(ctx, m.Cluster.Nodes[0]); err != nil {
		return err
	}
	m.forgetEpochs(ctx)
	_, err := m.Cluster.Run(ctx, m.Cluster.Nodes[0], "crm_attribute", "--type=crm_config", "--name=stonith-action", "--delete")
	return errors.Join(err, m.Cluster.Everywhere(ctx, "bash", "-c", "rm --force "+m.files()))
}

// dial starts another client, which knows of no number yet.
func (m *mirroring) dial() {
	m.client = &ledger.Client{Address: m.guest.at(ledger.Port), Pace: mirrorPace, Quiet: time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func(c *ledger.Client) { defer close(done); c.Run(ctx) }(m.client)
	m.hangUp = func() { cancel(); <-done }
}

// awaitWhole waits until a node has a whole replica of what the guest had written at some time after since.
func (m *mirroring) awaitWhole(ctx context.Context, node string, since time.Time) error {
	m.Progress("waiting for a whole replica on " + node)
	ctx, cancel := context.WithTimeoutCause(ctx, mirrorWhole, fmt.Errorf("%s are over", mirrorWhole))
	defer cancel()
	return m.until(ctx, "a whole replica on "+node, func() (bool, error) {
		own, err := m.view.Manifest(node, m.guest.UUID)
		return err == nil && own != nil && own.Role == mirror.Replica && !own.Applying && own.Taken().After(since), err
	})
}

// until looks often, as what it looks at are files, or costs as little.
func (m *mirroring) until(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok && err == nil {
			return nil
		}
		if wait.For(ctx, mirrorLook) != nil {
			return errors.Join(fmt.Errorf("wait for %s: %w", what, context.Cause(ctx)), err)
		}
	}
}

// observed runs a scene and adds what became of the numbers. What is in vain afterwards is a failure of the scene: the page
// shows it.
func (m *mirroring) observed(ctx context.Context, sc scene, l *report.Ledger) (report.Scenario, error) {
	sc.calm = mirrorCalm
	sc.tell = m.tell
	after := sc.after
	sc.after = func(ctx context.Context, o *Observation) error {
		if err := after(ctx, o); err != nil && ctx.Err() == nil {
			o.Failures = append(o.Failures, err.Error())
		}
		return ctx.Err()
	}
	s, err := m.observe(ctx, cluster.Ours, sc)
	s.Ledger = l
	return s, err
}

// crash kills the node of the guest some time after a round, so that there is something to lose.
func (m *mirroring) crash(ctx context.Context, from, to string) (report.Scenario, error) {
	if err := m.awaitWhole(ctx, to, time.Now()); err != nil {
		return report.Scenario{}, err
	}
	var acked []ledger.Ack
	var crashed time.Time
	l := new(report.Ledger)
	return m.observed(ctx, scene{name: report.MirrorCrash, from: from, to: to,
		trigger: func(ctx context.Context) error {
			_, err := supervisor.Ask(ctx, m.Cluster.Control, supervisor.Request{Op: supervisor.OpKill, Node: from})
			crashed = time.Now()
			m.hangUp()
			acked = m.client.Acked()
			return err
		},
		after: func(ctx context.Context, o *Observation) error {
			m.dial()
			soon, cancel := context.WithTimeout(ctx, m.profile().limits.start)
			defer cancel()
			var has ledger.Scan
			err := m.until(soon, "the guest to say what it has", func() (ok bool, err error) {
				n, _ := m.client.Last()
				if n > 0 {
					has, err = m.client.Records(soon)
				}
				return n > 0, err
			})
			if err != nil {
				return err
			}
			said, err := m.said(ctx, to)
			if err != nil {
				o.Failures = append(o.Failures, err.Error())
			}
			var failures []string
			*l, m.lost, failures = toldByLedger(crashed, acked, has, m.watch.taken(to), said)
			o.Failures = append(o.Failures, failures...)
			return nil
		}}, l)
}

// said is how much the agent has said to be lost at most, at the last start on a node.
func (m *mirroring) said(ctx context.Context, node string) (time.Duration, error) {
	log, err := m.Cluster.Run(ctx, node, "journalctl", "--boot", "--no-pager", "--quiet", "--output=cat", "--identifier=vmferry-agent")
	if err != nil {
		return 0, err
	}
	return mirrored.SaidLoss(log)
}

// comeBack boots the node that died. The guest must not notice.
func (m *mirroring) comeBack(ctx context.Context, from, at string, rep *report.Report) (report.Scenario, error) {
	l := new(report.Ledger)
	return m.observed(ctx, scene{name: report.MirrorReturn, from: from, to: at, homes: map[string]string{m.guest.Name: at},
		trigger: func(ctx context.Context) error { return m.powerOn(ctx, from) },
		after: func(ctx context.Context, o *Observation) error {
			if err := m.awaitMember(ctx); err != nil {
				return err
			}
			if err := m.awaitWhole(ctx, from, o.Trigger); err != nil {
				return err
			}
			if m.view.Has(from, m.disk()) {
				o.Failures = append(o.Failures, m.disk()+" is still on "+from)
			}
			old, err := m.view.Ledger(from, m.disk()+mirror.OldSuffix)
			if err != nil {
				return err
			}
			missing, _ := mirrored.Lost(m.lost, old)
			if len(missing) > 0 {
				o.Failures = append(o.Failures, fmt.Sprintf("the image that %s has put aside lacks %d numbers that were lost", from,
					len(missing)))
			}
			if crash := rep.Scenarios[len(rep.Scenarios)-1].Ledger; crash != nil {
				crash.Kept = new(len(m.lost) - len(missing))
			}
			return m.verify(ctx, o, l)
		}}, l)
}

// drain puts the node of the guest in standby, and out of it when it has become the replica.
func (m *mirroring) drain(ctx context.Context, from, to string) (report.Scenario, error) {
	l := new(report.Ledger)
	standby := func(ctx context.Context, how string) error {
		_, err := m.Cluster.Run(ctx, to, "crm_attribute", "--type=nodes", "--node="+from, "--name=standby", how)
		return err
	}
	return m.observed(ctx, scene{name: report.MirrorDrain, from: from, to: to,
		trigger: func(ctx context.Context) error { return standby(ctx, "--update=on") },
		after: func(ctx context.Context, o *Observation) error {
			if err := m.awaitWhole(ctx, from, time.Now()); err != nil {
				return err
			}
			o.tell(time.Now(), from, "the replica is whole")
			if err := standby(ctx, "--delete"); err != nil {
				return err
			}
			return m.verify(ctx, o, l)
		}}, l)
}

// verify compares all numbers that this client remembers with what the guest has.
func (m *mirroring) verify(ctx context.Context, o *Observation, l *report.Ledger) error {
	l.Acked = len(m.client.Acked())
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return m.until(ctx, "the guest to say what it has", func() (bool, error) {
		found, err := m.client.Verify(ctx)
		l.Lost += len(found.Lost)
		if err == nil && (!found.Good() || found.Damaged > 0) {
			o.Failures = append(o.Failures, fmt.Sprintf("the guest has lost something: %+v", found))
		}
		return err == nil, err
	})
}

// tell adds what the nodes' files, journals and records say since the trigger. A node that is off says nothing.
func (m *mirroring) tell(ctx context.Context, o *Observation) error {
	o.Told = append(o.Told, m.watch.since(o.Trigger)...)
	for _, name := range m.Cluster.Nodes {
		text, err := m.Cluster.Run(ctx, name, "journalctl", "--output=short-unix", "--no-pager", "--quiet",
			"--since=@"+strconv.FormatInt(o.Trigger.Unix(), 10), "--identifier=corosync", "--identifier=pacemaker-controld",
			"--identifier=vmferry-agent", "--identifier=vmferry-mirror")
		if errors.Is(err, cluster.ErrDown) {
			continue
		}
		if err != nil {
			return err
		}
		o.Told = append(o.Told, toldByJournal(text, name, o.Trigger)...)
		// A node on which nothing has moved yet has no such file.
		records, _ := m.Cluster.Run(ctx, name, "cat", filepath.Join(notes.DefaultStateDir, history.RecordsFile))
		o.Told = append(o.Told, toldByMoves(records, name, o.Trigger)...)
	}
	return nil
}

// lookAt reads what the nodes have of a guest.
func lookAt(c *cluster.Cluster, view mirrored.View, g Guest) func(context.Context) ([]glance, error) {
	return func(ctx context.Context) (all []glance, err error) {
		reply, err := c.State(ctx)
		for _, name := range c.Nodes {
			own, merr := view.Manifest(name, g.UUID)
			err = errors.Join(err, merr)
			all = append(all, glance{manifest: own, aside: view.Has(name, mirrored.Disk(g.Name)+mirror.OldSuffix),
				off: reply.Nodes[name].Leader == 0})
		}
		return all, err
	}
}

// run looks until ctx ends. A look that fails is left out: a file may be in the middle of its node's death.
func (w *mirrorWatch) run(ctx context.Context) error {
	for wait.For(ctx, mirrorLook) == nil {
		if all, err := w.look(ctx); err == nil {
			w.mu.Lock()
			w.note(time.Now(), all)
			w.mu.Unlock()
		}
	}
	return nil
}

// told is all that was seen so far.
func (w *mirrorWatch) told(guest string) *report.Mirror {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &report.Mirror{Guest: guest, Nodes: w.nodes, IntervalS: mirrorInterval.Seconds(), MaxLossS: mirrorMaxLoss.Seconds(),
		Holdings: slices.Clone(w.holdings), Rounds: slices.Clone(w.rounds)}
}

// since are the changes since an instant.
func (w *mirrorWatch) since(t time.Time) []report.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return toldByHoldings(w.holdings, t)
}

// taken is when the newest replica of a node was taken that it ever had; zero where it had none.
func (w *mirrorWatch) taken(node string) (newest time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.rounds {
		if r.Node == node {
			newest = r.Taken
		}
	}
	return newest
}
