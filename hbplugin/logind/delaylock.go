package logind

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/wait"
)

// retryAfter is the pause before the next attempt. logind and the bus are
// restarted within a second; a shutdown announced in between is found by
// reading the property.
const retryAfter = time.Second

// Event is what logind was last heard to say.
type Event struct {
	// Up is false when logind cannot be heard at present. The other fields
	// then say nothing: what was announced before still holds, and a lock that
	// is held stays good, for logind reopens it when it comes back.
	Up bool
	// Preparing says that a shutdown is announced and not called off.
	Preparing bool
	// Kind is which shutdown it is, in logind's words ("poweroff", "reboot", …); empty where none is
	// announced or logind, before systemd 255, did not tell.
	Kind string
	// DelayMax is how long logind will wait for delay locks.
	DelayMax time.Duration
	// Lock is a newly taken delay lock, the receiver's to close; nil while a
	// shutdown is announced, since logind then gives out none. An older lock
	// should be closed once the new one is in hand.
	Lock io.Closer
}

// DelayLock is the task that stays connected to logind. Set the fields before Run.
type DelayLock struct {
	Who    string                                   // who holds the lock, as "systemd-inhibit --list" shows it
	Why    string                                   // and what for
	Report func(ctx context.Context, e Event) error // takes each event; an error ends Run
	Log    logrus.FieldLogger

	kind    string    // of the shutdown that was announced last
	strange sync.Once // others than logind were heard
}

// Run keeps the connection until ctx ends, which is no error. Each failure is
// logged, told as Event{Up: false}, and followed by another attempt.
func (d *DelayLock) Run(ctx context.Context) error {
	for {
		err := d.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		d.Log.WithError(err).Warn("logind does not answer, trying again")
		if err := d.Report(ctx, Event{}); err != nil {
			return err
		}
		if wait.For(ctx, retryAfter) != nil {
			return nil
		}
	}
}

// session lives as long as one connection to the bus.
func (d *DelayLock) session(ctx context.Context) error {
	h := newHints(d.kind)
	b, err := connect(ctx, settings{signals: h, refused: d.refused})
	if err != nil {
		return err
	}
	defer b.close()
	defer func() { d.kind, _ = h.last() }()
	h.moved = b.gate.trust
	if err := subscribe(ctx, b.Conn); err != nil {
		return fmt.Errorf("subscribe to logind's signals: %w", err)
	}
	if err := b.find(ctx, destination); err != nil {
		return err
	}
	if err := d.report(ctx, b.Conn, h); err != nil {
		return err
	}
	return d.listen(ctx, b, h)
}

// refused says once that others than logind talk to us.
func (d *DelayLock) refused(sender string) {
	d.strange.Do(func() {
		d.Log.Infof("ignored a D-Bus message from %q: only logind and the bus itself are accepted; "+
			"further ones are not logged", sender)
	})
}

func subscribe(ctx context.Context, conn *dbus.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, member := range []string{"PrepareForShutdownWithMetadata", "PrepareForShutdown"} {
		err := conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(destination),
			dbus.WithMatchInterface(manager), dbus.WithMatchMember(member))
		if err != nil {
			return err
		}
	}
	return conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(busName),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, destination))
}

// listen asks logind again whenever something changed. A logind that has just come back so gives a lock again; one that
// went away is waited for.
func (d *DelayLock) listen(ctx context.Context, b *bus, h *hints) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.closed:
			return errors.New("the system bus closed the connection")
		case <-h.wake:
		}
		var err error
		if *b.gate.peer.Load() == "" {
			d.Log.Warn("logind has disconnected from the system bus")
			err = d.Report(ctx, Event{})
		} else {
			err = d.report(ctx, b.Conn, h)
		}
		if err != nil {
			return err
		}
	}
}

// report reads where logind stands, takes a lock where one can be had, and
// hands both on.
func (d *DelayLock) report(ctx context.Context, conn *dbus.Conn, h *hints) error {
	e := Event{Up: true}
	_, before := h.last()
	var err error
	if e.DelayMax, err = delayMax(ctx, conn); err != nil {
		return err
	}
	if err := property(ctx, conn, "PreparingForShutdown", &e.Preparing); err != nil {
		return err
	}
	if e.Preparing {
		e.Kind, _ = h.last()
	} else {
		h.forget(before)
		lock, err := d.inhibit(ctx)
		if err != nil {
			return fmt.Errorf("take the shutdown delay lock: %w", err)
		}
		e.Lock = lock
	}
	err = d.Report(ctx, e)
	if err != nil && e.Lock != nil {
		e.Lock.Close()
	}
	return err
}

// inhibit takes the lock. The lock is a file descriptor and outlives the
// connection that it was requested over.
func (d *DelayLock) inhibit(ctx context.Context) (_ io.Closer, err error) {
	b, err := connectTo(ctx, destination, settings{fds: true})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	call := b.Object(destination, objectPath).CallWithContext(ctx, manager+".Inhibit", 0, "shutdown", d.Who, d.Why,
		"delay")
	err = call.Err
	fds := b.end()
	if err == nil && len(fds) == 1 {
		return os.NewFile(uintptr(fds[0]), "inhibitor"), nil
	}
	shut(fds)
	return nil, cmp.Or(err, fmt.Errorf("logind answered with %d file descriptors", len(fds)))
}

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
		h.set(kindOf(s))
		return
	case s.Name != manager+".PrepareForShutdown":
		return
	case len(s.Body) == 1 && s.Body[0] == false:
		h.set("")
	}
	select {
	case h.wake <- struct{}{}:
	default: // it will be read anyway
	}
}

// Terminate implements dbus.Terminator.
func (h *hints) Terminate() { h.once.Do(func() { close(h.closed) }) }

func (h *hints) set(kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kind = kind
	h.news++
}

// last is the kind of the shutdown that was announced last, and a number that changes when another is told.
func (h *hints) last() (kind string, news int) {
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
