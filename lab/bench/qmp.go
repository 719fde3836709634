package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// qmp is a connection to one QEMU (QEMU Machine Protocol Reference Manual), for one goroutine.
// After a command that was not waited for to its end, only quit makes sense.
type qmp struct {
	conn    net.Conn
	replies chan qmpMessage // closed when nothing comes any more

	mu      sync.Mutex
	events  []qmpEvent
	changed chan struct{} // closed when events or err change
	err     error         // why nothing comes any more
}

// qmpEvent is what QEMU tells without being asked, with its own clock's time.
type qmpEvent struct {
	Name string
	Data json.RawMessage
	At   time.Time
}

// qmpMessage is anything that QEMU sends.
type qmpMessage struct {
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// dialQMP connects to the socket at path and makes it ready for commands.
func dialQMP(ctx context.Context, path string) (*qmp, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to QEMU: %w", err)
	}
	return newQMP(ctx, conn)
}

func newQMP(ctx context.Context, conn net.Conn) (*qmp, error) {
	m := &qmp{conn: conn, replies: make(chan qmpMessage, 1), changed: make(chan struct{})}
	go m.read()
	if _, err := m.execute(ctx, "qmp_capabilities", nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return m, nil
}

// read takes in what comes until the connection ends.
func (m *qmp) read() {
	in := json.NewDecoder(m.conn)
	for {
		var got qmpMessage
		err := in.Decode(&got)
		switch {
		case err != nil:
			defer close(m.replies)
			m.note(func() { m.err = fmt.Errorf("QEMU's monitor: %w", err) })
			return
		case got.Event != "":
			at := time.Unix(got.Timestamp.Seconds, got.Timestamp.Microseconds*1000)
			m.note(func() { m.events = append(m.events, qmpEvent{got.Event, got.Data, at}) })
		case got.Greeting == nil:
			select {
			case m.replies <- got:
			default: // to a command that nobody waits for any more
			}
		}
	}
}

// note changes what waiters look at.
func (m *qmp) note(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	close(m.changed)
	m.changed = make(chan struct{})
}

// look is what came so far, how to learn of more, and why there is no more to come.
func (m *qmp) look() (events []qmpEvent, changed <-chan struct{}, gone error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.events, m.changed, m.err
}

// execute runs a command; args may be nil.
func (m *qmp) execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	text, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, args})
	if err != nil {
		return nil, err
	}
	if _, err := m.conn.Write(append(text, '\n')); err != nil {
		return nil, fmt.Errorf("ask QEMU for %q: %w", command, err)
	}
	select {
	case reply, ok := <-m.replies:
		switch {
		case !ok:
			_, _, gone := m.look()
			return nil, fmt.Errorf("ask QEMU for %q: %w", command, gone)
		case reply.Error != nil:
			return nil, fmt.Errorf("QEMU refused %q: %s", command, reply.Error.Desc)
		}
		return reply.Return, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for QEMU to carry out %q: %w", command, ctx.Err())
	}
}

// mark is a place in the row of events: those that come later.
func (m *qmp) mark() int {
	events, _, _ := m.look()
	return len(events)
}

// await waits for an event after a mark that matches.
func (m *qmp) await(ctx context.Context, mark int, what string, match func(qmpEvent) bool) (qmpEvent, error) {
	for {
		events, changed, gone := m.look()
		for ; mark < len(events); mark++ {
			if match(events[mark]) {
				return events[mark], nil
			}
		}
		if gone != nil {
			return qmpEvent{}, fmt.Errorf("wait for QEMU's %s: %w", what, gone)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return qmpEvent{}, fmt.Errorf("wait for QEMU's %s: %w", what, ctx.Err())
		}
	}
}

// named matches events by name.
func named(name string) func(qmpEvent) bool {
	return func(e qmpEvent) bool { return e.Name == name }
}

// ended matches the end of a migration, good or bad.
func ended(e qmpEvent) bool {
	status := migrationStatus(e)
	return status == "completed" || status == "failed"
}

// migrationStatus is the status that a MIGRATION event tells, or empty.
func migrationStatus(e qmpEvent) string {
	var data struct {
		Status string `json:"status"`
	}
	if e.Name != "MIGRATION" || json.Unmarshal(e.Data, &data) != nil {
		return ""
	}
	return data.Status
}
