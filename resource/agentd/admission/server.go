package admission

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/resource/agentd/wire"
)

const (
	// network is the name of the one link that the plan knows: the way out that all moves share.
	network = "network"

	// guessedRate is what a link is assumed to carry that no move has measured, in bytes per second: a
	// gigabit. The queue learns better from the first move.
	guessedRate = 125e6

	// lull is how long nobody was inside when another drain begins. Within one a manager may call for one guest
	// after the other, as Pacemaker does on a node under load, and each must not wait for others again.
	lull = 15 * time.Second
)

// Server is the daemon's side. Its methods may be called from any goroutine.
type Server struct {
	// Gather, when not nil, says how long the first guest of a drain is to wait for others, so that
	// the dearest goes first.
	Gather func() time.Duration
	Log    logrus.FieldLogger

	mu       sync.Mutex
	queue    *drain.Queue // of the guests that are inside, nil when nobody is
	inside   int
	emptied  time.Time // when the last one left
	deadline time.Time
}

// SetDeadline says by when the node must be empty, also while guests wait and move; the zero time is
// no deadline.
func (s *Server) SetDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deadline.Equal(t) {
		return
	}
	s.deadline = t
	if s.queue != nil {
		s.queue.SetDeadline(t)
	}
}

// Busy reports whether guests wait to leave this node, or are leaving.
func (s *Server) Busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inside > 0
}

// Serve leads the conversation that an agent has begun with first, and returns when it is over. in
// has what the agent says further. The connection stays the caller's to close.
func (s *Server) Serve(ctx context.Context, conn net.Conn, in *bufio.Reader, first []byte) {
	defer s.recoverPanic()
	t := &stream{Conn: conn, in: in}
	r, err := decodeRequest(first)
	if err != nil {
		_ = t.send(message{Schema: wire.Schema, Declined: err.Error()})
		return
	}
	turn, leave, err := s.join(r)
	if err != nil {
		_ = t.send(message{Schema: wire.Schema, Declined: err.Error()})
		return
	}
	defer leave()
	agent, cancel := until(ctx, r.Deadline)
	defer cancel()
	go func() {
		defer s.recoverPanic()
		defer cancel() // a caller that went away
		t.readUpdates(turn)
	}()
	log := s.Log.WithFields(logrus.Fields{"guest": r.Guest, "peer": r.Target})
	// A daemon that ends releases turns that the agents do not: it has none to grant any more.
	if t.wait(agent, turn) && ctx.Err() == nil && s.report(t, turn, log) {
		t.guard(agent, turn, log)
	}
}

// recoverPanic keeps the daemon alive, which holds a node's shutdown, when it breaks down over a guest's numbers.
func (s *Server) recoverPanic() {
	if p := recover(); p != nil {
		s.Log.Errorf("panic in the migration queue: the agent continues without a turn: %v", p)
	}
}

// until is ctx that ends a little after an agent's own time, if that has an end.
func until(ctx context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	if deadline.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(silence))
}

// clock is the system's, and survives what it calls.
type clock struct{ recoverPanic func() }

// Now implements drain.Clock.
func (clock) Now() time.Time { return time.Now() }

// AfterFunc implements drain.Clock.
func (c clock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, func() {
		defer c.recoverPanic()
		f()
	}).Stop
}

// join takes the guest into the queue; leave takes it out, whatever became of it.
func (s *Server) join(r Request) (turn *drain.Turn, leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil {
		if s.queue, err = s.open(r); err != nil {
			return nil, nil, err
		}
	}
	q := s.queue
	turn, err = q.Join(r.guest())
	if err == nil {
		s.inside++
	} else if s.inside == 0 {
		s.queue = nil
	}
	return turn, func() {
		turn.Release()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.inside--; s.inside == 0 {
			s.queue, s.emptied = nil, time.Now()
		}
	}, err
}

// open makes a queue, by what the first guest knows of the link.
func (s *Server) open(r Request) (*drain.Queue, error) {
	link := drain.Link{Name: network, Rate: r.Rate, Setup: r.SetUp}
	if link.Rate == 0 {
		// Nobody knows when a move will be done: without a set-up the next begins when it is.
		link.Rate, link.Setup = guessedRate, 0
	}
	o := drain.Options{Clock: clock{s.recoverPanic}, Explore: true}
	if s.Gather != nil && time.Since(s.emptied) >= lull {
		o.Gather = s.Gather()
	}
	q, err := drain.NewQueue(drain.Node{Links: []drain.Link{link}}, o)
	if err == nil {
		q.SetDeadline(s.deadline)
	}
	return q, err
}

// by is when the node must be empty.
func (s *Server) by() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deadline
}

// wait waits until the turn is granted or refused; false ends the conversation.
func (t *stream) wait(ctx context.Context, turn *drain.Turn) bool {
	tick := time.NewTicker(sign)
	defer tick.Stop()
	for {
		select {
		case <-turn.Ready():
			return true
		default:
		}
		if t.send(message{Schema: wire.Schema, Word: wordWaiting}) != nil {
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

// report sends what became of the wait.
func (s *Server) report(t *stream, turn *drain.Turn, log logrus.FieldLogger) bool {
	err := turn.Err()
	var late *drain.TooLate
	switch {
	case errors.As(err, &late):
		log.WithError(err).Warn("migration refused")
		_ = t.send(message{Schema: wire.Schema, Word: wordTooLate, Rung: late.Rung, Left: late.Left, Why: late.Why})
		return false
	case err != nil:
		return false
	}
	step := turn.Step()
	log.WithField("phase", "turn").Infof("migration admitted; %d may run at once", step.AtOnce)
	return t.send(message{Schema: wire.Schema, Word: wordGranted, AtOnce: max(step.AtOnce, 1), Deadline: s.by()}) == nil
}

// guard holds the turn until the agent has gone.
func (t *stream) guard(ctx context.Context, turn *drain.Turn, log logrus.FieldLogger) {
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
	log.WithError(err).Warn("aborting the migration: it takes longer than predicted")
	if t.send(message{Schema: wire.Schema, Word: wordGiveUp, Why: why}) == nil {
		<-ctx.Done()
	}
}

// readUpdates reads what the agent sends until it goes away or sends what it should not.
func (t *stream) readUpdates(turn *drain.Turn) {
	for {
		line, err := t.receive()
		if err != nil {
			return
		}
		n, err := decodeUpdate(line)
		if err == nil && n.Word == wordLoad {
			err = turn.Update(predict.Load(n.Load))
		} else if err == nil {
			turn.Paused(n.Pause)
			turn.Copied()
		}
		if err != nil {
			return
		}
	}
}
