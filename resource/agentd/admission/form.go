package admission

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/resource/agentd/wire"
)

// Request asks for a guest's turn. Durations are in nanoseconds, rates in bytes per second.
type Request struct {
	Schema   int    `json:"schema"`
	Action   string `json:"action"` // wire.Enter
	Guest    string `json:"guest"`
	UUID     string `json:"uuid,omitempty"`
	Resource string `json:"resource,omitempty"` // its id in the cluster manager
	Target   string `json:"target,omitempty"`   // the node that it is to run on

	Priority int          `json:"priority,omitempty"` // higher goes first
	Ladder   ladder.Rungs `json:"ladder,omitempty"`   // empty for ladder.Default
	// how long its clean shutdown may take, 0 where that is not known
	Shutdown time.Duration `json:"shutdown,omitempty"`
	Deadline time.Time     `json:"deadline,omitzero"` // when the caller's time is up, zero for never
	Rate     float64       `json:"rate,omitempty"`    // of the link, 0 where that is not known
	Most     float64       `json:"most,omitempty"`    // that its move may take of it, 0 for all
	SetUp    time.Duration `json:"set_up,omitempty"`  // of a migration, what is not copying

	Load
}

// Load is predict.Load in a message.
type Load struct {
	Memory     uint64        `json:"memory,omitempty"`
	DirtyRate  float64       `json:"dirty_rate,omitempty"`
	WorkingSet uint64        `json:"working_set,omitempty"`
	Device     uint64        `json:"device,omitempty"`
	Limit      time.Duration `json:"limit,omitempty"`
	Budget     time.Duration `json:"budget,omitempty"`
	HandOver   time.Duration `json:"hand_over,omitempty"`
	Disks      uint64        `json:"disks,omitempty"`
}

// guest is the request as the plan has it.
func (r Request) guest() drain.Guest {
	g := drain.Guest{
		Name: r.Guest, Priority: r.Priority, Ladder: r.Ladder, Shutdown: r.Shutdown,
		Most: r.Most, Load: predict.Load(r.Load),
	}
	if !r.Deadline.IsZero() {
		g.Patience = max(time.Until(r.Deadline), 1)
	}
	return g
}

// The words of the two sides.
const (
	wordWaiting = "waiting"
	wordGranted = "granted"
	wordTooLate = "too-late"
	wordGiveUp  = "give-up"

	wordLoad   = "load" // the agent's
	wordCopied = "copied"
)

// message is what the daemon sends.
type message struct {
	Schema   int    `json:"schema"`
	Declined string `json:"declined,omitempty"` // why the daemon has no turn to give, as in wire.Answer
	Word     string `json:"word,omitempty"`

	AtOnce   int           `json:"at_once,omitempty"` // granted: how many may be under way, this one counted
	Deadline time.Time     `json:"deadline,omitzero"` // granted: when the node must be empty
	Rung     ladder.Rung   `json:"means,omitempty"`   // too-late: what to do instead
	Left     time.Duration `json:"left,omitempty"`    // too-late: until the node must be empty
	Why      string        `json:"why,omitempty"`     // too-late, give-up
}

// decodeRequest reads a line that an agent sent. What the plan needs is checked by the plan.
func decodeRequest(line []byte) (Request, error) {
	var r Request
	if err := wire.Decode(line, &r); err != nil {
		return Request{}, fmt.Errorf("read request: %w", err)
	}
	switch {
	case r.Schema != wire.Schema:
		return Request{}, fmt.Errorf(
			"read request: schema is %d, this daemon speaks %d: restart vmferryd after an upgrade", r.Schema,
			wire.Schema)
	case r.Action != wire.Enter:
		return Request{}, fmt.Errorf("read request: action %q is not %q", r.Action, wire.Enter)
	case r.Guest == "":
		return Request{}, errors.New("read request: it names no guest")
	case r.SetUp < 0 || !(r.Rate >= 0) || !(r.Most >= 0):
		return Request{}, fmt.Errorf("read request: guest %q has a negative rate or time", r.Guest)
	}
	return r, nil
}

// decodeMessage reads a line that the daemon sent. That it declined is an error.
func decodeMessage(line []byte) (message, error) {
	var w message
	if err := wire.Decode(line, &w); err != nil {
		return message{}, fmt.Errorf("read the daemon's message: %w", err)
	}
	switch {
	case w.Schema != wire.Schema:
		return message{}, fmt.Errorf("read the daemon's message: schema is %d, this agent speaks %d",
			w.Schema, wire.Schema)
	case w.Declined != "":
		return message{}, fmt.Errorf("the daemon declined: %s", w.Declined)
	}
	switch w.Word {
	case wordWaiting, wordTooLate, wordGiveUp:
		return w, nil
	case wordGranted:
		if w.AtOnce < 1 {
			return message{}, fmt.Errorf("read the daemon's message: granted with %d at once", w.AtOnce)
		}
		return w, nil
	}
	return message{}, fmt.Errorf("read the daemon's message: unknown word %q", w.Word)
}

// update is what the agent sends after the request.
type update struct {
	Schema int    `json:"schema"`
	Word   string `json:"word"`
	// with wordCopied: for how long the guest was paused, 0 where that is not known
	Pause time.Duration `json:"pause,omitempty"`
	Load                // with wordLoad: what was measured meanwhile
}

// decodeUpdate reads a line that an agent sent. What the plan needs is checked by the plan.
func decodeUpdate(line []byte) (update, error) {
	var n update
	if err := wire.Decode(line, &n); err != nil {
		return update{}, fmt.Errorf("read the agent's message: %w", err)
	}
	if n.Schema != wire.Schema || n.Word != wordLoad && n.Word != wordCopied {
		return update{}, fmt.Errorf("read the agent's message: unknown word %q of schema %d", n.Word, n.Schema)
	}
	return n, nil
}

const (
	// talkTime is how long the other side may take to listen.
	talkTime = 5 * time.Second
	// sign is how often the daemon says that an agent still waits, and silence after how long without
	// that the agent takes the daemon for dead.
	sign    = time.Second
	silence = 10 * time.Second
)

// stream is one side's end of the connection.
type stream struct {
	net.Conn
	in *bufio.Reader

	mu sync.Mutex // one message at a time goes out
}

// send sends a message.
func (t *stream) send(value any) error {
	line, err := wire.Encode(value)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.SetWriteDeadline(time.Now().Add(talkTime))
	_, err = t.Write(line)
	return err
}

// receive waits for a message.
func (t *stream) receive() ([]byte, error) { return wire.ReadLine(t.in) }
