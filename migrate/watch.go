package migrate

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/qmp"
)

// tape keeps the events of both ends. Its methods may be called from several goroutines
// and never block for long: the events come on libvirt's event loop.
type tape struct {
	mu        sync.Mutex
	events    []qmp.Observed
	switching bool          // the source's guest stands still, or is about to
	active    bool          // the source's QEMU began to send
	completed bool          // the source's QEMU handed all over
	postCopy  bool          // the guest may run at the target, and part of its memory is still at the source
	runs      bool          // the target's guest runs
	memory    chan struct{} // has something in it after the source's QEMU began with the memory
	relay     Relay         // nil where there is none
	pass      chan struct{} // has something in it after a pass began
	resumed   chan struct{} // closed when the target's guest runs
	once      sync.Once
}

func newTape() *tape {
	return &tape{resumed: make(chan struct{}), memory: make(chan struct{}, 1), pass: make(chan struct{}, 1)}
}

// rewind forgets an attempt that came to nothing.
func (t *tape) rewind() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events, t.switching, t.active, t.completed = nil, false, false, false
}

func (t *tape) add(side qmp.Side, e libvirt.Event) {
	o, err := qmp.Parse(side, e.Name, e.Seconds, e.Micros, e.Details, e.Received)
	if err != nil {
		return // an event that cannot be read tells nothing
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steerRelay(o)
	t.events = append(t.events, o)
	t.switching = (t.switching || o.Switching()) && !o.GoesOn()
	if side == qmp.Source {
		t.active = t.active || o.Status() == qmp.PhaseActive
		t.completed = t.completed || o.Status() == qmp.PhaseCompleted
		t.postCopy = t.postCopy || o.Status() == qmp.PhasePostCopy
	}
	if side == qmp.Source && o.Status() == qmp.PhaseSetup {
		ring(t.memory)
	}
	if o.Pass() > 0 {
		ring(t.pass)
	}
	if side == qmp.Target && e.Name == "RESUME" {
		t.runs = true
		t.once.Do(func() { close(t.resumed) })
	}
}

// ring leaves a sign for whoever looks next.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

func (t *tape) isActive() bool { t.mu.Lock(); defer t.mu.Unlock(); return t.active }

// joinPostCopy is for a post-copy whose begin was missed.
func (t *tape) joinPostCopy() { t.mu.Lock(); defer t.mu.Unlock(); t.postCopy, t.runs = true, true }

// expectPostCopy is for one that was asked for: from here on it may have begun, whether or not its
// events are heard.
func (t *tape) expectPostCopy() { t.mu.Lock(); defer t.mu.Unlock(); t.postCopy = true }

func (t *tape) inPostCopy() bool { t.mu.Lock(); defer t.mu.Unlock(); return t.postCopy }

// isSwitching tells whether the guest stands still. What follows its RESUME at the target in a
// post-copy is no pause, and may take long.
func (t *tape) isSwitching() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.switching && !(t.postCopy && t.runs)
}

func (t *tape) isCompleted() bool { t.mu.Lock(); defer t.mu.Unlock(); return t.completed }

func (t *tape) timeline() qmp.Timeline {
	t.mu.Lock()
	events := slices.Clone(t.events)
	t.mu.Unlock()
	return qmp.Build(events)
}

// resumeGrace is how long a moved guest's RESUME may be under way to us after libvirt
// already told that it runs.
const resumeGrace = 300 * time.Millisecond

// awaitResume waits for the end of a pause whose begin was seen.
func (t *tape) awaitResume() {
	if !t.isSwitching() {
		return
	}
	select {
	case <-t.resumed:
	case <-time.After(resumeGrace):
	}
}

// watch begins to listen at both ends. Without events a guest can be moved all the same, with
// less to tell: a failure is a note.
func (m *mover) watch(ctx context.Context) (stop func()) {
	if !m.driver.Can(libvirt.CanTellPause) {
		return func() {}
	}
	var stops []func()
	listen := func(s *endpoint.Endpoint, which qmp.Side) bool {
		if s.Host == nil { // only where a migration was adopted whose target gives no answer
			return false
		}
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		end, err := s.Host.Watch(ctx, m.req.Guest, func(e libvirt.Event) { m.tape.add(which, e) })
		if err != nil {
			m.note(fmt.Sprintf("no events from the %s: %v", which, err))
			return false
		}
		stops = append(stops, end)
		return true
	}
	m.hears.source = listen(&m.source, qmp.Source)
	m.hears.target = listen(&m.target, qmp.Target)
	return func() {
		for _, end := range stops {
			end()
		}
	}
}
