package drain

import (
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/predict"
)

// normalPause is what a guest without a budget may be paused for because others are on
// the link as well: the usual downtime limit.
const normalPause = 300 * time.Millisecond

// option is one way for a guest to leave over one link.
type option struct {
	link   int // index
	rung   ladder.Rung
	atOnce int
	rate   float64
	pred   predict.Prediction
}

// candidate is a guest with all its options, the gentlest rung first.
type candidate struct {
	guest Guest
	// options are those that keep the budget, and where none does those that end by themselves: a hand-over
	// that takes more than half of the budget does not make it better to shut the guest down.
	options []option
	over    []option // those that end by themselves beyond the budget
	// resort is what could be tried when there is no option: the roughest rung over
	// any link, alone. The prediction may be wrong, and a move that fails costs only time.
	resort *option
	wants  predict.Prediction // of its first rung: what a reader is told when it cannot leave so
	length time.Duration      // of the best option, forever without one
	window time.Duration      // until its caller gives up, 0 for never
	alone  bool               // the best option keeps the budget only with no other migration beside it
}

func newCandidate(g Guest, links []Link) *candidate {
	if g.Ladder == nil {
		g.Ladder = ladder.Default
	}
	c := &candidate{guest: g, length: predict.Forever, window: g.Patience}
	for _, m := range g.Ladder.Live() {
		for i, l := range links {
			if g.Link == "" || g.Link == l.Name {
				c.add(i, l, m)
			}
		}
	}
	if len(c.options) == 0 {
		c.options = c.over
	}
	for _, o := range c.options {
		if o.rung == c.options[0].rung && o.pred.Duration < c.length {
			c.length, c.alone = o.pred.Duration, o.atOnce == 1
		}
	}
	return c
}

func (c *candidate) add(i int, l Link, m ladder.Rung) {
	o, best := newOption(c.guest, i, l, m)
	if c.wants.Rung == "" {
		c.wants = predict.WithNeed(c.guest.Load, l.bounded(c.guest.Most).alone(), m)
	}
	if best.Kept {
		c.options = append(c.options, o)
		return
	}
	if best.Ends() {
		c.over = append(c.over, o)
	}
	if c.resort == nil || c.resort.rung != m || o.pred.Duration < c.resort.pred.Duration {
		c.resort = &o
	}
}

// newOption also returns the prediction for the guest that has the link to itself.
func newOption(g Guest, i int, l Link, m ladder.Rung) (o option, best predict.Prediction) {
	own := l.bounded(g.Most)
	best = predict.AtRate(g.Load, own.alone(), m)
	o = option{link: i, rung: m, atOnce: 1}
	for o.atOnce < mostAtOnce && best.Ends() && keepsBudget(g.Load, own, best, o.atOnce+1) {
		o.atOnce++
	}
	o.rate = own.share(min(l.lanes(), o.atOnce))
	o.pred = predict.AtRate(g.Load, o.rate, m)
	return o, best
}

// keepsBudget reports whether a guest keeps its budget with n on the link, in both of the ways in which the
// others can hurt: they were there all the time, or all come in the moment in which it is stopped, when
// the last copy was measured out for a link of its own.
func keepsBudget(load predict.Load, l Link, best predict.Prediction, n int) bool {
	budget := load.Budget
	switch {
	case budget <= 0:
		budget = max(load.HandOver+normalPause, best.Pause)
	case !best.Kept:
		budget = best.Pause * 11 / 10 // which is broken anyway, and not to be broken by much more
	}
	lastCopy := float64(best.Pause - load.HandOver)
	surprised := load.HandOver + time.Duration(lastCopy*l.alone()/l.share(n))
	shared := predict.AtRate(load, l.share(n), best.Rung)
	return shared.Ends() && shared.Pause <= budget && surprised <= budget
}

// within is the time that it has, given the node's; 0 is no bound.
func (c *candidate) within(node time.Duration) time.Duration {
	if node == 0 || c.window > 0 && c.window < node {
		return c.window
	}
	return node
}

// fallback is the first rung off the links that the guest allows and that is done within left,
// and how long it takes.
func (c *candidate) fallback(left time.Duration, storeRate float64) (m ladder.Rung, need time.Duration) {
	e := ladder.Ending{Bytes: float64(c.guest.Load.Memory) + float64(c.guest.Load.Device), StoreRate: storeRate,
		Shutdown: c.guest.Shutdown}
	for _, m := range c.guest.Ladder.Ending() {
		if need, ok := m.Spec().Takes(e); ok && need <= left {
			return m, need
		}
	}
	return "", 0
}

// mayTry reports whether anything over a link is in the guest's ladder.
func (c *candidate) mayTry() bool { return slices.ContainsFunc(c.guest.Ladder, ladder.Rung.IsLive) }
