package drain

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/predict"
)

// Node is what is to be emptied.
type Node struct {
	Window    time.Duration // from now until it must be empty, 0 for no deadline
	Links     []Link        // on which its guests can leave, at least one
	StoreRate float64       // bytes per second at which guests are saved to shared storage, 0 when they cannot be
}

// Link is a way out that migrations share: the node's network card for migrations, or, where
// the targets' cards are slower, one link to each target.
type Link struct {
	Name     string
	Rate     float64       // bytes per second, for all migrations on it together
	Each     float64       // the most that one migration gets, 0 for all of it
	Setup    time.Duration // from the slot until the first byte: pre-flight, QEMU's start at the target
	Teardown time.Duration // from the switchover until the slot is free: verification, cleaning up

	width int // how many may copy at once, where that is tried out; 0 for lanes
}

// Guest is one that must leave.
type Guest struct {
	Name     string
	Load     predict.Load
	Priority int           // higher goes first
	Link     string        // the link to its target, "" for any
	Ladder   ladder.Rungs  // what may be done with it, in this order; nil for [ladder.Default]
	Shutdown time.Duration // how long its clean shutdown may take, [ladder.DefaultShutdown] when 0
	Most     float64       // bytes per second that its move may take of a link, 0 for all
	// Patience is from now until whoever moves it gives up by himself, 0 for never. Those who have the time left
	// for it go before one that has not; it is refused for that only when the time is over, as predictions may be
	// wrong.
	Patience time.Duration
}

// Step is what is to be done with one guest, and when. Times count from the begin of the plan.
// A guest that leaves over a link has all of them. For one that does not, Start is the latest
// at which its means may begin, and until then it may yet be moved.
type Step struct {
	Guest string        `json:"guest"`
	Rung  ladder.Rung   `json:"means,omitempty"` // "" when there is no time for anything that it allows
	Link  string        `json:"link,omitempty"`
	Lane  int           `json:"lane,omitempty"` // which of the link's equal parts it has, 0 is the first
	Start time.Duration `json:"start"`          // its slot is granted
	Copy  time.Duration `json:"copy,omitempty"` // the first byte is sent
	Free  time.Duration `json:"free,omitempty"` // the guest has left, and the link is free
	End   time.Duration `json:"end"`            // the slot is free

	// AtOnce is how many may be on the link, this one counted, so that it keeps its budget even
	// if all of them come to send at the same time.
	AtOnce     int                `json:"at_once,omitempty"`
	Prediction predict.Prediction `json:"prediction"` // of Rung; of the first rung for a guest that is not live
	Why        string             `json:"why,omitempty"`
}

// IsLive reports whether the guest leaves running, over a link.
func (s Step) IsLive() bool { return s.Rung.IsLive() }

// Schedule is the plan for a node.
type Schedule struct {
	Steps    []Step        `json:"steps"`    // by Start
	Makespan time.Duration `json:"makespan"` // until the last guest is gone
	Bound    time.Duration `json:"bound"`    // the bandwidth bound: what the links need for the bytes alone
}

// Stranded are the steps of the guests that do not leave over a link.
func (s Schedule) Stranded() []Step {
	return slices.DeleteFunc(slices.Clone(s.Steps), Step.IsLive)
}

// Plan says in what order, how many at once, and by what means the guests leave the node, so that
// each keeps its blackout budget and all are gone within the window. The same guests give
// the same plan, in whatever order they are listed. An error means that the question makes no sense.
func Plan(n Node, guests []Guest) (Schedule, error) {
	if err := n.check(); err != nil {
		return Schedule{}, err
	}
	seen := make(map[string]bool, len(guests))
	cands := make([]*candidate, len(guests))
	for i, g := range guests {
		if seen[g.Name] {
			return Schedule{}, fmt.Errorf("guest %q is listed twice", g.Name)
		}
		seen[g.Name] = true
		if err := n.checkGuest(g); err != nil {
			return Schedule{}, err
		}
		cands[i] = newCandidate(g, n.Links)
	}
	steps := arrange(n, nil, cands)
	slices.SortStableFunc(steps, byStart)
	s := Schedule{Steps: steps, Bound: bound(n.Links, cands, steps)}
	for _, step := range steps {
		s.Makespan = max(s.Makespan, step.End)
	}
	return s, nil
}

func (n Node) check() error {
	if len(n.Links) == 0 {
		return fmt.Errorf("the node has no link to migrate over: give at least one")
	}
	if n.Window < 0 || !(n.StoreRate >= 0) {
		return fmt.Errorf("the node's window or store rate is negative")
	}
	for i, l := range n.Links {
		switch {
		case slices.ContainsFunc(n.Links[:i], func(o Link) bool { return o.Name == l.Name }):
			return fmt.Errorf("link %q is listed twice", l.Name)
		case !predict.Usable(l.Rate):
			return fmt.Errorf("link %q carries %v bytes per second; give a rate above zero", l.Name, l.Rate)
		case !(l.Each >= 0) || l.Setup < 0 || l.Teardown < 0:
			return fmt.Errorf("link %q has a negative rate or time", l.Name)
		}
	}
	return nil
}

func (n Node) checkGuest(g Guest) error {
	l := g.Load
	switch {
	case g.Name == "":
		return fmt.Errorf("a guest has no name")
	case g.Link != "" && !slices.ContainsFunc(n.Links, func(l Link) bool { return l.Name == g.Link }):
		return fmt.Errorf("guest %q is to migrate over link %q, which the node does not have", g.Name, g.Link)
	case !(l.DirtyRate >= 0) || l.Limit < 0 || l.Budget < 0 || l.HandOver < 0 ||
		g.Shutdown < 0 || g.Patience < 0 || !(g.Most >= 0):
		return fmt.Errorf("guest %q has a negative rate or time", g.Name)
	}
	for _, m := range g.Ladder {
		if err := m.Check(); err != nil {
			return fmt.Errorf("the ladder of guest %q: %w", g.Name, err)
		}
	}
	return nil
}

// bound is the least time in which the links carry what the plan sends, were every guest alone:
// of what is bound to one link on that link, and of all on all.
func bound(links []Link, cands []*candidate, steps []Step) time.Duration {
	at := make(map[string]*candidate, len(cands))
	for _, c := range cands {
		at[c.guest.Name] = c
	}
	bytes := make(map[string]float64, len(links))
	var all, rate, most float64
	for _, s := range steps {
		if c := at[s.Guest]; s.IsLive() {
			i := slices.IndexFunc(links, func(l Link) bool { return l.Name == s.Link })
			alone := float64(predict.AtRate(c.guest.Load, links[i].bounded(c.guest.Most).alone(), s.Rung).Bytes)
			all += alone
			bytes[c.guest.Link] += alone
		}
	}
	for _, l := range links {
		rate += l.Rate
		most = max(most, bytes[l.Name]/l.Rate)
	}
	return predict.Seconds(max(most, all/rate))
}

// bounded is the link for a migration that may take no more than most of it, where most is not 0.
func (l Link) bounded(most float64) Link {
	if most > 0 && (l.Each == 0 || most < l.Each) {
		l.Each = most
	}
	return l
}

// alone is what one migration gets that has the link to itself.
func (l Link) alone() float64 { return l.share(1) }

// share is what each of n migrations gets.
func (l Link) share(n int) float64 {
	if l.Each > 0 {
		return min(l.Each, l.Rate/float64(n))
	}
	return l.Rate / float64(n)
}

// mostAtOnce is how many slots a link has at most: QEMU, libvirt and the target's processors
// become narrower than the link long before.
const mostAtOnce = 16

// lanes is how many migrations it takes to fill the link. When all but a twentieth is filled by
// some that get all that they can take, one more would only make them all slower.
func (l Link) lanes() int {
	if l.Each <= 0 {
		return 1
	}
	n := math.Floor(l.Rate / l.Each)
	if n*l.Each < 0.95*l.Rate {
		n++
	}
	return int(max(1, min(n, mostAtOnce)))
}
