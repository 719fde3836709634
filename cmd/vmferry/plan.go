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
	"text/tabwriter"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// planReport is what plan prints.
type planReport struct {
	Schema   int        `json:"schema"`
	Node     string     `json:"node"`
	Measured bool       `json:"measured"` // the dirty rates were
	Window   float64    `json:"window_s"`
	Makespan float64    `json:"makespan_s"` // until the last guest has gone
	Bound    float64    `json:"bound_s"`    // what the link needs for the bytes alone
	Fits     bool       `json:"fits"`       // all are moved live, within the window
	Steps    []planStep `json:"steps"`
}

type planStep struct {
	Guest     string      `json:"guest"`
	Resource  string      `json:"resource,omitempty"`
	Rung      ladder.Rung `json:"means,omitempty"` // empty: it stays, or nobody could tell
	To        string      `json:"to,omitempty"`    // empty: nowhere, or not known
	Start     float64     `json:"start_s"`
	End       float64     `json:"end_s"`
	Pause     float64     `json:"pause_ms"`
	Blackout  float64     `json:"blackout_ms"`
	Kept      bool        `json:"kept"` // within the budget
	Bytes     uint64      `json:"bytes"`
	DirtyRate *uint64     `json:"dirty_rate,omitempty"` // bytes per second
	// WorkingSet is how many bytes a pass finds dirty at most, by an earlier move.
	WorkingSet uint64 `json:"working_set,omitempty"`
	Why        string `json:"why,omitempty"`
	// Unsupported is why the budget cannot be held, whatever is predicted: the hypervisor's driver lacks what it takes.
	Unsupported string `json:"unsupported,omitempty"`
	// Encrypted tells that the memory and the disks that go along travel encrypted.
	Encrypted bool `json:"encrypted,omitempty"`
	// Verdict is what becomes of the guest, by the word of the cluster manager and of the target.
	Verdict hbplugin.Verdict `json:"verdict"`
}

var errDoesNotFit = errors.New("not every guest leaves running within the window: see the plan")

// planner makes the plan of this node.
type planner struct {
	*call
	inv    *inventory
	said   []foretold
	link   migrate.Link // what is known of the way to the peers
	window time.Duration
	loads  map[string]libvirt.Load
	known  map[string]migrate.Profile // what earlier moves taught of each guest
	disks  map[string]uint64          // bytes of them that go along
	step   map[string]planStep        // what the report says of each guest beyond its times
	guests []drain.Guest
}

// plan tells how a drain of this node would go.
func plan(ctx context.Context, c *call, args []string) error {
	bandwidth := c.flags.Uint64("bandwidth", 0, "")
	blind := c.flags.Bool("no-measure", false, "")
	window := c.flags.Duration("window", 0, "")
	rest, done, err := c.begin(args, "[NODE]")
	if done {
		return err
	}
	if *window < 0 {
		return misuse("plan: --window %s is below 0", *window)
	}
	p := &planner{call: c, inv: c.survey(ctx), window: *window, loads: map[string]libvirt.Load{}, disks: map[string]uint64{}, step: map[string]planStep{}}
	if rest[0] != "" && !strings.EqualFold(rest[0], p.inv.node) {
		return misuse("plan: this is node %q: on %s, type vmferry plan", p.inv.node, rest[0])
	}
	if len(p.inv.problems) > 0 {
		return fmt.Errorf("cannot tell which guests are here: %s: type vmferry check", strings.Join(p.inv.problems, "; "))
	}
	if err := p.way(ctx, *bandwidth<<20); err != nil {
		return err
	}
	p.said = p.foretell(ctx, p.inv)
	if ctx.Err() != nil {
		return &failure{exitInterrupted, errors.New("interrupted: nothing was changed")}
	}
	if err := p.weigh(ctx, !*blind); err != nil {
		return err
	}
	r, err := p.make(ctx)
	if err != nil {
		return err
	}
	r.Measured = !*blind
	if err := c.result(r, r.table); err != nil {
		return err
	}
	if err := notLive(p.said); err != nil {
		return err
	}
	if !r.Fits {
		return errDoesNotFit
	}
	return nil
}

// way finds out where the guests would go, and what the link carries: rate, or
// what migrations have taught. Where there are several peers the slowest link
// that is known is reckoned with, as the manager chooses.
func (p *planner) way(ctx context.Context, rate uint64) error {
	var up []string
	for _, m := range p.inv.managers {
		peers, err := peersUp(ctx, m)
		if err != nil {
			return fmt.Errorf("cannot tell which nodes there are: %w", err)
		}
		up = append(up, peers...)
	}
	if len(p.inv.managers) > 0 && len(up) == 0 {
		return errors.New("no other node is up: there is nowhere to go")
	}
	links, err := migrate.ReadLinks(p.links())
	if err != nil {
		return err
	}
	for name, l := range links {
		known := len(up) == 0 || slices.Contains(up, name)
		if known && l.Bandwidth > 0 && (p.link.Bandwidth == 0 || l.Bandwidth < p.link.Bandwidth) {
			p.link = l
		}
	}
	if p.known, err = migrate.ReadGuests(p.profiles()); err != nil {
		return err
	}
	p.link.Bandwidth = cmp.Or(rate, p.link.Bandwidth)
	if p.link.Bandwidth == 0 {
		return errors.New("no migration has told yet what the link carries: say --bandwidth MIB_PER_SECOND")
	}
	return nil
}

// weigh finds out what each guest has to carry, all at once.
func (p *planner) weigh(ctx context.Context, measure bool) error {
	if measure {
		p.tell("measuring for a second how fast the guests write")
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, g := range p.inv.guests {
		if !g.active() {
			continue
		}
		wait.Go(func() {
			load, disks, err := p.load(ctx, g, measure)
			mu.Lock()
			defer mu.Unlock()
			p.loads[g.Name], p.disks[g.Name] = load, disks
			if err != nil && !errors.Is(err, libvirt.ErrNoDomain) { // else it ended meanwhile
				errs = append(errs, err)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (p *planner) load(ctx context.Context, g *guest, measure bool) (load libvirt.Load, disks uint64, err error) {
	err = p.ask(ctx, g.URI, func(ctx context.Context, h host) error {
		if g.Claim != nil {
			if disks, err = migrate.DiskBytes(ctx, h, g.Name, g.Claim.env.Params.Disks); err != nil {
				return err
			}
		}
		if measure {
			load, err = migrate.Measure(ctx, h, g.Name, time.Second)
			return err
		}
		load, err = h.Load(ctx, g.Name)
		load.Dirty = libvirt.Dirty{} // of some other time
		return err
	})
	return load, disks, err
}

// make asks the planner, and puts its times beside what is known of the guests.
func (p *planner) make(ctx context.Context) (planReport, error) {
	if p.window == 0 {
		limit, err := p.delayMax(ctx)
		if err != nil {
			return planReport{}, fmt.Errorf("%w: say --window TIME", err)
		}
		p.window = shutdown.Window(p.config.Window, limit)
	}
	store, err := p.storeRate()
	if err != nil {
		return planReport{}, err
	}
	var stay []planStep
	for _, f := range p.said {
		s := planStep{Guest: f.guest.Name, Resource: f.Resource, To: f.To, Verdict: f.Verdict}
		if lack := migrate.BudgetHeld(f.guest.URI); lack != nil {
			s.Unsupported = lack.Error()
		}
		s.Encrypted = f.guest.Claim != nil && f.guest.Claim.env.Params.UsesTLS()
		if !p.leaves(f) {
			stay = append(stay, s)
			continue
		}
		p.step[f.guest.Name] = s
		p.guests = append(p.guests, p.candidate(f))
	}
	schedule, err := drain.Plan(drain.Node{Window: p.window, StoreRate: store, Links: []drain.Link{{
		Name: "network", Rate: float64(p.link.Bandwidth), Setup: millis(p.link.SetUpMS),
	}}}, p.guests)
	if err != nil {
		return planReport{}, fmt.Errorf("plan the drain: %w", err)
	}
	return p.report(schedule, stay), nil
}

// defaultStoreRate is what shared storage takes of which no saved guest has told, in bytes per second.
const defaultStoreRate = 64 << 20

// storeRate is how fast the last guest was saved from here.
func (p *planner) storeRate() (float64, error) {
	records, err := migrate.ReadRecords(p.records())
	if err != nil {
		return 0, err
	}
	for _, r := range slices.Backward(records) {
		if n := len(r.Rungs); r.Outcome == migrate.Ended && r.Rung == ladder.Save && n > 0 && r.Rungs[n-1].MS > 0 && r.Transferred > 0 {
			return float64(r.Transferred) / r.Rungs[n-1].MS * 1000, nil
		}
	}
	return defaultStoreRate, nil
}

func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// leaves tells whether the guest is off the node when the drain is over. Without a cluster manager it is reckoned how
// long its operator's own moves take.
func (p *planner) leaves(f foretold) bool {
	return f.Fate != hbplugin.Stays && f.Fate != hbplugin.Untold || len(p.inv.managers) == 0 && f.guest.active()
}

// candidate is the guest as the planner sees it: by its verdict, and by what its resource allows.
func (p *planner) candidate(f foretold) drain.Guest {
	g := f.guest
	d := drain.Guest{Name: g.Name}
	budget := migrate.DefaultBudget
	if g.Claim != nil {
		params := g.Claim.env.Params
		budget = cmp.Or(params.BlackoutBudget, budget)
		d.Priority = params.DrainPriority
		d.Ladder, d.Most = params.Ladder, float64(params.Bandwidth()<<20)
	}
	d.Ladder = climbable(g.URI, d.Ladder)
	switch {
	case len(p.inv.managers) == 0: // vmferry migrate only moves
		d.Ladder = slices.DeleteFunc(d.Ladder, func(m ladder.Rung) bool { return !m.IsLive() })
	case !f.Fate.KeepsRunning():
		d.Ladder = slices.DeleteFunc(d.Ladder, ladder.Rung.IsLive)
		if len(d.Ladder) == 0 {
			d.Ladder = []ladder.Rung{ladder.Shutdown}
		}
	}
	d.Load = migrate.LoadFor(p.loads[g.Name], p.known[g.Name].Of(g.UUID), p.link, budget)
	d.Load.Disks = p.disks[g.Name]
	s := p.step[g.Name]
	s.WorkingSet = d.Load.WorkingSet
	p.step[g.Name] = s
	return d
}

// climbable are the rungs that the guest's driver has; an empty ladder is the usual one.
func climbable(uri string, rungs []ladder.Rung) []ladder.Rung {
	if len(rungs) == 0 {
		rungs = ladder.Default
	}
	plain := !libvirt.DriverOf(uri).JobControl
	return slices.DeleteFunc(slices.Clone(rungs), func(r ladder.Rung) bool { return plain && (r == ladder.Converge || r == ladder.PostCopy) })
}

func (p *planner) report(schedule drain.Schedule, stay []planStep) planReport {
	r := planReport{Schema: schema, Node: p.inv.node, Window: p.window.Seconds(), Makespan: schedule.Makespan.Seconds(), Bound: schedule.Bound.Seconds(),
		Fits: schedule.Makespan <= p.window && len(schedule.Stranded()) == 0 && len(stay) == 0, Steps: []planStep{}}
	for _, d := range schedule.Steps {
		s := p.step[d.Guest]
		s.Rung, s.Start, s.End, s.Why = d.Rung, d.Start.Seconds(), d.End.Seconds(), d.Why
		s.Kept = d.Prediction.Kept && d.IsLive() && s.Unsupported == ""
		if d.IsLive() {
			s.Pause = float64(d.Prediction.Pause.Microseconds()) / 1000
			s.Blackout = s.Pause + p.link.RelearnMS
			s.Bytes = d.Prediction.Bytes
		}
		if rate := p.loads[d.Guest].Dirty; rate.Measured {
			s.DirtyRate = &rate.Rate
		}
		r.Steps = append(r.Steps, s)
	}
	r.Steps = append(r.Steps, stay...)
	return r
}

func (r planReport) table(w io.Writer) error {
	if len(r.Steps) == 0 {
		return say(w, "no guest is on node "+r.Node+"\n")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "START\tGUEST\tTO\tHOW\tSECONDS\tSENDS\tBLACKOUT\tBUDGET")
	for _, s := range r.Steps {
		fmt.Fprintln(t, strings.Join(s.cells(), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range r.Steps {
		fmt.Fprintln(w, s.Guest+": "+verdict.Words(s.Verdict))
		if s.Verdict.Remedy != "" {
			fmt.Fprintln(w, "    "+s.Verdict.Remedy)
		}
		if s.Why != "" && s.Verdict.Fate.KeepsRunning() {
			fmt.Fprintf(w, "%s: %s\n", s.Guest, s.Why)
		}
		if s.Unsupported != "" && s.Rung.IsLive() {
			fmt.Fprintf(w, "%s: the blackout budget cannot be held: %s\n", s.Guest, s.Unsupported)
		}
	}
	fmt.Fprintf(w, "\nempty after %.1f s of %.0f s; the link alone needs %.1f s\n", r.Makespan, r.Window, r.Bound)
	if !r.Measured {
		fmt.Fprintln(w, "a guest whose dirty rate no migration has told is taken for idle, as nothing was measured")
	}
	return nil
}

func (s planStep) cells() []string {
	times := []string{fmt.Sprintf("+%.1f s", s.Start), s.Guest, s.target(), string(s.Rung), fmt.Sprintf("%.1f", s.End-s.Start)}
	switch s.Rung {
	case "":
		how := "stays"
		if s.Verdict.Fate != hbplugin.Stays {
			how = string(hbplugin.Untold)
		}
		return []string{"-", s.Guest, s.target(), how, "-", "-", "-", "-"}
	case ladder.Live, ladder.Converge, ladder.PostCopy:
		budget := "kept"
		switch {
		case s.Unsupported != "":
			budget = "not held"
		case !s.Kept:
			budget = "broken"
		}
		if !s.Verdict.Fate.KeepsRunning() {
			times[3] = "by hand"
		}
		if s.Encrypted {
			times[3] += ", TLS"
		}
		return append(times, fmt.Sprintf("%d MiB", s.Bytes>>20), fmt.Sprintf("%.0f ms", s.Blackout), budget)
	case ladder.Save:
		return append(times, "-", "until it is restored", "broken")
	}
	if s.Verdict.Fate == hbplugin.Stops {
		return append(times, "-", "until it has a place", "broken")
	}
	return append(times, "-", "until it has booted", "broken")
}

// target is where the guest goes.
func (s planStep) target() string {
	switch s.Verdict.Fate {
	case hbplugin.Stops:
		return "nowhere"
	case hbplugin.Stays, hbplugin.Untold:
		return cmp.Or(s.To, "-")
	}
	return cmp.Or(s.To, "any")
}
