package logind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/login1"
	"github.com/godbus/dbus/v5"
	"github.com/sirupsen/logrus"
)

const (
	destination = "org.freedesktop.login1"
	objectPath  = dbus.ObjectPath("/org/freedesktop/login1")
	manager     = destination + ".Manager"
	busName     = "org.freedesktop.DBus"

	// callTimeout bounds each call: logind answers in milliseconds, and one
	// that has not answered by then must be reached over a new connection.
	callTimeout = 10 * time.Second
	// retryAfter is the pause before the next attempt. logind and the bus are
	// restarted within a second; a shutdown announced in between is found by
	// reading the property.
	retryAfter = time.Second
)

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

// Keeper is the task that stays connected to logind. Set the fields before Run.
type Keeper struct {
	Who  string                                   // who holds the lock, as "systemd-inhibit --list" shows it
	Why  string                                   // and what for
	Tell func(ctx context.Context, e Event) error // takes each event; an error ends Run
	Log  logrus.FieldLogger

	once  sync.Once
	ready chan struct{}
	kind  string // of the shutdown that was announced last
}

// String names the task.
func (*Keeper) String() string { return "logind" }

// Ready is closed once a lock was taken and handed on.
func (k *Keeper) Ready() <-chan struct{} {
	k.init()
	return k.ready
}

func (k *Keeper) init() { k.once.Do(func() { k.ready = make(chan struct{}) }) }

// Run keeps the connection until ctx ends, which is no error. Each failure is
// logged, told as Event{Up: false}, and followed by another attempt.
func (k *Keeper) Run(ctx context.Context) error {
	k.init()
	for {
		err := k.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		k.Log.WithError(err).Warn("logind cannot be heard, trying again")
		if err := k.Tell(ctx, Event{}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryAfter):
		}
	}
}

// session lives as long as one connection to the bus.
func (k *Keeper) session(ctx context.Context) error {
	conn, err := systemBus(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	if err := subscribe(ctx, conn); err != nil {
		return fmt.Errorf("subscribe to logind's signals: %w", err)
	}
	if err := k.report(ctx, conn); err != nil {
		return err
	}
	return k.listen(ctx, conn, signals)
}

// systemBus makes a connection of its own to the message bus.
func systemBus(ctx context.Context) (*dbus.Conn, error) {
	conn, err := within(ctx, func() (*dbus.Conn, error) {
		return dbus.ConnectSystemBus()
	}, func(c *dbus.Conn) { c.Close() })
	if err != nil {
		return nil, fmt.Errorf("connect to the system bus: %w", err)
	}
	return conn, nil
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

func (k *Keeper) listen(ctx context.Context, conn *dbus.Conn, signals <-chan *dbus.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s, ok := <-signals:
			if !ok {
				return errors.New("the system bus closed the connection")
			}
			if err := k.hear(ctx, conn, s); err != nil {
				return err
			}
		}
	}
}

// hear acts on one signal. A logind that has just come back is asked anew, and
// so retakes the lock; one that went away is waited for.
func (k *Keeper) hear(ctx context.Context, conn *dbus.Conn, s *dbus.Signal) error {
	switch s.Name {
	case manager + ".PrepareForShutdownWithMetadata": // comes before the other one
		if isLogind(ctx, conn, s.Sender) {
			k.kind = kindOf(s)
		}
	case manager + ".PrepareForShutdown":
		return k.report(ctx, conn)
	case busName + ".NameOwnerChanged":
		if owner(s) == "" {
			k.Log.Warn("logind has left the bus")
			return k.Tell(ctx, Event{})
		}
		return k.report(ctx, conn)
	}
	return nil
}

// isLogind tells whether a sender of a signal is logind: any local user may send one of the name to us.
func isLogind(ctx context.Context, conn *dbus.Conn, sender string) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var owner string
	err := conn.BusObject().CallWithContext(ctx, busName+".GetNameOwner", 0, destination).Store(&owner)
	return err == nil && owner == sender
}

// kindOf is the kind of shutdown that a signal with metadata tells of.
func kindOf(s *dbus.Signal) string {
	if len(s.Body) != 2 {
		return ""
	}
	metadata, _ := s.Body[1].(map[string]dbus.Variant)
	kind, _ := metadata["type"].Value().(string)
	return kind
}

func owner(s *dbus.Signal) string {
	if len(s.Body) != 3 {
		return ""
	}
	name, _ := s.Body[2].(string)
	return name
}

// report reads where logind stands, takes a lock where one can be had, and
// hands both on.
func (k *Keeper) report(ctx context.Context, conn *dbus.Conn) error {
	e := Event{Up: true}
	var usec uint64
	if err := property(ctx, conn, "InhibitDelayMaxUSec", &usec); err != nil {
		return err
	}
	e.DelayMax = microseconds(usec)
	if err := property(ctx, conn, "PreparingForShutdown", &e.Preparing); err != nil {
		return err
	}
	if e.Preparing {
		e.Kind = k.kind
	} else {
		k.kind = ""
		lock, err := k.inhibit(ctx)
		if err != nil {
			return fmt.Errorf("take the shutdown delay lock: %w", err)
		}
		e.Lock = lock
	}
	if err := k.Tell(ctx, e); err != nil {
		if e.Lock != nil {
			e.Lock.Close()
		}
		return err
	}
	if e.Lock != nil {
		k.markReady()
	}
	return nil
}

func (k *Keeper) markReady() {
	select {
	case <-k.ready:
	default:
		close(k.ready)
	}
}

// inhibit takes the lock. The lock is a file descriptor and outlives the
// connection that it was asked for over.
func (k *Keeper) inhibit(ctx context.Context) (io.Closer, error) {
	return within(ctx, func() (*os.File, error) {
		conn, err := login1.New()
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		return conn.Inhibit("shutdown", k.Who, k.Why, "delay")
	}, func(f *os.File) { f.Close() })
}

// DelayMax asks logind, over a connection of its own, how long it waits for
// delay locks (InhibitDelayMaxSec in logind.conf(5)).
func DelayMax(ctx context.Context) (time.Duration, error) {
	conn, err := systemBus(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	var usec uint64
	if err := property(ctx, conn, "InhibitDelayMaxUSec", &usec); err != nil {
		return 0, err
	}
	return microseconds(usec), nil
}

func property(ctx context.Context, conn *dbus.Conn, name string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	call := conn.Object(destination, objectPath).CallWithContext(ctx,
		"org.freedesktop.DBus.Properties.Get", 0, manager, name)
	if err := call.Store(into); err != nil {
		return fmt.Errorf("read logind's %s: %w", name, err)
	}
	return nil
}

// microseconds converts systemd's unit; its "infinity" becomes the longest
// duration there is.
func microseconds(usec uint64) time.Duration {
	const longest = time.Duration(1<<63 - 1)
	if usec > uint64(longest/time.Microsecond) {
		return longest
	}
	return time.Duration(usec) * time.Microsecond
}

// within bounds a call that knows no context. What the call yields after its
// time is up is thrown away with discard.
func within[T any](ctx context.Context, call func() (T, error), discard func(T)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := call()
		done <- result{v, err}
	}()
	defer cancel()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				discard(r.value)
			}
		}()
		var none T
		return none, ctx.Err()
	}
}
