package drainsim

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/ladder"
)

// evacuation empties one node.
type evacuation struct {
	w        *world
	node     *node
	queue    *drain.Queue
	link     *link
	callers  []*caller // whose turn has not ended
	report   Drain
	begin    time.Time
	deadline time.Time // zero without a window
}

// caller is an agent that moves one guest.
type caller struct {
	e      *evacuation
	guest  *guest
	turn   *drain.Turn
	moving *migration
	tried  map[*node]bool
	steps  []*event // to be called off when it gives up
}

// emptyNext begins with the next node, if any is left.
func (w *world) emptyNext() error {
	if w.next >= w.Empty {
		return nil
	}
	n := w.nodes[w.next]
	w.next++
	e := &evacuation{w: w, node: n, begin: w.clock.now, report: Drain{Node: n.index, Guests: len(n.guests)}}
	n.draining = e
	e.link = &link{clock: &w.clock, given: w.Link, factor: 1, since: w.clock.now}
	guests := make([]*guest, 0, len(n.guests))
	for g := range n.guests {
		guests = append(guests, g)
	}
	slices.SortFunc(guests, func(a, b *guest) int { return cmp.Compare(a.index, b.index) })
	planned := make([]drain.Guest, len(guests))
	for i, g := range guests {
		planned[i] = g.Guest
	}
	site := drain.Node{Window: w.Window, Links: []drain.Link{w.Link}}
	plan, err := drain.Plan(site, planned)
	if err != nil {
		return err
	}
	e.report.Bound = plan.Bound
	e.queue, err = drain.NewQueue(site, drain.Options{Clock: queueClock{&w.clock, e.look}, Gather: time.Second})
	if err != nil {
		return err
	}
	if w.Window > 0 {
		e.deadline = e.begin.Add(w.Window)
	}
	e.call(guests)
	return nil
}

// call has the guests called for within a second, and the link slow down.
func (e *evacuation) call(guests []*guest) {
	w := e.w
	if len(guests) == 0 {
		w.clock.after(0, e.check)
	}
	if w.Slow.After > 0 {
		w.clock.after(w.Slow.After, func() { e.link.slow(w.Slow.Factor) })
	}
	for _, g := range guests {
		e.callFor(g)
	}
}

func (e *evacuation) callFor(g *guest) {
	c := &caller{e: e, guest: g, tried: map[*node]bool{}}
	e.w.clock.after(time.Duration(e.w.rand.Int64N(int64(time.Second))), c.join)
}

// look sees what the queue has decided.
func (e *evacuation) look() {
	for _, c := range slices.Clone(e.callers) {
		c.look()
	}
}

func (c *caller) join() {
	turn, err := c.e.queue.Join(c.guest.Guest)
	if err != nil {
		c.e.w.wrong("guest %s: %v", c.guest.Name, err)
		return
	}
	c.turn = turn
	c.e.callers = append(c.e.callers, c)
	c.e.look()
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func (c *caller) look() {
	switch err := c.turn.Err(); {
	case !slices.Contains(c.e.callers, c) || !isClosed(c.turn.Ready()): // it ended, or waits
	case err != nil:
		c.fallBack(err)
	case c.steps == nil:
		c.begin()
	}
}

// begin is the caller's part after the grant.
func (c *caller) begin() {
	w := c.e.w
	target := w.choose(c.tried)
	if target == nil {
		w.wrong("guest %s has no target left", c.guest.Name)
		return
	}
	setup := time.Duration(w.about(float64(w.Link.Setup)))
	c.steps = append(c.steps, w.clock.after(setup, func() {
		if target.refuses || target.draining != nil {
			c.refused(target)
			return
		}
		c.migrate(target)
	}))
	if w.rand.Float64() < w.Dying {
		took := c.turn.Step().Prediction.Duration
		c.steps = append(c.steps, w.clock.after(setup+time.Duration(w.rand.Float64()*float64(took)), c.die))
	}
}

// refused has the cluster manager call again, for another target.
func (c *caller) refused(target *node) {
	c.e.w.result.Refusals++
	c.tried[target] = true
	c.again()
}

// die is a caller that is gone in mid-move: libvirt's migration ends with its client here.
func (c *caller) die() {
	if c.moving == nil || c.moving.abort() {
		c.e.w.result.Deaths++
		c.again()
	}
}

func (c *caller) again() {
	c.end()
	next := &caller{e: c.e, guest: c.guest, tried: c.tried}
	c.e.w.clock.after(200*time.Millisecond, next.join)
}

func (c *caller) migrate(target *node) {
	w, g := c.e.w, c.guest
	if !c.e.node.guests[g] {
		w.wrong("guest %s is moved from where it is not", g.Name)
	}
	step := c.turn.Step()
	c.moving = &migration{clock: &w.clock, link: c.e.link, load: g.truth, means: step.Rung,
		limit: step.Prediction.Limit}
	c.moving.resumed = func(pause time.Duration) {
		if g.truth.Budget > 0 && pause > g.truth.Budget+time.Microsecond {
			w.result.OverPause = append(w.result.OverPause, g.Name)
		}
		w.result.Moved++
		c.e.carry(g, target)
	}
	c.moving.left = func() {
		c.turn.Copied()
		w.clock.after(w.Link.Teardown, func() { c.finish() })
		c.e.look()
	}
	c.moving.start()
}

// fallBack does what the queue says, and may do before the window ends.
func (c *caller) fallBack(err error) {
	if c.moving != nil && !c.moving.abort() {
		return // it is about to leave
	}
	var late *drain.TooLate
	if !errors.As(err, &late) {
		c.e.w.wrong("guest %s: %v", c.guest.Name, err)
		return
	}
	took := time.Duration(0) // destroyed by the node's own end
	if late.Rung == ladder.Shutdown {
		took = c.guest.Shutdown
		if took == 0 {
			took = ladder.DefaultShutdown
		}
		took = time.Duration(float64(took) * (0.3 + 0.7*c.e.w.rand.Float64()))
	}
	c.end()
	c.e.w.clock.after(took, func() {
		c.e.w.result.Cold++
		c.e.carry(c.guest, c.e.w.choose(c.tried))
		c.e.check()
	})
}

// carry puts the guest on another node, which may have begun to be emptied since it was chosen.
func (e *evacuation) carry(g *guest, to *node) {
	if to.guests[g] {
		e.w.wrong("guest %s is at node %d already", g.Name, to.index)
	}
	delete(e.node.guests, g)
	to.guests[g] = true
	if to.draining != nil {
		to.draining.report.Guests++
		to.draining.callFor(g)
	}
	if !e.deadline.IsZero() && e.w.clock.now.After(e.deadline) {
		e.report.Late++
	}
}

// end takes the caller away, and gives its turn back.
func (c *caller) end() {
	for _, s := range c.steps {
		s.callOff()
	}
	c.e.callers = slices.DeleteFunc(c.e.callers, func(o *caller) bool { return o == c })
	c.turn.Release()
	c.e.look()
}

func (c *caller) finish() {
	c.end()
	c.e.check()
}

// check sees whether the node is empty.
func (e *evacuation) check() {
	if len(e.node.guests) == 0 && len(e.callers) == 0 {
		e.finish()
	}
}

// finish brings the node back, and begins with the next.
func (e *evacuation) finish() {
	if e.node.draining != e {
		return
	}
	e.report.Took = e.w.clock.now.Sub(e.begin)
	e.w.result.Drains = append(e.w.result.Drains, e.report)
	e.node.draining = nil
	if err := e.w.emptyNext(); err != nil {
		e.w.wrong("node %d: %v", e.w.next-1, err)
	}
}
