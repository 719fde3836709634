package admission

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/resource/agentd/wire"
)

// Turn is a turn that the daemon has granted. Its methods may be called from any goroutine.
type Turn struct {
	stream  *stream
	granted message
	giveUp  chan struct{}
	release func()
}

// Measured waits for news of a guest's load.
type Measured func(ctx context.Context) (_ predict.Load, ok bool)

// Enter asks the daemon behind a socket for a guest's turn, and waits for it until ctx ends. The turn outlives
// ctx. waiting, when not nil, is called once when others come first, and measured in a goroutine of its own: what it
// returns is passed on if it is ok. Its context ends when Enter returns. Schema and Action are filled in.
//
// The error is a *drain.TooLate when the daemon says that the guest must not move, and ctx's when that ended.
// Any other means that the daemon gives no turn: it is not there, declined, died or hangs.
func Enter(ctx context.Context, socket string, r Request, waiting func(), measured Measured) (*Turn, error) {
	conn, err := dial(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("ask vmferryd for a turn: %w", err)
	}
	turn, err := enter(ctx, conn, r, waiting, measured)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("ask vmferryd for a turn: %w", err)
	}
	return turn, nil
}

// dial connects to the daemon, which must be root's or this user's.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, talkTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	raw, ok := conn.(syscall.Conn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%T is not a socket", conn), conn.Close())
	}
	if _, err := wire.Caller(raw); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func enter(ctx context.Context, conn net.Conn, r Request, waiting func(), measured Measured) (*Turn, error) {
	t := &stream{Conn: conn, in: bufio.NewReader(conn)}
	r.Schema, r.Action = wire.Schema, wire.Enter
	if err := t.send(r); err != nil {
		return nil, err
	}
	if measured != nil {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			if load, ok := measured(ctx); ok {
				_ = t.send(update{Schema: wire.Schema, Word: wordLoad, Load: Load(load)})
			}
		}()
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	w, err := t.await(ctx, waiting)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, err
	case w.Word == wordTooLate:
		return nil, &drain.TooLate{Guest: r.Guest, Rung: w.Rung, Left: w.Left, Why: w.Why}
	case w.Word != wordGranted:
		return nil, fmt.Errorf("the daemon sent %q before it granted a turn", w.Word)
	}
	if !stop() {
		return nil, ctx.Err()
	}
	turn := &Turn{stream: t, granted: w, giveUp: make(chan struct{})}
	turn.release = sync.OnceFunc(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Time{})
	go turn.listen()
	return turn, nil
}

// await returns the first word that ends the wait.
func (t *stream) await(ctx context.Context, waiting func()) (message, error) {
	for {
		_ = t.SetReadDeadline(time.Now().Add(silence))
		if ctx.Err() != nil { // whose end may have set another just before
			return message{}, ctx.Err()
		}
		line, err := t.receive()
		if err != nil {
			return message{}, fmt.Errorf("wait for the daemon's message: %w", err)
		}
		w, err := decodeMessage(line)
		if err != nil || w.Word != wordWaiting {
			return w, err
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
	}
}

// listen waits for the daemon to take the turn back. When it dies instead, the move continues.
func (t *Turn) listen() {
	for {
		line, err := t.stream.receive()
		if err != nil {
			return
		}
		if w, err := decodeMessage(line); err == nil && w.Word == wordGiveUp {
			close(t.giveUp)
			return
		}
	}
}

// AtOnce is how many moves may be under way, this one counted.
func (t *Turn) AtOnce() int { return t.granted.AtOnce }

// Deadline is when the node must be empty, zero without one.
func (t *Turn) Deadline() time.Time { return t.granted.Deadline }

// GiveUp is closed when the move should be aborted, because there will soon be no time for anything else.
func (t *Turn) GiveUp() <-chan struct{} { return t.giveUp }

// Update tells the daemon what was learnt of the guest's load since.
func (t *Turn) Update(l predict.Load) {
	_ = t.stream.send(update{Schema: wire.Schema, Word: wordLoad, Load: Load(l)})
}

// Copied tells the daemon that the guest has left, and for how long it was paused, if that is known. A daemon that died
// needs not know.
func (t *Turn) Copied(pause time.Duration) {
	_ = t.stream.send(update{Schema: wire.Schema, Word: wordCopied, Pause: pause})
}

// Release gives the turn back.
func (t *Turn) Release() { t.release() }

// Queue is the daemon's queue behind a socket, as package migrate wants it. base has what the engine does not
// know of the guest: its resource, its priority, and what may be done with it when it cannot move, as its Ladder.
func Queue(socket string, base Request) migrate.Queue {
	return func(ctx context.Context, w migrate.AdmissionRequest, waiting func()) (migrate.Admission, error) {
		turn, err := Enter(ctx, socket, base.with(w), waiting, w.Measured)
		if err != nil {
			return nil, err // not turn: a nil *Turn is a Turn that is not nil
		}
		return turn, nil
	}
}

// with is the whole request for one move.
func (r Request) with(w migrate.AdmissionRequest) Request {
	r.Guest, r.UUID, r.Target = w.Guest, w.UUID, w.Target
	r.Ladder = append(slices.Clone(w.Rungs), r.Ladder...)
	r.Deadline, r.Rate, r.Most, r.SetUp, r.Load = w.Deadline, w.Rate, w.Most, w.SetUp, Load(w.Load)
	return r
}
