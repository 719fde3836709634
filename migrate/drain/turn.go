package drain

import (
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/predict"
)

// Turn is a guest's place in a Queue: first it waits, then it is granted or refused, in the end it is
// released. Its methods may be called from any goroutine.
type Turn struct {
	q      *Queue
	ready  chan struct{}
	giveUp chan struct{}

	// Below q.mu.
	c        *candidate
	until    time.Time // when its caller gives up, zero for never
	step     Step
	link     int
	err      error
	granted  time.Time
	pause    time.Duration // that was measured, 0 where none was
	area     float64       // how many had been on the link until then, times seconds
	free     time.Time     // when it will have left, as far as can be told
	overdue  int           // how often that was put off
	attempt  bool          // nothing says that it will be gone in time, but the link was idle
	lastCall time.Time     // the last moment for fallback
	fallback ladder.Rung
}

// Ready is closed when the turn is granted or refused; Err says which.
func (t *Turn) Ready() <-chan struct{} { return t.ready }

// GiveUp is closed when the move should be aborted, because it will not be done in time and this is the
// last moment for something else, or for nothing any more; Err tells. It is never closed without a deadline.
func (t *Turn) GiveUp() <-chan struct{} { return t.giveUp }

// Err is why the turn was refused, or why to give up: a *TooLate or ErrReleased. It is nil
// while the guest waits or may move.
func (t *Turn) Err() error {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return t.err
}

// Step is what was granted: by what means to move, over which link, and what is predicted. Its times
// count from the grant. It is empty before.
func (t *Turn) Step() Step {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return t.step
}

// Paused tells for how long the guest was paused, before Copied reports that it has left.
func (t *Turn) Paused(d time.Duration) {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	t.pause = d
}

// Copied reports that the guest has left: the link is free for the next while the caller
// verifies and cleans up. Whoever does not call it before Release has not moved the guest, or cannot tell.
func (t *Turn) Copied() {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	if i := slices.Index(t.q.flight, t); i >= 0 {
		t.q.tally()
		t.q.flight = slices.Delete(t.q.flight, i, i+1)
		t.q.learn(t)
		t.q.widen(t)
		t.q.dispatch()
	}
}

// Update takes over what was learnt of the guest's load. One that moves already continues, and those that wait
// use its present budget. The error is that of a load that makes no sense: then nothing is changed.
func (t *Turn) Update(l predict.Load) error {
	q := t.q
	q.mu.Lock()
	defer q.mu.Unlock()
	g := t.c.guest
	g.Load = l
	if err := q.node.checkGuest(g); err != nil {
		return err
	}
	t.c = newCandidate(g, q.links)
	switch {
	case slices.Contains(q.waiting, t):
		t.lastCall = time.Time{}
	case slices.Contains(q.flight, t):
		t.expect()
	}
	q.dispatch()
	return nil
}

// expect reckons again with a move that is under way, by the means that it was granted.
func (t *Turn) expect() {
	i := slices.IndexFunc(t.c.options, func(o option) bool { return o.link == t.link && o.rung == t.step.Rung })
	if i < 0 { // nothing says that it keeps its budget: leave it alone
		t.step.AtOnce = 1
		return
	}
	o := t.c.options[i]
	t.step.AtOnce, t.step.Prediction = o.atOnce, o.pred
	t.free = t.granted.Add(predict.Later(t.q.links[t.link].Setup, o.pred.Duration))
}

// Release gives the turn back, whether it was granted or not. It may be called again.
func (t *Turn) Release() {
	q := t.q
	q.mu.Lock()
	defer q.mu.Unlock()
	name := t.c.guest.Name
	if q.turns[name] != t {
		return
	}
	delete(q.turns, name)
	if slices.Contains(q.waiting, t) {
		q.deny(t, ErrReleased)
	}
	q.tally()
	q.flight = slices.DeleteFunc(q.flight, func(o *Turn) bool { return o == t })
	q.dispatch()
}

// leaves is when the slot will be free.
func (t *Turn) leaves() time.Time { return t.free.Add(t.q.links[t.link].Teardown) }
