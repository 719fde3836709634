package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vmferry/vmferry/resource/agentd/socket"
)

// Socket is where a guard listens.
const Socket = "/run/vmferry/guard.sock"

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

// AskMayRun asks the guard that listens at path whether guests may run on a node, "" for this one. No answer within
// two seconds is an error too; each says what to do.
func AskMayRun(ctx context.Context, path, node string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, mayRunTime, fmt.Errorf("no answer within %s", mayRunTime))
	defer cancel()
	reply, err := Call(ctx, path, Request{Verb: MayRun, Node: node})
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

// Call asks the guard that listens at path, and waits until ctx ends, which must have a deadline. The word of a
// process that is neither root's nor this user's is an error.
func Call(ctx context.Context, path string, r Request) (reply Reply, err error) {
	if until, ok := ctx.Deadline(); ok {
		r.TimeoutMS = max(time.Until(until).Milliseconds(), 1)
	}
	err = socket.Ask(ctx, path, r, &reply)
	switch {
	case errors.Is(err, socket.ErrNobody):
		return Reply{}, fmt.Errorf("%w (%w)", ErrNoGuard, err)
	case err != nil:
		return Reply{}, fmt.Errorf("ask the guard: %w", err)
	}
	return reply, nil
}

// Serve answers requests until ctx ends, each in a goroutine of its own. answer gets a context that ends when the
// caller's time is up or when the caller has gone.
func Serve(ctx context.Context, l *net.UnixListener, answer func(context.Context, Request) Reply) {
	socket.Serve(ctx, l, func(ctx context.Context, uid uint32, r Request) Reply {
		r.UID = uid
		ctx, cancel := context.WithTimeout(ctx, time.Duration(r.TimeoutMS)*time.Millisecond)
		defer cancel()
		return answer(ctx, r)
	})
}
