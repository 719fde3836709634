package logind

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/logind/logindtest"
)

// startBus is logindtest's bus in the place of the system's.
func startBus(t *testing.T) *logindtest.Bus {
	t.Helper()
	b := logindtest.StartBus(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", b.Address())
	return b
}

// ear is a DelayLock whose events a test reads one by one.
type ear struct {
	t      *testing.T
	keeper *DelayLock
	events chan Event
	done   chan error
	cancel context.CancelFunc
}

func listen(t *testing.T) *ear {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	return listenTo(t, log)
}

func listenTo(t *testing.T, log *logrus.Logger) *ear {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	e := &ear{t: t, events: make(chan Event), done: make(chan error, 1), cancel: cancel}
	e.keeper = &DelayLock{Who: "who", Why: "why", Log: log, Report: e.take}
	go func() { e.done <- e.keeper.Run(ctx) }()
	t.Cleanup(func() { e.stop(t) })
	return e
}

// stop ends the DelayLock, once.
func (e *ear) stop(t *testing.T) {
	t.Helper()
	if e.done == nil {
		return
	}
	e.cancel()
	if err := <-e.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	e.done = nil
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
	timeout := time.After(logindtest.Patience)
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
	f := b.Logind()
	e := listen(t)
	event := e.locked()
	if event.DelayMax != 10*time.Minute {
		t.Errorf("DelayMax %s", event.DelayMax)
	}
	if got, want := f.Request(0), "shutdown|who|why|delay"; got != want {
		t.Errorf("asked for %q, want %q", got, want)
	}
	if err := event.Lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Released(0); err != nil {
		t.Error(err)
	}
}

func TestHearsAnnouncementAndCancellation(t *testing.T) {
	f := startBus(t).Logind()
	e := listen(t)
	first := e.locked()
	defer first.Lock.Close()
	f.Prepare(true)
	event := e.until("the announcement", func(e Event) bool { return e.Preparing })
	if event.Lock != nil {
		t.Error("a lock while a shutdown is announced")
	}
	f.Prepare(false)
	e.locked().Lock.Close()
}

func TestHearsTheKind(t *testing.T) {
	f := startBus(t).Logind()
	e := listen(t)
	first := e.locked()
	defer first.Lock.Close()
	announced := func(e Event) bool { return e.Preparing }
	f.PrepareKind(true, "soft-reboot")
	if event := e.until("the announcement", announced); event.Kind != "soft-reboot" {
		t.Errorf("kind %q", event.Kind)
	}
	f.PrepareKind(false, "soft-reboot")
	e.locked().Lock.Close()
	f.Prepare(true) // what was told of another one says nothing of this one
	if event := e.until("the next announcement", announced); event.Kind != "" {
		t.Errorf("kind %q", event.Kind)
	}
}

// TestForgedKind sends the signal to every connection, past the match for logind's name.
func TestForgedKind(t *testing.T) {
	b := startBus(t)
	f := b.Logind()
	e := listen(t)
	first := e.locked()
	defer first.Lock.Close()
	anybody := b.Dial()
	var names []string
	if err := anybody.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := logindtest.AnnounceKindTo(anybody, name, true, "halt"); err != nil {
			t.Fatal(err)
		}
	}
	// A round trip to the bus: it has taken the forgeries before it takes the announcement.
	if err := anybody.BusObject().Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
		t.Fatal(err)
	}
	f.Prepare(true)
	if event := e.until("the announcement", func(e Event) bool { return e.Preparing }); event.Kind != "" {
		t.Errorf("kind %q, of which logind has said nothing", event.Kind)
	}
}

func TestAnnouncedBeforeTheStart(t *testing.T) {
	f := startBus(t).Logind()
	f.Set(true, 5_000_000)
	e := listen(t)
	e.until("the announcement", func(e Event) bool { return e.Up && e.Preparing && e.Lock == nil })
	select {
	case event := <-e.events:
		t.Errorf("%+v after the announcement", event)
	default:
	}
}

// TestForgedSignal sends the signal as any local user may: what logind's
// property says is what counts.
func TestForgedSignal(t *testing.T) {
	b := startBus(t)
	f := b.Logind()
	e := listen(t)
	first := e.locked()
	defer first.Lock.Close()
	if err := logindtest.Announce(b.Dial(), true); err != nil {
		t.Fatal(err)
	}
	f.Prepare(false) // comes after the forgery, and brings a new lock
	event := e.until("the cancellation", func(Event) bool { return true })
	if event.Preparing {
		t.Error("the forged signal was believed")
	}
	if event.Lock != nil {
		event.Lock.Close()
	}
}

func TestLogindRestarts(t *testing.T) {
	b := startBus(t)
	f := b.Logind()
	e := listen(t)
	first := e.locked()
	defer first.Lock.Close()
	f.Leave()
	e.lost()
	again := b.Logind()
	e.locked().Lock.Close()
	if err := again.Released(0); err != nil {
		t.Error(err)
	}
}

func TestBusRestarts(t *testing.T) {
	b := startBus(t)
	b.Logind()
	e := listen(t)
	first := e.locked()
	defer first.Lock.Close()
	b.Stop()
	e.lost()
	b.Start()
	b.Logind()
	e.locked().Lock.Close()
}

func TestNoBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/none")
	e := listen(t)
	e.lost()
	e.lost()
}

func TestReceiverEnds(t *testing.T) {
	f := startBus(t).Logind()
	log := logrus.New()
	log.SetOutput(io.Discard)
	full := errors.New("nobody listens")
	k := &DelayLock{Log: log, Report: func(context.Context, Event) error { return full }}
	if err := k.Run(t.Context()); !errors.Is(err, full) {
		t.Errorf("Run: %v", err)
	}
	if err := f.Released(0); err != nil {
		t.Error(err)
	}
}

func TestDelayMax(t *testing.T) {
	f := startBus(t).Logind()
	f.Set(false, 5_000_000)
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

func TestStopping(t *testing.T) {
	for _, tt := range []struct {
		state any
		want  bool
		ok    bool
	}{{"running", false, true}, {"degraded", false, true}, {"stopping", true, true}, {uint32(1), false, false}} {
		b := startBus(t)
		b.Systemd(tt.state, uint64(0))
		got, err := System{}.Stopping(t.Context())
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%v: %t, %v", tt.state, got, err)
		}
	}
}

func TestStopTimeout(t *testing.T) {
	b := startBus(t)
	b.Systemd("running", uint64(90_000_000))
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
