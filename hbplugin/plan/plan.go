package plan

import (
	"cmp"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/predict"
)

// Report is the plan.
type Report struct {
	Schema   int     `json:"schema"`
	Node     string  `json:"node"`
	Measured bool    `json:"measured"` // the dirty rates were
	Window   float64 `json:"window_s"`
	Makespan float64 `json:"makespan_s"` // until the last guest has gone
	Bound    float64 `json:"bound_s"`    // what the link needs for the bytes alone
	Fits     bool    `json:"fits"`       // all are moved live, within the window
	Steps    []Step  `json:"steps"`
}

// Step is one guest of the plan.
type Step struct {
	Guest     string      `json:"guest"`
	Resource  string      `json:"resource,omitempty"`
	Rung      ladder.Rung `json:"means,omitempty"` // empty: it stays, or that is not known
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
	// Encrypted reports that the memory and the disks that go along travel encrypted.
	Encrypted bool `json:"encrypted,omitempty"`
	// Verdict is what becomes of the guest, by the word of the cluster manager and of the target.
	Verdict hbplugin.Verdict `json:"verdict"`
}

// Observed is all that a plan is made of.
type Observed struct {
	Node        string
	Managed     bool                       // a cluster manager runs: it moves the guests
	Predictions []inventory.Prediction     // what becomes of each guest
	Window      time.Duration              // the time that there is
	StoreRate   float64                    // bytes per second that shared storage takes
	Link        history.Link               // what is known of the way to the peers
	Loads       map[string]libvirt.Load    // by guest
	Profiles    map[string]history.Profile // what earlier moves taught of each guest
	Disks       map[string]uint64          // bytes of them that go along, by guest
}

// Make plans the drain.
func Make(o Observed) (Report, error) {
	var stay []Step
	var leaving []drain.Guest
	steps := map[string]Step{}
	for _, p := range o.Predictions {
		s := stepOf(p)
		if !o.leaves(p) {
			stay = append(stay, s)
			continue
		}
		g := o.candidate(p)
		s.WorkingSet = g.Load.WorkingSet
		steps[p.Guest.Name] = s
		leaving = append(leaving, g)
	}
	schedule, err := drain.Plan(drain.Node{Window: o.Window, StoreRate: o.StoreRate, Links: []drain.Link{{
		Name: "network", Rate: float64(o.Link.Bandwidth),
		Setup: time.Duration(o.Link.SetUpMS * float64(time.Millisecond)),
	}}}, leaving)
	if err != nil {
		return Report{}, fmt.Errorf("plan the drain: %w", err)
	}
	r := Report{Node: o.Node, Window: o.Window.Seconds(), Makespan: schedule.Makespan.Seconds(),
		Bound: schedule.Bound.Seconds(), Steps: []Step{},
		Fits: schedule.Makespan <= o.Window && len(schedule.Stranded()) == 0 && len(stay) == 0}
	for _, d := range schedule.Steps {
		r.Steps = append(r.Steps, o.scheduled(steps[d.Guest], d))
	}
	r.Steps = append(r.Steps, stay...)
	return r, nil
}

// stepOf is what is known of a guest before it has its times.
func stepOf(p inventory.Prediction) Step {
	s := Step{Guest: p.Guest.Name, Resource: p.Resource, To: p.To, Verdict: p.Verdict}
	if lack := migrate.BudgetHeld(p.Guest.URI); lack != nil {
		s.Unsupported = lack.Error()
	}
	s.Encrypted = p.Guest.Claim != nil && p.Guest.Claim.Environ.Params.UsesTLS()
	return s
}

// leaves reports whether the guest is off the node when the drain is over. Without a cluster manager it is reckoned how
// long its operator's own moves take.
func (o Observed) leaves(p inventory.Prediction) bool {
	return p.Fate != hbplugin.Stays && p.Fate != hbplugin.Unknown || !o.Managed && p.Guest.IsActive()
}

// candidate is the guest as the planner sees it: by its verdict, and by what its resource allows.
func (o Observed) candidate(p inventory.Prediction) drain.Guest {
	g := p.Guest
	d := drain.Guest{Name: g.Name}
	budget := convergence.DefaultBudget
	if g.Claim != nil {
		params := g.Claim.Environ.Params
		budget = cmp.Or(params.BlackoutBudget, budget)
		d.Priority = params.DrainPriority
		d.Ladder, d.Most = params.Ladder, float64(params.Bandwidth()<<20)
	}
	if len(d.Ladder) == 0 {
		d.Ladder = ladder.Default
	}
	if !libvirt.DriverOf(g.URI).JobControl {
		d.Ladder = d.Ladder.Without(ladder.JobControl)
	}
	switch {
	case !o.Managed: // vmferry migrate only moves
		d.Ladder = d.Ladder.Live()
	case !p.Fate.KeepsRunning():
		d.Ladder = d.Ladder.Ending()
	}
	d.Load = predict.Known{Link: o.Link, Guest: o.Profiles[g.Name].Of(g.UUID), Load: o.Loads[g.Name]}.LoadWithin(budget)
	d.Load.Disks = o.Disks[g.Name]
	return d
}

// scheduled adds what the schedule says of a guest.
func (o Observed) scheduled(s Step, d drain.Step) Step {
	s.Rung, s.Start, s.End, s.Why = d.Rung, d.Start.Seconds(), d.End.Seconds(), d.Why
	s.Kept = d.Prediction.Kept && d.IsLive() && s.Unsupported == ""
	if d.IsLive() {
		s.Pause = float64(d.Prediction.Pause.Microseconds()) / 1000
		s.Blackout = s.Pause + o.Link.RelearnMS
		s.Bytes = d.Prediction.Bytes
	}
	if rate := o.Loads[d.Guest].Dirty; rate.Measured {
		s.DirtyRate = &rate.Rate
	}
	return s
}
