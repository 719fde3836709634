package logind

import (
	"sync"

	"github.com/godbus/dbus/v5"
)

// hints is what logind's signals said, without their number: a [DelayLock] reads where logind stands, and needs to know
// no more than that something changed. It implements dbus.SignalHandler; what it is given came through a [gate].
type hints struct {
	moved  func(owner string) // is told of each new owner of logind's name, "" for none, before what that one says
	wake   chan struct{}      // holds one element when something changed
	closed chan struct{}      // closed with the connection

	mu   sync.Mutex
	kind string // of the shutdown that was announced last and not called off
	news int    // how often kind was told
	once sync.Once
}

func newHints(kind string) *hints {
	return &hints{kind: kind, wake: make(chan struct{}, 1), closed: make(chan struct{})}
}

// DeliverSignal implements dbus.SignalHandler. It waits for nothing.
func (h *hints) DeliverSignal(_, _ string, s *dbus.Signal) {
	switch {
	case s.Sender == busName:
		owner, ok := newOwner(s)
		if !ok {
			return
		}
		h.moved(owner)
	case s.Name == manager+".PrepareForShutdownWithMetadata": // comes before the other one
		h.tell(kindOf(s))
		return
	case s.Name != manager+".PrepareForShutdown":
		return
	case len(s.Body) == 1 && s.Body[0] == false:
		h.tell("")
	}
	select {
	case h.wake <- struct{}{}:
	default: // it will be read anyway
	}
}

// Terminate implements dbus.Terminator.
func (h *hints) Terminate() { h.once.Do(func() { close(h.closed) }) }

func (h *hints) tell(kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kind = kind
	h.news++
}

// told is the kind of the shutdown that was announced last, and a number that changes when another is told.
func (h *hints) told() (kind string, news int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kind, h.news
}

// forget drops the kind, unless another was told since.
func (h *hints) forget(news int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.news == news {
		h.kind = ""
	}
}

// kindOf is the kind of shutdown that a signal with metadata announces, empty where it calls one off.
func kindOf(s *dbus.Signal) string {
	if len(s.Body) != 2 || s.Body[0] != true {
		return ""
	}
	metadata, _ := s.Body[1].(map[string]dbus.Variant)
	kind, _ := metadata["type"].Value().(string)
	return kind
}

// newOwner reads the bus's signal that logind's name has another owner, empty for none.
func newOwner(s *dbus.Signal) (owner string, ok bool) {
	if s.Name != busName+".NameOwnerChanged" || len(s.Body) != 3 || s.Body[0] != destination {
		return "", false
	}
	owner, ok = s.Body[2].(string)
	return owner, ok
}
