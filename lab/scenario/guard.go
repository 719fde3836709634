package scenario

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/journal"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/notes"
)

// Guarded runs the scenarios of two nodes without a power switch, and adds them to the report. names are those that are
// wanted; none: both. shared is the folder of the lab that the nodes see as /shared.
func (r *Runner) Guarded(ctx context.Context, shared string, names []string, rep *report.Report) error {
	if len(r.Guests) != 2 {
		return fmt.Errorf("the scenarios without a power switch need 2 guests, one a node, and got %d", len(r.Guests))
	}
	watch := &leaseWatch{path: guarded.Lease(shared), nodes: r.Cluster.Nodes}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return watch.run(ctx) })
	group.Go(func() error {
		defer cancel()
		return r.guarded(ctx, watch, names, rep)
	})
	return group.Wait()
}

// guarded has one guest on each node, cuts the link, and lets the node hang that has both guests then.
func (r *Runner) guarded(ctx context.Context, watch *leaseWatch, names []string, rep *report.Report) error {
	first, second := r.Cluster.Nodes[0], r.Cluster.Nodes[1]
	if err := r.Take(ctx); err != nil {
		return err
	}
	homes := map[string]string{r.Guests[0].Name: first, r.Guests[1].Name: second}
	for _, name := range names {
		if name == report.SplitBrain {
			s, err := r.splitBrain(ctx, watch, homes, second, first)
			if err != nil {
				return err
			}
			rep.Scenarios = append(rep.Scenarios, s)
			homes = nil
			continue
		}
		if homes != nil {
			if err := r.Place(ctx, cluster.Ours, first); err != nil {
				return err
			}
		}
		s, err := r.hang(ctx, watch, first, second)
		if err != nil {
			return err
		}
		rep.Scenarios = append(rep.Scenarios, s)
	}
	return nil
}

// splitBrain places the guests, cuts the link between the nodes, and heals it when the cluster has decided.
func (r *Runner) splitBrain(ctx context.Context, watch *leaseWatch, homes map[string]string, from, to string) (report.Scenario, error) {
	if err := r.placeAt(ctx, homes); err != nil {
		return report.Scenario{}, err
	}
	return r.observe(ctx, cluster.Ours, scene{
		name: report.SplitBrain, from: from, to: to, homes: homes,
		trigger: func(ctx context.Context) error { return r.link(ctx, "--append") },
		after: func(ctx context.Context, o *Observation) error {
			if err := wait.For(ctx, calm); err != nil {
				return err
			}
			o.tell(time.Now(), "", "the link is healed")
			if err := r.link(ctx, "--delete"); err != nil {
				return err
			}
			if err := r.awaitRejoined(ctx, watch); err != nil {
				o.Failures = append(o.Failures, err.Error())
			}
			return ctx.Err()
		},
		tell: func(ctx context.Context, o *Observation) error { return r.tellAll(ctx, watch, o) },
	})
}

// hang stops every process of a node, and lets them go on when its guests answer on the other node.
func (r *Runner) hang(ctx context.Context, watch *leaseWatch, from, to string) (report.Scenario, error) {
	power := func(ctx context.Context, op supervisor.Op) error {
		_, err := supervisor.Ask(ctx, r.Cluster.Control, supervisor.Request{Op: op, Node: from})
		return err
	}
	return r.observe(ctx, cluster.Ours, scene{
		name: report.Hang, from: from, to: to,
		trigger: func(ctx context.Context) error { return power(ctx, supervisor.OpFreeze) },
		after: func(ctx context.Context, o *Observation) error {
			o.Woken = time.Now()
			o.tell(o.Woken, from, "wakes up")
			return power(ctx, supervisor.OpThaw)
		},
		tell: func(ctx context.Context, o *Observation) error {
			events, failures := o.toldByWoken()
			o.Told, o.Failures = append(o.Told, events...), append(o.Failures, failures...)
			return r.tellAll(ctx, watch, o)
		},
	})
}

func (o *Observation) tell(at time.Time, node, what string) {
	o.Told = append(o.Told, report.Event{At: at, Node: node, What: what})
}

// placeAt has each guest run on its node.
func (r *Runner) placeAt(ctx context.Context, homes map[string]string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.limit(r.profile().limits.start), errors.New("the guests did not start"))
	defer cancel()
	for _, g := range r.Guests {
		r.Progress(fmt.Sprintf("starting %s on %s", g.Name, homes[g.Name]))
		if err := r.InCharge().AddGuests(ctx, cluster.Ours, []cluster.Guest{g.Guest}, homes[g.Name]); err != nil {
			return err
		}
	}
	if err := forgetNeighbours(r.Guests); err != nil {
		return err
	}
	return cluster.Await(ctx, "each guest to answer on its node", func(ctx context.Context) (bool, error) {
		for _, g := range r.Guests {
			if err := r.InCharge().Holds(ctx, []cluster.Guest{g.Guest}, homes[g.Name]); err != nil {
				return false, err
			}
			if _, err := r.ask(ctx, g); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

// link cuts or heals, on both nodes, what the cluster and the guard of the other one send.
func (r *Runner) link(ctx context.Context, how string) error {
	nodes := r.Cluster.Nodes
	for i, name := range nodes {
		rule := guarded.LinkRule(r.Cluster.Addresses[nodes[1-i]])
		args := append([]string{"--wait", how, "INPUT"}, rule...)
		if _, err := r.Cluster.Run(ctx, name, "iptables", append(args, "--jump=DROP")...); err != nil {
			return err
		}
	}
	return nil
}

// rejoinTime bounds the time from the heal until the node that surrendered holds its lease again.
const rejoinTime = 20 * time.Second

// awaitRejoined waits until both nodes are members and hold their leases.
func (r *Runner) awaitRejoined(ctx context.Context, watch *leaseWatch) error {
	ctx, cancel := context.WithTimeoutCause(ctx, rejoinTime, fmt.Errorf("%s are over", rejoinTime))
	defer cancel()
	return cluster.Await(ctx, "the node that surrendered to join again", func(ctx context.Context) (bool, error) {
		if !watch.held() {
			return false, errors.New("a lease is not held")
		}
		m, err := r.Cluster.Monitor(ctx, r.Cluster.Nodes[0])
		return err == nil && m.Ready(r.Cluster.Nodes...), err
	})
}

// tellAll adds what the lease device, the guards' records and the nodes' journals say since the trigger.
func (r *Runner) tellAll(ctx context.Context, watch *leaseWatch, o *Observation) error {
	o.Told = append(o.Told, watch.since(o.Trigger)...)
	for _, name := range r.Cluster.Nodes {
		// A node on which the guard has done nothing yet has no such file.
		records, _ := r.Cluster.Run(ctx, name, "cat", filepath.Join(notes.DefaultStateDir, journal.File))
		o.Told = append(o.Told, toldByRecords(records, o.Trigger)...)
		text, err := r.Cluster.Run(ctx, name, "journalctl", "--output=short-unix", "--no-pager", "--quiet",
			"--since=@"+strconv.FormatInt(o.Trigger.Unix(), 10), "--identifier=corosync", "--identifier=pacemaker-controld")
		if err != nil {
			return err
		}
		o.Told = append(o.Told, toldByJournal(text, name, o.Trigger)...)
	}
	return nil
}

// lookEvery is how often the lease device is read.
const lookEvery = 50 * time.Millisecond

// leaseWatch reads the lease device again and again.
type leaseWatch struct {
	path  string
	nodes []string

	mu     sync.Mutex
	last   blocks
	events []report.Event
}

// run reads until ctx ends.
func (w *leaseWatch) run(ctx context.Context) error {
	d, err := device.Open(w.path, false)
	if err != nil {
		return err
	}
	defer d.Close()
	for wait.For(ctx, lookEvery) == nil {
		now, err := readBlocks(d, len(w.nodes))
		if err != nil {
			return fmt.Errorf("read the lease device: %w", err)
		}
		w.mu.Lock()
		w.events = append(w.events, now.told(w.last, w.nodes, time.Now())...)
		w.last = now
		w.mu.Unlock()
	}
	return nil
}

// readBlocks reads the blocks of nodes 1 to n.
func readBlocks(d *device.Device, n int) (b blocks, err error) {
	for i := 1; i <= n; i++ {
		s, err := d.Slot(i)
		if err != nil {
			return b, err
		}
		b.slots = append(b.slots, s)
		for j := 1; j <= n; j++ {
			if i == j {
				continue
			}
			c, err := d.Claim(i, j)
			if err != nil {
				return b, err
			}
			b.claims = append(b.claims, c)
		}
	}
	return b, nil
}

// held reports whether every node holds its lease.
func (w *leaseWatch) held() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.last.slots {
		if s.State != lease.Held {
			return false
		}
	}
	return len(w.last.slots) > 0
}

// since are the changes since an instant.
func (w *leaseWatch) since(t time.Time) (events []report.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.At.After(t) {
			events = append(events, e)
		}
	}
	return events
}
