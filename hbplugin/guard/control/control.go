package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/agentd/wire"
)

// Socket is where a guard listens.
const Socket = "/run/vmferry/guard.sock"

const (
	maxLine  = 64 << 10
	talkTime = 2 * time.Second // for one line
	pause    = 50 * time.Millisecond
)

// Verb is what a request wants.
type Verb string

// The verbs.
const (
	Fence     Verb = "fence"     // the proof that Node runs no guest
	Open      Verb = "open"      // take the lease, in a new generation
	Surrender Verb = "surrender" // give it back, and kill what still runs
	MayRun    Verb = "may-run"   // whether guests may run and be started on Node; "": on this one
	Status    Verb = "status"
	Confirm   Verb = "confirm" // take the administrator's word that Node is off
)

// Request is one question to the guard.
type Request struct {
	Verb      Verb   `json:"verb"`
	Node      string `json:"node,omitempty"`
	TimeoutMS int64  `json:"timeout_ms"` // what the caller waits at most
	UID       uint32 `json:"-"`          // of the caller, as the kernel says
}

// Reply is the answer.
type Reply struct {
	OK     bool            `json:"ok"`
	Why    string          `json:"why,omitempty"` // the evidence, or what is missing
	Status json.RawMessage `json:"status,omitempty"`
}

// ErrNoGuard is the error of a call where no guard listens.
var ErrNoGuard = errors.New("no guard runs on this node: type systemctl start vmferry-guard")

// mayRunTime bounds a question whether guests may run: the guard's loop answers it at once.
const mayRunTime = 2 * time.Second

// AskMayRun asks the guard that listens at socket whether guests may run on a node, "" for this one. No answer within
// two seconds is an error too; each says what to do.
func AskMayRun(ctx context.Context, socket, node string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, mayRunTime, fmt.Errorf("no answer within %s", mayRunTime))
	defer cancel()
	reply, err := Call(ctx, socket, Request{Verb: MayRun, Node: node})
	switch {
	case errors.Is(err, ErrNoGuard):
		return err
	case err != nil:
		return fmt.Errorf("the guard of this node does not answer: type systemctl restart vmferry-guard (%w)", err)
	case !reply.OK:
		return fmt.Errorf("%s: type vmferry guard status", reply.Why)
	}
	return nil
}

// Call asks the guard that listens at socket, and waits until ctx ends, which must have a deadline. The word of a
// process that is neither root's nor this user's is an error.
func Call(ctx context.Context, socket string, r Request) (Reply, error) {
	until, ok := ctx.Deadline()
	if !ok {
		return Reply{}, errors.New("a call to the guard needs a deadline")
	}
	r.TimeoutMS = max(time.Until(until).Milliseconds(), 1)
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return Reply{}, fmt.Errorf("%w (%w)", ErrNoGuard, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if end, ok := conn.(syscall.Conn); ok {
		_, err = wire.Credentials(end)
	}
	if err != nil {
		return Reply{}, fmt.Errorf("it is no guard that listens at %s: %w", socket, err)
	}
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return Reply{}, fmt.Errorf("ask the guard: %w", err)
	}
	var reply Reply
	if err := decode(conn, &reply); err != nil {
		return Reply{}, fmt.Errorf("the guard's answer: %w", errors.Join(err, context.Cause(ctx)))
	}
	return reply, nil
}

func decode(from io.Reader, into any) error {
	line, err := bufio.NewReader(io.LimitReader(from, maxLine)).ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

// Serve answers requests until ctx ends, each in a goroutine of its own. answer gets a context that ends when the
// caller's time is up or when the caller has gone.
func Serve(ctx context.Context, l *net.UnixListener, answer func(context.Context, Request) Reply) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			_ = wait.For(ctx, pause) // there may be no descriptor for now; a guard that answers nobody is none
			continue
		}
		go func() {
			defer conn.Close()
			converse(ctx, conn, answer)
		}()
	}
}

func converse(ctx context.Context, conn *net.UnixConn, answer func(context.Context, Request) Reply) {
	caller, err := wire.Credentials(conn)
	if err != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(talkTime))
	var r Request
	if err := decode(conn, &r); err != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	r.UID = caller.Uid
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.TimeoutMS)*time.Millisecond)
	defer cancel()
	go func() {
		_, _ = conn.Read(make([]byte, 1)) // it has no more to say: it went away
		cancel()
	}()
	reply := answer(ctx, r)
	_ = conn.SetWriteDeadline(time.Now().Add(talkTime))
	_ = json.NewEncoder(conn).Encode(reply)
}
