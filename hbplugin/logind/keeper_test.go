package logind

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/sirupsen/logrus"
)

// ear is a Keeper whose events a test reads one by one.
type ear struct {
	t      *testing.T
	keeper *Keeper
	events chan Event
	done   chan error
	cancel context.CancelFunc
}

func listen(t *testing.T) *ear {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	ctx, cancel := context.WithCancel(context.Background())
	e := &ear{t: t, events: make(chan Event), done: make(chan error, 1), cancel: cancel}
	e.keeper = &Keeper{Who: "who", Why: "why", Log: log, Tell: e.take}
	go func() { e.done <- e.keeper.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-e.done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return e
}

func (e *ear) take(ctx context.Context, event Event) error {
	select {
	case e.events <- event:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// until returns the first event that is as wanted: how many attempts fail
// before a bus is back is not the test's business.
func (e *ear) until(what string, wanted func(Event) bool) Event {
	e.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case event := <-e.events:
			if wanted(event) {
				return event
			}
			if event.Lock != nil {
				event.Lock.Close()
			}
		case <-timeout:
			e.t.Fatalf("no event: %s", what)
		}
	}
}

func (e *ear) locked() Event {
	e.t.Helper()
	event := e.until("a lock", func(e Event) bool { return e.Lock != nil })
	if !event.Up || event.Preparing {
		e.t.Errorf("a lock came with %+v", event)
	}
	return event
}

func (e *ear) lost() {
	e.t.Helper()
	e.until("logind is lost", func(e Event) bool { return !e.Up })
}

func TestTakesTheLock(t *testing.T) {
	b := startBus(t)
	f := startLogind(t, b)
	e := listen(t)
	event := e.locked()
	if event.DelayMax != 10*time.Minute {
		t.Errorf("DelayMax %s", event.DelayMax)
	}
	<-e.keeper.Ready()
	if got, want := f.request(0), "shutdown|who|why|delay"; got != want {
		t.Errorf("asked for %q, want %q", got, want)
	}
	if err := event.Lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.released(0); err != nil {
		t.Error(err)
	}
}

func TestHearsAnnouncementAndCancellation(t *testing.T) {
	f := startLogind(t, startBus(t))
	e := listen(t)
	first := e.locked()
	defer first.Lock.Close()
	f.prepare(true)
	event := e.until("the announcement", func(e Event) bool { return e.Preparing })
	if event.Lock != nil {
		t.Error("a lock while a shutdown is announced")
	}
	f.prepare(false)
	e.locked().Lock.Close()
}

func TestAnnouncedBeforeTheStart(t *testing.T) {
	f := startLogind(t, startBus(t))
	f.set(true, 5_000_000)
	e := listen(t)
	e.until("the announcement", func(e Event) bool { return e.Up && e.Preparing && e.Lock == nil })
	select {
	case <-e.keeper.Ready():
		t.Error("ready without a lock")
	default:
	}
}

// TestForgedSignal sends the signal as any local user may: what logind's
// property says is what counts.
func TestForgedSignal(t *testing.T) {
	b := startBus(t)
	f := startLogind(t, b)
	e := listen(t)
	first := e.locked()
	defer first.Lock.Close()
	emit(t, dial1(t, b), true)
	f.prepare(false) // comes after the forgery, and brings a new lock
	event := <-e.events
	if event.Preparing {
		t.Error("the forged signal was believed")
	}
	if event.Lock != nil {
		event.Lock.Close()
	}
}

func TestLogindRestarts(t *testing.T) {
	b := startBus(t)
	f := startLogind(t, b)
	e := listen(t)
	first := e.locked()
	defer first.Lock.Close()
	if _, err := f.conn.ReleaseName(destination); err != nil {
		t.Fatal(err)
	}
	e.lost()
	again := startLogind(t, b)
	e.locked().Lock.Close()
	if err := again.released(0); err != nil {
		t.Error(err)
	}
}

func TestBusRestarts(t *testing.T) {
	b := startBus(t)
	startLogind(t, b)
	e := listen(t)
	first := e.locked()
	defer first.Lock.Close()
	b.stop()
	e.lost()
	b.start()
	startLogind(t, b)
	e.locked().Lock.Close()
}

func TestNoBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/none")
	e := listen(t)
	e.lost()
	e.lost()
}

func TestReceiverEnds(t *testing.T) {
	f := startLogind(t, startBus(t))
	log := logrus.New()
	log.SetOutput(io.Discard)
	full := errors.New("nobody listens")
	k := &Keeper{Log: log, Tell: func(context.Context, Event) error { return full }}
	if err := k.Run(t.Context()); !errors.Is(err, full) {
		t.Errorf("Run: %v", err)
	}
	if err := f.released(0); err != nil {
		t.Error(err)
	}
}

func TestDelayMax(t *testing.T) {
	f := startLogind(t, startBus(t))
	f.set(false, 5_000_000)
	got, err := DelayMax(t.Context())
	if err != nil || got != 5*time.Second {
		t.Errorf("%s, %v", got, err)
	}
}

func TestMicroseconds(t *testing.T) {
	const longest = time.Duration(1<<63 - 1)
	for usec, want := range map[uint64]time.Duration{
		0: 0, 5_000_000: 5 * time.Second, 1<<64 - 1: longest, uint64(longest/time.Microsecond) + 1: longest,
	} {
		if got := microseconds(usec); got != want {
			t.Errorf("microseconds(%d) = %s, want %s", usec, got, want)
		}
	}
}

// fakeSystemd is as much of org.freedesktop.systemd1 as System asks for.
func fakeSystemd(t *testing.T, b *bus, state any, stop any) {
	t.Helper()
	conn := dial1(t, b)
	const unit = dbus.ObjectPath("/org/freedesktop/systemd1/unit/vmferryd_2eservice")
	get := func(iface, name string) (dbus.Variant, *dbus.Error) {
		switch name {
		case "SystemState":
			return dbus.MakeVariant(state), nil
		case "TimeoutStopUSec":
			return dbus.MakeVariant(stop), nil
		}
		return dbus.Variant{}, dbus.MakeFailedError(errors.New("no property " + iface + "." + name))
	}
	byPID := func(uint32) (dbus.ObjectPath, *dbus.Error) { return unit, nil }
	export := func(methods map[string]any, path dbus.ObjectPath, iface string) {
		if err := conn.ExportMethodTable(methods, path, iface); err != nil {
			t.Fatal(err)
		}
	}
	export(map[string]any{"GetUnitByPID": byPID}, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
	export(map[string]any{"Get": get}, "/org/freedesktop/systemd1", "org.freedesktop.DBus.Properties")
	export(map[string]any{"Get": get}, unit, "org.freedesktop.DBus.Properties")
	own(t, conn, "org.freedesktop.systemd1")
}

func TestStopping(t *testing.T) {
	for _, tt := range []struct {
		state any
		want  bool
		ok    bool
	}{{"running", false, true}, {"degraded", false, true}, {"stopping", true, true}, {uint32(1), false, false}} {
		b := startBus(t)
		fakeSystemd(t, b, tt.state, uint64(0))
		got, err := System{}.Stopping(t.Context())
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%v: %t, %v", tt.state, got, err)
		}
	}
}

func TestStopTimeout(t *testing.T) {
	b := startBus(t)
	fakeSystemd(t, b, "running", uint64(90_000_000))
	got, err := System{}.StopTimeout(t.Context())
	if err != nil || got != 90*time.Second {
		t.Errorf("%s, %v", got, err)
	}
}

func TestSystemWithoutBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/none")
	if _, err := (System{}).Stopping(t.Context()); err == nil {
		t.Error("nobody was asked and an answer came")
	}
}
