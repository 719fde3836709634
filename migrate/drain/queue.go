package drain

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
)

var (
	// ErrQueued is in the error of a guest that has a turn already.
	ErrQueued = errors.New("it has a turn already")
	// ErrReleased is a turn's error when it was released before it was granted.
	ErrReleased = errors.New("the turn was released")
)

// TooLate is the error of a guest that must not begin, or not continue, to move: for what
// else may be done with it, this is the last moment.
type TooLate struct {
	Guest string
	Rung  ladder.Rung   // what to do instead; "" when there is no time for anything that it allows
	Left  time.Duration // until the node must be empty
	Why   string
}

// Error says what is too late, why, and what to do.
func (e *TooLate) Error() string {
	what := "nothing else that it allows can be done in time"
	if e.Rung != "" {
		what = fmt.Sprintf("use %q instead", e.Rung)
	}
	return fmt.Sprintf("guest %q cannot be migrated in the %v that remain: %s; %s", e.Guest, e.Left.Round(time.Second),
		e.Why, what)
}

// Clock tells the time and wakes.
type Clock interface {
	// Now is the time.
	Now() time.Time
	// AfterFunc calls f once after d, never from within AfterFunc, unless it is stopped.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }
func (systemClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// Options are what a Queue can be told besides its node.
type Options struct {
	Clock  Clock         // nil for the system's
	Gather time.Duration // how long the first guest waits for others, so that the dearest of them goes first
	// Explore has the queue find out how many at once are quickest: it begins with one that copies and one that is
	// set up meanwhile, and tries more, where they bear it and keep their budgets.
	Explore bool
}

// Queue grants slots to guests that leave one node, by the plan for those that have asked and for
// what really happens. Its methods may be called from any goroutine. It has no goroutine of
// its own: what changes it plans again, and so does one timer.
type Queue struct {
	clock  Clock
	gather time.Duration
	lanes  [][]time.Time // when each link's lanes were last left

	explore bool
	widths  []width // of each link, below mu

	mu       sync.Mutex
	node     Node   // its links as given; Window is not used
	links    []Link // as they turned out to be
	deadline time.Time
	gathered time.Time
	turns    map[string]*Turn // all that are not released
	waiting  []*Turn
	flight   []*Turn // granted, and not yet known to have left
	stop     func() bool
}

// NewQueue makes a queue for the node. A window begins now; see SetDeadline.
func NewQueue(n Node, o Options) (*Queue, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	n.Links = slices.Clone(n.Links)
	q := &Queue{clock: o.Clock, gather: o.Gather, explore: o.Explore, node: n, links: slices.Clone(n.Links),
		turns: make(map[string]*Turn), stop: func() bool { return false }}
	if q.clock == nil {
		q.clock = systemClock{}
	}
	if n.Window > 0 {
		q.deadline = q.clock.Now().Add(n.Window)
	}
	for i := range n.Links {
		if o.Explore {
			q.links[i].width = 1
		}
		q.lanes = append(q.lanes, make([]time.Time, mostAtOnce))
		q.widths = append(q.widths, width{now: 1})
	}
	return q, nil
}

// SetDeadline says by when the node must be empty, also while guests wait and move; the zero
// time is no deadline.
func (q *Queue) SetDeadline(t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.deadline = t
	for _, turn := range q.turns {
		turn.lastCall = time.Time{}
	}
	q.dispatch()
}

// Join puts a guest into the queue. Whoever calls it must release the turn, whatever becomes of it.
// The error is ErrQueued, or says what is wrong with the guest.
func (q *Queue) Join(g Guest) (*Turn, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.node.checkGuest(g); err != nil {
		return nil, err
	}
	if q.turns[g.Name] != nil {
		return nil, fmt.Errorf("guest %q: %w", g.Name, ErrQueued)
	}
	t := &Turn{q: q, c: newCandidate(g, q.links), ready: make(chan struct{}), giveUp: make(chan struct{})}
	if g.Patience > 0 {
		t.until = q.clock.Now().Add(g.Patience)
	}
	if len(q.turns) == 0 {
		q.gathered = q.clock.Now().Add(q.gather)
	}
	q.turns[g.Name] = t
	q.waiting = append(q.waiting, t)
	q.dispatch()
	return t, nil
}
