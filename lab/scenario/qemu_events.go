package scenario

import (
	"bufio"
	"context"
	"io"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/migrate/wait"
)

// listener collects QEMU's events from all nodes, with QEMU's own time stamps:
// these nodes share one clock.
type listener struct {
	cluster *cluster.Cluster

	mu       sync.Mutex
	events   []Event
	sessions []session
}

// session is a time in which a listener got all events of a node; to is zero while it does.
type session struct {
	node     string
	from, to time.Time
}

// deafFor is how long a listener may take to be registered after its program was started.
const deafFor = time.Second

// heardAll reports whether all events of a copy have come.
func (l *listener) heardAll(c Copy) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.sessions, func(s session) bool {
		return s.node == c.Node && !c.Seen.Add(-slack).Before(s.from.Add(deafFor)) &&
			(s.to.IsZero() || !c.Gone.IsZero() && c.Gone.Before(s.to))
	})
}

// begin notes a session, and returns its end.
func (l *listener) begin(node string, now func() time.Time) (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := len(l.sessions)
	l.sessions = append(l.sessions, session{node: node, from: now()})
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.sessions[i].to = now()
	}
}

// run listens on one node until ctx ends, through the node's reboots.
func (l *listener) run(ctx context.Context, node string) error {
	for ctx.Err() == nil {
		l.listen(ctx, node)
		_ = wait.For(ctx, 300*time.Millisecond) // the node is down, or libvirt is not up yet
	}
	return nil
}

// listen reads from one virsh until it ends. Why it ends is of no interest:
// the node goes down or the scenario is over.
func (l *listener) listen(ctx context.Context, node string) {
	cmd, err := l.cluster.Command(ctx, node, "stdbuf", "-oL", "virsh", "--connect=qemu:///system", "qemu-monitor-event",
		"--loop")
	if err != nil {
		return
	}
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	end := l.begin(node, time.Now)
	l.collect(node, out)
	end()
	_ = cmd.Wait()
}

func (l *listener) collect(node string, out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if event, ok := parseEvent(node, lines.Text()); ok {
			l.mu.Lock()
			l.events = append(l.events, event)
			l.mu.Unlock()
		}
	}
}

// Events are all so far, in order of time.
func (l *listener) Events() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return inOrder(l.events)
}

var eventLine = regexp.MustCompile(`^event (\w+) at (\d+)\.(\d{6}) for domain '?([^':]+)'?:? ?(.*)$`)

// parseEvent reads a line of `virsh qemu-monitor-event`.
func parseEvent(node, line string) (Event, bool) {
	m := eventLine.FindStringSubmatch(line)
	if m == nil {
		return Event{}, false
	}
	seconds, err := strconv.ParseInt(m[2], 10, 64)
	if err != nil {
		return Event{}, false
	}
	micros, err := strconv.ParseInt(m[3], 10, 64)
	if err != nil {
		return Event{}, false
	}
	data := m[5]
	if data == "<null>" {
		data = ""
	}
	return Event{At: time.Unix(seconds, micros*1000), Node: node, Guest: m[4], Name: m[1], Data: data}, true
}
