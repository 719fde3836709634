package events

import (
	"slices"
	"sync"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/qmp"
)

// Relay is notified when the guest stops and runs again. Its methods return at once: they are called from libvirt's
// event loop.
type Relay interface {
	// Buffer says when the guest stopped, by its host's clock: what came in since then is kept.
	Buffer(stopped time.Time)
	// Forward says that the target has the guest.
	Forward()
	// Drop says that the guest continues at the source.
	Drop()
}

// Log keeps the events of both ends. Its methods may be called from several goroutines
// and never block for long: the events come on libvirt's event loop.
type Log struct {
	memory  chan struct{} // has something in it after the source's QEMU began with the memory
	pass    chan struct{} // has something in it after a pass began
	resumed chan struct{} // closed when the target's guest runs

	mu        sync.Mutex
	events    []qmp.Observed
	relay     Relay // nil where there is none
	switching bool  // the source's guest is stopped, or is about to be
	active    bool  // the source's QEMU began to send
	completed bool  // the source's QEMU handed all over
	postCopy  bool  // the guest may run at the target, and part of its memory is still at the source
	running   bool  // the target's guest runs
}

// NewLog is a log without events.
func NewLog() *Log {
	return &Log{memory: make(chan struct{}, 1), pass: make(chan struct{}, 1), resumed: make(chan struct{})}
}

// Reset forgets an attempt that failed.
func (l *Log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events, l.switching, l.active, l.completed = nil, false, false, false
}

// Add takes one event. One that cannot be parsed is ignored.
func (l *Log) Add(side qmp.Side, e libvirt.Event) {
	o, err := qmp.Parse(side, e.Name, e.Seconds, e.Micros, e.Details, e.Received)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	steer(l.relay, o)
	l.events = append(l.events, o)
	l.switching = (l.switching || o.Switching()) && !o.Cancelled()
	if side == qmp.Source {
		status := o.Status()
		l.active = l.active || status == qmp.PhaseActive
		l.completed = l.completed || status == qmp.PhaseCompleted
		l.postCopy = l.postCopy || status == qmp.PhasePostCopy
		if status == qmp.PhaseSetup {
			signal(l.memory)
		}
	}
	if o.Pass() > 0 {
		signal(l.pass)
	}
	if side == qmp.Target && e.Name == "RESUME" && !l.running {
		l.running = true
		close(l.resumed)
	}
}

// steer notifies the relay of what an event means for it. At the source's "completed" the target's QEMU has all of
// the guest, and announces it: it runs as soon as libvirt knows.
func steer(r Relay, o qmp.Observed) {
	switch {
	case r == nil:
	case o.Cancelled():
		r.Drop()
	case o.Side == qmp.Source && o.Event.Event == "STOP":
		r.Buffer(o.Stamp())
	case o.Side == qmp.Source && o.Status() == qmp.PhaseCompleted, o.Side == qmp.Target && o.Event.Event == "RESUME":
		r.Forward()
	}
}

// signal never blocks: one that is not yet taken counts for all.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// SetRelay replaces the relay that gets the events by r, and returns the one before; nil is none.
func (l *Log) SetRelay(r Relay) (before Relay) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, l.relay = l.relay, r
	return before
}

// Memory receives when the source's QEMU begins with the memory.
func (l *Log) Memory() <-chan struct{} { return l.memory }

// Pass receives when a pass begins. Passes that nobody took count once.
func (l *Log) Pass() <-chan struct{} { return l.pass }

// JoinPostCopy is for a post-copy whose begin was missed: the guest runs at the target.
func (l *Log) JoinPostCopy() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.postCopy = true
	if !l.running {
		l.running = true
		close(l.resumed)
	}
}

// ExpectPostCopy is for one that was requested: from here on it may have begun, whether or not its
// events are seen.
func (l *Log) ExpectPostCopy() { l.mu.Lock(); defer l.mu.Unlock(); l.postCopy = true }

// InPostCopy reports whether the guest may run at the target before all of its memory is there.
func (l *Log) InPostCopy() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.postCopy }

// IsActive reports whether the source's QEMU began to send.
func (l *Log) IsActive() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.active }

// IsCompleted reports whether the source's QEMU handed all over.
func (l *Log) IsCompleted() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.completed }

// IsSwitching reports whether the guest is stopped. What follows its RESUME at the target in a
// post-copy is no pause, and may take long.
func (l *Log) IsSwitching() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.switching && !(l.postCopy && l.running)
}

// Timeline is what the events say so far.
func (l *Log) Timeline() qmp.Timeline {
	l.mu.Lock()
	events := slices.Clone(l.events)
	l.mu.Unlock()
	return qmp.Build(events)
}

// resumeGrace is how long a moved guest's RESUME may be under way to us after libvirt
// already told that it runs.
const resumeGrace = 300 * time.Millisecond

// AwaitResume waits, for 300 ms at most, for the end of a pause whose begin was seen.
func (l *Log) AwaitResume() {
	if !l.IsSwitching() {
		return
	}
	select {
	case <-l.resumed:
	case <-time.After(resumeGrace):
	}
}
