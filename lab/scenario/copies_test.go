package scenario

import (
	"testing"
	"time"
)

// clock is the time line of these tests: tenths of a second.
func clock(tenths int) time.Time {
	return time.Unix(1000, 0).Add(time.Duration(tenths) * 100 * time.Millisecond)
}

func qemuCopy(node string, seen, gone int) Copy {
	c := Copy{Guest: "vm1", Node: node, Seen: clock(seen)}
	if gone > 0 {
		c.Gone = clock(gone)
	}
	return c
}

func event(at int, node, name string) Event {
	return Event{At: clock(at), Node: node, Guest: "vm1", Name: name}
}

func TestMaxExecuting(t *testing.T) {
	for _, test := range []struct {
		name   string
		copies []Copy
		events []Event
		want   int
	}{
		{"never started", nil, nil, 0},
		{"one, no event was seen", []Copy{qemuCopy("node1", 0, 0)}, nil, 1},
		{
			// node1 |==========STOP      exit
			// node2      incoming  RESUME====
			"live migration",
			[]Copy{qemuCopy("node1", 0, 60), qemuCopy("node2", 20, 0)},
			[]Event{event(1, "node1", "RESUME"), event(50, "node1", "STOP"), event(51, "node2", "RESUME")},
			1,
		},
		{
			"resumed before the source stopped",
			[]Copy{qemuCopy("node1", 0, 60), qemuCopy("node2", 20, 0)},
			[]Event{event(1, "node1", "RESUME"), event(49, "node2", "RESUME"), event(50, "node1", "STOP")},
			2,
		},
		{
			"source resumed by mistake afterwards",
			[]Copy{qemuCopy("node1", 0, 0), qemuCopy("node2", 20, 0)},
			[]Event{event(1, "node1", "RESUME"), event(50, "node1", "STOP"), event(51, "node2", "RESUME"),
				event(70, "node1", "RESUME")},
			2,
		},
		{
			"two cold starts",
			[]Copy{qemuCopy("node1", 0, 0), qemuCopy("node2", 20, 0)},
			[]Event{event(1, "node1", "RESUME"), event(21, "node2", "RESUME")},
			2,
		},
		{
			"killed, then started elsewhere",
			[]Copy{qemuCopy("node2", 0, 30), qemuCopy("node1", 90, 0)},
			[]Event{event(1, "node2", "RESUME"), event(92, "node1", "RESUME")},
			1,
		},
		{
			"two processes of which nothing is known",
			[]Copy{qemuCopy("node1", 0, 0), qemuCopy("node2", 20, 0)},
			nil,
			2,
		},
		{
			"the listener came after the start",
			[]Copy{qemuCopy("node1", 0, 60), qemuCopy("node2", 20, 0)},
			[]Event{event(50, "node1", "STOP"), event(51, "node2", "RESUME")},
			1,
		},
		{
			"events of an earlier life of the guest on the same node",
			[]Copy{qemuCopy("node1", 0, 30), qemuCopy("node1", 100, 0)},
			[]Event{event(1, "node1", "RESUME"), event(101, "node1", "RESUME")},
			1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := maxExecuting("vm1", test.copies, test.events); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if got := maxExecuting("vm2", test.copies, test.events); got != 0 {
				t.Errorf("another guest: got %d, want 0", got)
			}
		})
	}
}

func TestPauseOf(t *testing.T) {
	events := []Event{
		event(10, "node1", "STOP"), event(11, "node1", "RESUME"), // an attempt that failed
		event(50, "node1", "STOP"), event(52, "node2", "RESUME"),
	}
	stop, resume, ok := pauseOf("vm1", "node1", "node2", events)
	if !ok || resume.Sub(stop) != 200*time.Millisecond {
		t.Errorf("got %v, %v", resume.Sub(stop), ok)
	}
	if _, _, ok := pauseOf("vm1", "node1", "node2", events[:3]); ok {
		t.Error("a pause without an end")
	}
	if _, _, ok := pauseOf("vm2", "node1", "node2", events); ok {
		t.Error("another guest's pause")
	}
}

// A copy that receives a migration and is killed before it runs has executed nothing, if its node was listened to all
// the time.
func TestHeardAll(t *testing.T) {
	l := new(listener)
	at := 0
	now := func() time.Time { return clock(at) }
	end := l.begin("node1", now)
	l.begin("node2", now)
	at = 10_000
	end()
	for _, test := range []struct {
		name string
		copy Copy
		want bool
	}{
		{"within a session", qemuCopy("node1", 5_000, 6_000), true},
		{"within one that goes on", qemuCopy("node2", 50_000, 60_000), true},
		{"alive, in one that goes on", qemuCopy("node2", 50_000, 0), true},
		{"at the begin of a session", qemuCopy("node1", 15, 19), false},
		{"longer than the session", qemuCopy("node1", 9_000, 11_000), false},
		{"alive, after the session", qemuCopy("node1", 9_000, 0), false},
		{"on another node", qemuCopy("node3", 5_000, 6_000), false},
	} {
		if got := l.heardAll(test.copy); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
