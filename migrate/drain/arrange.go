package drain

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/predict"
)

// busy is a migration that has a lane until it is free.
type busy struct {
	link, lane int
	free       time.Duration
	atOnce     int
}

// track is what is given away of one link.
type track struct {
	Link
	lanes  []time.Duration // when each is free
	last   time.Duration   // the latest start given away: nobody overtakes
	flight []busy          // those that may not have left by then
}

// planner gives away lanes.
type planner struct {
	node   Node
	tracks []track
	saving time.Duration // of the window's end, taken by guests that are saved
}

// arrange makes the steps for the candidates, each in the order in which it was decided, given the
// migrations that are under way. When not all leave in time, it has the short ones go first, so
// that as many as can be of one priority leave.
func arrange(n Node, under []busy, cands []*candidate) []Step {
	slices.SortFunc(cands, longFirst)
	steps, all := newPlanner(n, under).run(cands)
	if all {
		return steps
	}
	slices.SortFunc(cands, shortFirst)
	steps, _ = newPlanner(n, under).run(cands)
	return steps
}

func byRank(a, b *candidate) int {
	return cmp.Or(cmp.Compare(rank(len(a.options) == 0), rank(len(b.options) == 0)),
		cmp.Compare(b.guest.Priority, a.guest.Priority))
}

// longFirst evens out the ends of several lanes, and leaves the most time to those that may
// go wrong. Those that must migrate alone come one after the other, so that the lanes are emptied for them once.
func longFirst(a, b *candidate) int {
	return cmp.Or(byRank(a, b), cmp.Compare(rank(b.alone), rank(a.alone)),
		cmp.Compare(b.length, a.length), cmp.Compare(a.guest.Name, b.guest.Name))
}

func shortFirst(a, b *candidate) int {
	return cmp.Or(byRank(a, b), cmp.Compare(a.length, b.length), cmp.Compare(a.guest.Name, b.guest.Name))
}

// rank puts false before true.
func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func newPlanner(n Node, under []busy) *planner {
	p := &planner{node: n, tracks: make([]track, len(n.Links))}
	for i, l := range n.Links {
		p.tracks[i] = track{Link: l, lanes: make([]time.Duration, max(l.lanes(), l.width))}
	}
	for _, b := range under {
		t := &p.tracks[b.link]
		lane := min(b.lane, len(t.lanes)-1) // there may have been more
		t.lanes[lane] = max(t.lanes[lane], b.free)
		t.flight = append(t.flight, b)
	}
	return p
}

// run places the candidates in their order; all reports whether each of them that has an option
// leaves over a link.
func (p *planner) run(cands []*candidate) (steps []Step, all bool) {
	steps, all = make([]Step, len(cands)), true
	for i, c := range cands {
		steps[i] = p.step(c)
		all = all && (steps[i].IsLive() || len(c.options) == 0)
	}
	return steps, all
}

func (p *planner) step(c *candidate) Step {
	for rest := c.options; len(rest) > 0; {
		same := 1
		for same < len(rest) && rest[same].rung == rest[0].rung {
			same++
		}
		if s, ok := p.first(c, rest[:same]); ok {
			return s
		}
		rest = rest[same:]
	}
	if p.node.Window == 0 && c.resort != nil && len(c.options) == 0 {
		return p.take(c, *c.resort)
	}
	return p.strand(c)
}

// first takes the option with which the guest is gone first, when that is in time.
func (p *planner) first(c *candidate, options []option) (Step, bool) {
	best, at := 0, predict.Forever
	for i, o := range options {
		if _, free := p.tracks[o.link].find(o); free < at {
			best, at = i, free
		}
	}
	o := options[best]
	if w := c.within(p.node.Window); w > 0 && predict.Later(at, p.tracks[o.link].Teardown) > w {
		return Step{}, false
	}
	return p.take(c, o), true
}

// find says when the option could start at the earliest, and when the guest would be gone: with a lane
// free once it is set up, and never more under way than each of them allows.
func (t *track) find(o option) (start, free time.Duration) {
	start = max(t.last, slices.Min(t.lanes)-t.Setup, 0)
	for {
		n, most, next := 1, o.atOnce, predict.Forever
		for _, b := range t.flight {
			if b.free > start {
				n, most, next = n+1, min(most, b.atOnce), min(next, b.free)
			}
		}
		if n <= most && (t.width == 0 || n <= max(t.width, len(t.lanes))+1) {
			return start, predict.Later(predict.Later(start, t.Setup), o.pred.Duration)
		}
		start = next
	}
}

// take gives the option away.
func (p *planner) take(c *candidate, o option) Step {
	t := &p.tracks[o.link]
	start, free := t.find(o)
	lane := 0
	for i, at := range t.lanes {
		if at < t.lanes[lane] {
			lane = i
		}
	}
	t.last, t.lanes[lane] = start, free
	t.flight = slices.DeleteFunc(t.flight, func(b busy) bool { return b.free <= start })
	t.flight = append(t.flight, busy{o.link, lane, free, o.atOnce})
	why := ""
	if !o.pred.Kept {
		why = "no rung is predicted to keep the budget"
	}
	return Step{Why: why, Guest: c.guest.Name, Rung: o.rung, Link: t.Name, Lane: lane, Start: start,
		Copy: predict.Later(start, t.Setup), Free: free, End: predict.Later(free, t.Teardown), AtOnce: o.atOnce,
		Prediction: o.pred}
}

// strand finds what else can be done, and how long it can wait.
func (p *planner) strand(c *candidate) Step {
	s := Step{Guest: c.guest.Name, Prediction: c.wants, Why: c.why()}
	window := p.node.Window
	if window == 0 {
		var need time.Duration
		s.Rung, need = c.fallback(predict.Forever-1, p.node.StoreRate)
		s.Start, s.End = c.window, c.window+need // at once where nothing moves it
		return s
	}
	m, need := c.fallback(window, p.node.StoreRate)
	if m.Saves() && need > window-p.saving { // the storage is shared: look for another
		d := *c
		d.guest.Ladder = c.guest.Ladder.Without(ladder.SaveDir)
		m, need = d.fallback(window, p.node.StoreRate)
	}
	s.Rung, s.Start, s.End = m, window-need, window
	if m.Saves() {
		s.Start, s.End = s.Start-p.saving, s.End-p.saving
		p.saving += need
	}
	if m == "" {
		s.Start, s.End = 0, 0
	}
	return s
}

func (c *candidate) why() string {
	switch n := c.wants.Need; {
	case !c.mayTry():
		return "its ladder has no live rung"
	case len(c.options) > 0:
		return fmt.Sprintf("it needs %v on a link, and every link is busy until too late",
			c.length.Round(100*time.Millisecond))
	case n != nil && n.Throttle > 0:
		return fmt.Sprintf("the budget is kept only when the guest is slowed down by %d %%", n.Throttle)
	case n != nil && n.PostCopy:
		return "the budget is kept only by post-copy"
	}
	return "the budget cannot be kept on this link"
}
