package turns

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/resource/warm/wire"
)

const (
	// network is the name of the one link that the plan knows: the way out that all moves share.
	network = "network"

	// guessedRate is what a link is taken to carry of which no move has told, in bytes per second: a
	// gigabit. The queue learns better from the first move.
	guessedRate = 125e6
	// guessedSetUp is the same for what a migration takes before it sends anything.
	guessedSetUp = 500 * time.Millisecond
)

// Desk is the daemon's side. Its methods may be called from any goroutine.
type Desk struct {
	// Gather, when not nil, says how long the first guest is to wait for others, so that
	// the dearest goes first.
	Gather func() time.Duration
	Log    logrus.FieldLogger

	mu       sync.Mutex
	queue    *drain.Queue // of the guests that are inside, nil when nobody is
	inside   int
	deadline time.Time
}

// SetDeadline says by when the node must be empty, also while guests wait and move; the zero time is
// no deadline.
func (d *Desk) SetDeadline(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deadline.Equal(t) {
		return
	}
	d.deadline = t
	if d.queue != nil {
		d.queue.SetDeadline(t)
	}
}

// Serve leads the conversation that an agent has begun with first, and returns when it is over. in
// has what the agent says further. The connection stays the caller's to close.
func (d *Desk) Serve(ctx context.Context, conn net.Conn, in *bufio.Reader, first []byte) {
	// The daemon holds a node's shutdown, and must not die of a guest's numbers.
	defer func() {
		if p := recover(); p != nil {
			d.Log.Errorf("the queue of moves broke down: an agent goes on without: %v", p)
		}
	}()
	t := &talk{Conn: conn, in: in}
	r, err := decodeRequest(first)
	if err != nil {
		_ = t.say(word{Schema: wire.Schema, Declined: err.Error()})
		return
	}
	if !r.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, r.Deadline.Add(silence))
		defer cancel()
	}
	turn, leave, err := d.join(r)
	if err != nil {
		_ = t.say(word{Schema: wire.Schema, Declined: err.Error()})
		return
	}
	defer leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel() // a caller that went away
		t.heed(turn)
	}()
	log := d.Log.WithFields(logrus.Fields{"guest": r.Guest, "peer": r.Target})
	if d.grant(ctx, t, turn, log) {
		t.guard(ctx, turn, log)
	}
}

// join takes the guest into the queue; leave takes it out, whatever became of it.
func (d *Desk) join(r Request) (turn *drain.Turn, leave func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queue == nil {
		if d.queue, err = d.open(r); err != nil {
			return nil, nil, err
		}
	}
	q := d.queue
	turn, err = q.Join(r.guest())
	if err == nil {
		d.inside++
	} else if d.inside == 0 {
		d.queue = nil
	}
	return turn, func() {
		turn.Release()
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.inside--; d.inside == 0 {
			d.queue = nil
		}
	}, err
}

// open makes a queue, by what the first guest knows of the link.
func (d *Desk) open(r Request) (*drain.Queue, error) {
	link := drain.Link{Name: network, Rate: cmp.Or(r.Rate, guessedRate), Setup: cmp.Or(r.SetUp, guessedSetUp)}
	var o drain.Options
	if d.Gather != nil {
		o.Gather = d.Gather()
	}
	q, err := drain.NewQueue(drain.Node{Links: []drain.Link{link}}, o)
	if err == nil {
		q.SetDeadline(d.deadline)
	}
	return q, err
}

func (d *Desk) until() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.deadline
}

// grant waits for the turn and tells the agent; false ends the conversation.
func (d *Desk) grant(ctx context.Context, t *talk, turn *drain.Turn, log logrus.FieldLogger) bool {
	tick := time.NewTicker(sign)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-turn.Ready():
			return d.tell(t, turn, log.WithField("waited", time.Since(began).Round(time.Millisecond)))
		default:
		}
		if t.say(word{Schema: wire.Schema, Word: wordWaiting}) != nil {
			return false
		}
		select {
		case <-turn.Ready():
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// tell says what became of the wait.
func (d *Desk) tell(t *talk, turn *drain.Turn, log logrus.FieldLogger) bool {
	err := turn.Err()
	var late *drain.TooLate
	switch {
	case errors.As(err, &late):
		log.WithError(err).Warn("refused a guest its turn to move")
		_ = t.say(word{Schema: wire.Schema, Word: wordTooLate, Means: late.Means, Left: late.Left, Why: late.Why})
		return false
	case err != nil:
		return false
	}
	step := turn.Step()
	log.WithField("phase", "turn").Infof("a guest has its turn to move; %d may be under way at once", step.AtOnce)
	return t.say(word{Schema: wire.Schema, Word: wordGranted, AtOnce: max(step.AtOnce, 1), Deadline: d.until()}) == nil
}

// guard holds the turn until the agent has gone.
func (t *talk) guard(ctx context.Context, turn *drain.Turn, log logrus.FieldLogger) {
	select {
	case <-ctx.Done():
		return
	case <-turn.GiveUp():
	}
	err := turn.Err()
	why := ""
	if err != nil {
		why = err.Error()
	}
	log.WithError(err).Warn("took a guest's turn to move back")
	if t.say(word{Schema: wire.Schema, Word: wordGiveUp, Why: why}) == nil {
		<-ctx.Done()
	}
}

// heed reads the agent's words until it goes away or says what it should not.
func (t *talk) heed(turn *drain.Turn) {
	for {
		line, err := t.hear()
		if err != nil {
			return
		}
		n, err := decodeNews(line)
		if err == nil && n.Word == wordLoad {
			err = turn.Update(drain.Load(n.Load))
		} else if err == nil {
			turn.Copied()
		}
		if err != nil {
			return
		}
	}
}
