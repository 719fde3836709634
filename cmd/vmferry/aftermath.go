package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource"
)

// settleTime is how long drain waits, once the node is empty, until the guests that were stopped have been started
// elsewhere or the cluster manager has given up.
const settleTime = 2 * time.Minute

// connections is how many connections to other nodes are begun at the same time: sshd turns away some of more than ten
// that have not logged in yet (MaxStartups in sshd_config(5)).
const connections = 8

// drainedGuest is what became of one guest of the node, beside what was said before.
type drainedGuest struct {
	Resource string           `json:"resource,omitempty"` // empty: no cluster manager has it
	Guest    string           `json:"guest"`
	Said     hbplugin.Verdict `json:"verdict"`            // before the drain
	Happened hbplugin.Fate    `json:"happened"`           // in the verdicts' words
	AsSaid   bool             `json:"as_said"`            // both are the same
	Nodes    []string         `json:"nodes"`              // where it is now; empty: nowhere, or nobody knows
	State    string           `json:"state,omitempty"`    // libvirt's word on the first of them
	PauseMS  *float64         `json:"pause_ms,omitempty"` // of a live migration that is on record
	Why      string           `json:"why,omitempty"`      // why it was not moved live
}

// aftermath finds out what became of the guests since the drain began. settled tells that the node is empty: then it
// waits for those that are started elsewhere.
func (d *drainer) aftermath(ctx context.Context, records []migrate.Record, settled bool) []drainedGuest {
	places := d.places(ctx)
	if settled && !d.placed(places) && ctx.Err() == nil {
		d.tell("waiting for %s to start what was stopped", d.manager)
		places = d.settle(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	out := make([]drainedGuest, len(d.said))
	var group errgroup.Group
	group.SetLimit(connections)
	for i, f := range d.said {
		group.Go(func() error {
			out[i] = d.account(ctx, f, places[f.guest.Name], records)
			return nil
		})
	}
	_ = group.Wait() // none fails
	return out
}

// place is where a guest is now.
type place struct {
	nodes []string
	there *libvirt.Status // by libvirt on the first of the nodes; nil where nobody asked it
	busy  bool            // the manager is at work on it
	lost  error           // why nodes is not known
}

// placed tells whether each guest that the manager has is on another node, and at rest. A guest that libvirt there does
// not have is still to be started: after a migrate_to that failed, Pacemaker has it on the target until it has been stopped there.
func (d *drainer) placed(places map[string]place) bool {
	return !slices.ContainsFunc(d.said, func(f foretold) bool {
		p := places[f.guest.Name]
		isAbsent := p.there != nil && !p.there.State.Active()
		return f.guest.Claim != nil && (p.lost != nil || p.busy || len(p.nodes) != 1 || isAbsent)
	})
}

// settle waits until the manager has nothing more to do, and says where the guests are then.
func (d *drainer) settle(ctx context.Context) map[string]place {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if d.manager.pacemaker() {
		_, err := d.run(ctx, "crm_resource", "--wait", fmt.Sprintf("--timeout=%.0f", settleTime.Seconds()))
		if err != nil {
			d.tell("Pacemaker has not settled: %s", oneLine(err))
		}
		return d.places(context.WithoutCancel(ctx))
	}
	for {
		places := d.places(context.WithoutCancel(ctx))
		if d.placed(places) {
			return places
		}
		select {
		case <-ctx.Done():
			return places
		case <-time.After(d.poll):
		}
	}
}

// places asks where the guests are, by name. Guests that no manager has are where libvirt on this node has them.
func (d *drainer) places(ctx context.Context) map[string]place {
	ctx, cancel := context.WithTimeout(ctx, managerTime)
	defer cancel()
	find := d.onPeers
	if d.manager.pacemaker() {
		status, err := d.crmStatus(ctx)
		find = func(_ context.Context, f foretold) place {
			p, known := status.Places[f.Resource]
			switch {
			case err != nil:
				return place{lost: err}
			case !known:
				return place{lost: errors.New("pacemaker has no such resource any more")}
			}
			return place{nodes: p.Nodes, busy: p.Pending != ""}
		}
	}
	out := map[string]place{}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(connections)
	for _, f := range d.said {
		group.Go(func() error {
			p := place{}
			if f.guest.Claim != nil {
				p = find(ctx, f)
			} else {
				p = d.stillHere(ctx, f.guest)
			}
			if f.guest.Claim != nil && p.lost == nil && len(p.nodes) == 0 {
				if here := d.stillHere(ctx, f.guest); here.lost == nil { // the manager may not know of it
					p.nodes, p.there = here.nodes, here.there
				}
			}
			if f.guest.Claim != nil && p.there == nil && len(p.nodes) == 1 && p.nodes[0] != d.node {
				p.there, _ = d.statusOn(ctx, f.guest, p.nodes[0]) // else the manager's word counts
			}
			mu.Lock()
			defer mu.Unlock()
			out[f.guest.Name] = p
			return nil
		})
	}
	_ = group.Wait() // none fails
	return out
}

// stillHere looks for a guest that nobody moves.
func (d *drainer) stillHere(ctx context.Context, g *guest) place {
	s, err := d.statusAt(ctx, g.URI, g.Name)
	switch {
	case err != nil:
		return place{lost: err}
	case s.State.Active():
		return place{nodes: []string{d.node}, there: s}
	}
	return place{}
}

// onPeers asks the libvirt of each other node for the guest, where the manager does not say where it is.
func (d *drainer) onPeers(ctx context.Context, f foretold) place {
	if slices.ContainsFunc(d.seen.Guests, func(g hbplugin.Guest) bool { return g.Name == f.Resource }) {
		return place{nodes: []string{d.node}}
	}
	peers, err := peersUp(ctx, d.manager)
	if err != nil {
		return place{lost: err}
	}
	var lost error
	for _, node := range peers {
		switch s, err := d.statusOn(ctx, f.guest, node); {
		case err != nil:
			lost = err
		case s.State.Active():
			return place{nodes: []string{node}, there: s}
		}
	}
	return place{lost: lost}
}

// statusOn asks another node's libvirt for the guest.
func (c *call) statusOn(ctx context.Context, g *guest, node string) (*libvirt.Status, error) {
	to, err := resource.RouteTo(ctx, g.Claim.env.Params, c.program, node)
	if err != nil {
		return nil, err
	}
	return c.statusAt(ctx, to.URI, g.Name)
}

// statusAt is the guest by the word of one libvirt; one that has no such guest has it shut off.
func (c *call) statusAt(ctx context.Context, uri, name string) (*libvirt.Status, error) {
	var s libvirt.Status
	err := c.ask(ctx, uri, func(ctx context.Context, h host) (err error) {
		s, err = h.Status(ctx, name)
		return err
	})
	if errors.Is(err, libvirt.ErrNoDomain) {
		return &libvirt.Status{State: libvirt.ShutOff}, nil
	}
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// account judges one guest.
func (d *drainer) account(ctx context.Context, f foretold, p place, records []migrate.Record) drainedGuest {
	t := verdict.Trace{Node: d.node, Nodes: p.nodes, Busy: p.busy, Lost: p.lost, There: p.there}
	for _, r := range records {
		if r.Guest == f.guest.Name && (r.UUID == "" || f.guest.UUID == "" || strings.EqualFold(r.UUID, f.guest.UUID)) {
			t.Records = append(t.Records, r)
		}
	}
	if t.There == nil && len(t.Nodes) > 0 && !slices.Contains(t.Nodes, d.node) && f.guest.Claim != nil {
		t.There, _ = d.statusOn(ctx, f.guest, t.Nodes[0]) // else the records tell
	}
	g := drainedGuest{Resource: f.Resource, Guest: f.guest.Name, Said: f.Verdict, Nodes: append([]string{}, p.nodes...)}
	g.Happened, g.Why = verdict.Became(t)
	g.AsSaid = verdict.Agrees(f.Fate, g.Happened)
	if t.There != nil {
		g.State = fmt.Sprintf("%s (%s)", t.There.State, cmp.Or(t.There.Reason, "unknown"))
	}
	if i := len(t.Records) - 1; i >= 0 && g.Happened.KeepsRunning() {
		g.PauseMS = t.Records[i].PauseMS
	}
	return g
}

// line is the guest's fate in one line.
func (g drainedGuest) line() string {
	text := g.Guest + ": " + verdict.Past(g.Happened)
	switch on := strings.Join(g.Nodes, " and "); {
	case on == "":
	case g.Happened.KeepsRunning():
		text += " to " + on
	case g.Happened == hbplugin.Restarts:
		text += ", on " + on + " now"
	}
	if g.PauseMS != nil {
		text += fmt.Sprintf(", pause %.1f ms", *g.PauseMS)
	}
	why := g.Why
	if g.AsSaid { // the record of a stop that nobody asked to migrate knows less
		why = cmp.Or(g.Said.Why, g.Why)
	}
	if why != "" && !g.Happened.KeepsRunning() {
		text += ": " + oneLine(errors.New(why))
	}
	if !g.AsSaid {
		text += "; said before: " + verdict.Words(g.Said)
	}
	return text
}

// tellGuests writes a line for each guest, and how often what was said before has happened.
func tellGuests(w io.Writer, guests []drainedGuest) {
	held := 0
	for _, g := range guests {
		fmt.Fprintln(w, "  "+g.line())
		if g.AsSaid {
			held++
		}
	}
	if len(guests) > 0 {
		fmt.Fprintf(w, "what was said before has happened to %d of %s\n", held, plural(len(guests), "guest"))
	}
}

// notMoved names the guests that were not moved live; nil where there is none.
func notMoved(guests []drainedGuest) error {
	var lines []string
	for _, g := range guests {
		if !g.Happened.KeepsRunning() {
			lines = append(lines, fmt.Sprintf("%s (%s)", g.Guest, verdict.Past(g.Happened)))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	verb := "were"
	if len(lines) == 1 {
		verb = "was"
	}
	all := plural(len(guests), "guest")
	return fmt.Errorf("%d of %s %s not moved live: %s", len(lines), all, verb, strings.Join(lines, ", "))
}
