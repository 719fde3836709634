package shutdown

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/hbplugin/verdict"
)

// fake is a node: its cluster manager, its processes, its systemd. Guests leave
// one after the other once the node is in standby.
type fake struct {
	mu       sync.Mutex
	guests   []string
	leave    time.Duration // from standby to the first departure, and between two
	operator bool          // an operator's standby
	ours     time.Time     // when vmferry's was set; zero: it is not
	calls    []string
	stopping bool

	slow  time.Duration // how long View takes
	views int
	hang  bool  // View answers only when its context ends
	err   error // what Standby fails with
	extra []string
	lost  bool     // processes cannot be listed
	kinds []string // with which Proceed was called

	tells  bool // the loop can ask the three questions that follow
	said   []hbplugin.Verdict
	saying time.Duration // how long Predict takes, whatever its context says
	trace  map[string]verdict.Trace
	traced []string // the guests that Trace was asked about
	since  time.Time
	claims []hbplugin.Claim
	denied error // of Claims
}

func (f *fake) String() string { return "fake" }

func (f *fake) View(ctx context.Context) (hbplugin.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.views++
	if f.slow > 0 {
		f.mu.Unlock()
		time.Sleep(f.slow)
		f.mu.Lock()
	}
	if f.hang {
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock()
		return hbplugin.View{}, errors.New("crm_mon: no answer")
	}
	v := hbplugin.View{Running: true, Standby: f.operator || !f.ours.IsZero()}
	for i, name := range f.guests {
		if f.ours.IsZero() || time.Since(f.ours) < time.Duration(i+1)*f.leave {
			v.Guests = append(v.Guests, hbplugin.Guest{Name: name})
		}
	}
	return v, nil
}

func (f *fake) Standby(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "standby")
	if f.err == nil {
		f.ours = time.Now()
	}
	return f.err
}

func (f *fake) Unstandby(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "unstandby")
	f.ours = time.Time{}
	return nil
}

func (f *fake) Here(context.Context) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost {
		return nil, errors.New("read /proc: eaten")
	}
	return f.extra, nil
}

func (f *fake) Proceed(_ context.Context, kind string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kinds = append(f.kinds, kind)
	return false, errors.New("logind: no answer") // which must not matter
}

func (f *fake) Stopping(context.Context) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stopping, nil
}

func (f *fake) Predict(context.Context) ([]hbplugin.Verdict, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "predict")
	if f.saying > 0 {
		f.mu.Unlock()
		time.Sleep(f.saying)
		f.mu.Lock()
	}
	return f.said, nil
}

func (f *fake) Trace(_ context.Context, guests []string, since time.Time) map[string]verdict.Trace {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.traced, f.since = guests, since
	return f.trace
}

func (f *fake) Claims(context.Context) ([]hbplugin.Claim, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.claims, f.denied
}

func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fake) called() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.calls, " ")
}

// lock is a delay lock that remembers when it was given back.
type lock struct {
	mu     sync.Mutex
	closed time.Time
}

func (l *lock) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed.IsZero() {
		panic("the lock was given back twice")
	}
	l.closed = time.Now()
	return nil
}

func (l *lock) held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed.IsZero()
}

// bench runs a loop in a synctest bubble over a fake node.
type bench struct {
	t     *testing.T
	loop  *Loop
	node  *fake
	lock  *lock // the newest
	path  string
	start time.Time
	done  chan error

	mu     sync.Mutex
	log    strings.Builder
	states []string
	untils []time.Duration // what Deadline got, from the start on; -1 for none
}

const delayMax = 10 * time.Minute

// run starts the loop with a lock in hand and calls script inside the bubble.
func run(t *testing.T, node *fake, script func(b *bench)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "ours")
	runAt(t, node, path, script)
}

func runAt(t *testing.T, node *fake, path string, script func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := logrus.New()
		b := &bench{t: t, node: node, path: path, start: time.Now(), done: make(chan error, 1)}
		log.SetOutput(b)
		o := Options{
			Manager: node, Here: node.Here, Stopping: node.Stopping, Intent: Intent{Path: path}, Log: log,
			Notify: b.notify, StopWindow: 9 * time.Minute, Poll: time.Second, Proceed: node.Proceed,
			Deadline: b.deadline,
		}
		if node.tells {
			o.Predict, o.Trace, o.Claims = node.Predict, node.Trace, node.Claims
		}
		b.loop = New(o)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { b.done <- b.loop.Run(ctx) }()
		b.say(false)
		<-b.loop.Ready()
		script(b)
		cancel()
		time.Sleep(node.saying) // of one who does not heed his context
		synctest.Wait()
		if b.lock != nil && b.lock.held() {
			t.Error("the loop ended and kept the lock")
		}
	})
}

// Write takes what the loop logs.
func (b *bench) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(line)
}

func (b *bench) logged() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

func (b *bench) notify(state string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.states = append(b.states, state)
}

func (b *bench) deadline(until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	after := until.Sub(b.start)
	if until.IsZero() {
		after = -1
	}
	b.untils = append(b.untils, after)
}

func (b *bench) wantDeadlines(want ...time.Duration) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.untils, want) {
		b.t.Errorf("deadlines %v, want %v", b.untils, want)
	}
}

// say is what logind says: with each "no shutdown" it hands out a lock.
func (b *bench) say(preparing bool) {
	b.t.Helper()
	e := logind.Event{Up: true, Preparing: preparing, DelayMax: delayMax}
	if preparing {
		e.Kind = "reboot"
	} else {
		b.lock = &lock{}
		e.Lock = b.lock
	}
	if err := b.loop.Handle(b.t.Context(), e); err != nil {
		b.t.Fatal(err)
	}
	synctest.Wait()
}

func (b *bench) after(d time.Duration) {
	time.Sleep(d) // fake time
	synctest.Wait()
}

// released asserts when the lock was given back, to within two looks.
func (b *bench) released(after time.Duration) {
	b.t.Helper()
	if b.lock.held() {
		b.t.Fatalf("the lock is held, want it released after %s; status %q", after, b.status())
	}
	if got := b.lock.closed.Sub(b.start); got < after || got > after+2*time.Second {
		b.t.Errorf("released after %s, want %s", got, after)
	}
}

func (b *bench) holds() {
	b.t.Helper()
	if !b.lock.held() {
		b.t.Fatalf("the lock was released; status %q", b.status())
	}
}

func (b *bench) status() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range slices.Backward(b.states) {
		if after, ok := strings.CutPrefix(s, "STATUS="); ok {
			return after
		}
	}
	return ""
}

func (b *bench) wantStatus(want string) {
	b.t.Helper()
	if got := b.status(); got != want {
		b.t.Errorf("status %q, want %q", got, want)
	}
}

func (b *bench) wantCalls(want string) {
	b.t.Helper()
	if got := b.node.called(); got != want {
		b.t.Errorf("the manager was requested %q, want %q", got, want)
	}
}

// wantProceeded is with which shutdowns it was gone on.
func (b *bench) wantProceeded(want ...string) {
	b.t.Helper()
	b.node.set(func(f *fake) {
		if !slices.Equal(f.kinds, want) {
			b.t.Errorf("shutdowns %q went on, want %q", f.kinds, want)
		}
	})
}

func (b *bench) wantNote(want bool) {
	b.t.Helper()
	if got, err := (Intent{Path: b.path}).Exists(); err != nil || got != want {
		b.t.Errorf("the note of standby: there %t (%v), want %t", got, err, want)
	}
}

func (b *bench) ended() bool {
	synctest.Wait()
	select {
	case err := <-b.done:
		if err != nil {
			b.t.Errorf("the loop ended: %v", err)
		}
		return true
	default:
		return false
	}
}

func TestGuestsLeave(t *testing.T) {
	run(t, &fake{guests: []string{"g1", "g2", "g3"}, leave: 10 * time.Second}, func(b *bench) {
		b.wantStatus("watching: a shutdown will wait up to 598 s for guests to leave")
		b.say(true)
		b.after(12 * time.Second)
		b.holds()
		b.wantStatus("draining: 2 of 3 guests left (g2, g3), 12 s of 598 s")
		b.wantProceeded()
		b.after(20 * time.Second)
		b.released(30 * time.Second)
		b.wantProceeded("reboot")
		if err := b.loop.Alive(b.t.Context()); err != nil {
			t.Error(err)
		}
		b.wantStatus("released: no guest is left on this node")
		b.wantCalls("standby")
		b.wantNote(true)
		b.loop.Stop()
		if !b.ended() {
			t.Error("asked to stop after the drain, the loop stays")
		}
	})
}

// Looking takes at most a fifth of the time, and a node on which it takes long is looked at every ten seconds still.
func TestLooksMakeRoom(t *testing.T) {
	for _, c := range []struct {
		slow time.Duration
		want int
	}{{0, 60}, {100 * time.Millisecond, 60}, {400 * time.Millisecond, 30}, {time.Second, 12}, {6 * time.Second, 6}} {
		node := &fake{guests: []string{"g1"}, leave: time.Hour, slow: c.slow}
		run(t, node, func(b *bench) {
			b.say(true)
			b.after(59500 * time.Millisecond)
			if node.views != c.want {
				t.Errorf("a look takes %v: %d in a minute, want %d", c.slow, node.views, c.want)
			}
		})
	}
}

func TestWindowCloses(t *testing.T) {
	run(t, &fake{guests: []string{"g1"}, leave: time.Hour}, func(b *bench) {
		b.say(true)
		b.after(597 * time.Second)
		b.holds()
		b.after(time.Second)
		b.released(598 * time.Second)
		b.wantProceeded("reboot") // no longer than was requested, whoever else holds it
		b.loop.Stop()
		if !b.ended() {
			t.Error("the manager's own stop goes on with what is left, and the loop is in its way")
		}
	})
}

// Those who move guests hear by when they must be done: of each drain again, and of its end.
func TestDeadlineIsTold(t *testing.T) {
	run(t, &fake{guests: []string{"a", "b"}, leave: 20 * time.Second}, func(b *bench) {
		b.after(time.Second)
		b.wantDeadlines()
		b.say(true)
		b.wantDeadlines(time.Second + delayMax - Margin)
		b.after(9 * time.Second)
		b.wantDeadlines(time.Second + delayMax - Margin)
		b.say(false)
		b.wantDeadlines(time.Second+delayMax-Margin, -1)
		b.after(5 * time.Second)
		b.say(true)
		b.after(time.Minute)
		b.released(55 * time.Second)
		b.wantDeadlines(time.Second+delayMax-Margin, -1, 15*time.Second+delayMax-Margin, -1)
	})
}

func TestManagerDoesNotAnswer(t *testing.T) {
	run(t, &fake{hang: true}, func(b *bench) {
		b.say(true)
		b.after(5 * time.Second)
		b.wantStatus("draining: looking for guests, 5 s of 598 s")
		b.after(15 * time.Second)
		b.holds()
		b.wantStatus("draining: cannot tell which guests are here: crm_mon: no answer, 20 s of 598 s")
		if err := b.loop.Alive(b.t.Context()); err != nil {
			t.Error(err)
		}
		b.after(600 * time.Second)
		b.released(598 * time.Second)
		b.wantCalls("")
	})
}

func TestManagerAnswersAtLast(t *testing.T) {
	node := &fake{hang: true, guests: []string{"g1"}, leave: 5 * time.Second}
	run(t, node, func(b *bench) {
		b.say(true)
		b.after(30 * time.Second)
		node.set(func(f *fake) { f.hang = false })
		b.after(30 * time.Second)
		b.wantCalls("standby")
		if b.lock.held() {
			t.Error("the guest has gone and the lock is held")
		}
	})
}

func TestProcessesCannotBeListed(t *testing.T) {
	node := &fake{lost: true}
	run(t, node, func(b *bench) {
		b.say(true)
		b.after(30 * time.Second)
		b.holds()
		b.wantStatus("draining: cannot tell which guests are here: read /proc: eaten, 30 s of 598 s")
		node.set(func(f *fake) { f.lost = false })
		b.after(3 * time.Second)
		b.released(31 * time.Second)
	})
}

func TestProcessOutlivesTheResource(t *testing.T) {
	node := &fake{guests: []string{"g1"}, leave: 5 * time.Second, extra: []string{"g1"}}
	run(t, node, func(b *bench) {
		b.say(true)
		b.after(20 * time.Second)
		b.holds()
		b.wantStatus("draining: 1 of 1 guests left (g1), 20 s of 598 s")
		node.set(func(f *fake) { f.extra = nil })
		b.after(2 * time.Second)
		b.released(20 * time.Second)
	})
}

func TestCancelledShutdown(t *testing.T) {
	run(t, &fake{guests: []string{"g1"}, leave: time.Minute}, func(b *bench) {
		b.say(true)
		b.after(10 * time.Second)
		b.wantNote(true)
		old := b.lock
		b.say(false)
		b.after(2 * time.Second)
		b.holds()
		if old.held() {
			t.Error("the old lock is still held beside the new one")
		}
		b.wantCalls("standby unstandby")
		b.wantNote(false)
		b.wantStatus("watching: a shutdown will wait up to 598 s for guests to leave")
	})
}

func TestCancelledAfterRelease(t *testing.T) {
	run(t, &fake{}, func(b *bench) {
		b.say(true)
		b.after(3 * time.Second)
		b.released(0)
		b.say(false)
		b.after(2 * time.Second)
		b.holds()
		b.wantCalls("standby unstandby")
		b.say(true)
		b.after(3 * time.Second)
		if b.lock.held() {
			t.Error("the second shutdown is not let go")
		}
		b.wantCalls("standby unstandby standby")
	})
}

func TestOperatorStandbyIsLeftAlone(t *testing.T) {
	node := &fake{operator: true, guests: []string{"g1"}, leave: time.Hour}
	run(t, node, func(b *bench) {
		b.say(true)
		b.after(10 * time.Second)
		b.holds()
		b.say(false)
		b.after(10 * time.Second)
		b.wantCalls("")
		b.wantNote(false)
	})
}

func TestStandbyFails(t *testing.T) {
	node := &fake{err: errors.New("no quorum"), guests: []string{"g1"}, leave: time.Second}
	run(t, node, func(b *bench) {
		b.say(true)
		b.after(12 * time.Second)
		b.holds()
		b.wantCalls("standby standby standby")
		node.set(func(f *fake) { f.err = nil })
		b.after(8 * time.Second)
		b.wantCalls("standby standby standby standby")
		b.released(16 * time.Second)
	})
}

func TestOrdinaryStop(t *testing.T) {
	run(t, &fake{guests: []string{"g1"}}, func(b *bench) {
		b.loop.Stop()
		if !b.ended() {
			t.Error("the loop stays")
		}
		b.released(0)
		b.wantCalls("")
		if !slices.Contains(b.states, "STOPPING=1") {
			t.Error("systemd is not told")
		}
	})
}

func TestStopWhileSystemStops(t *testing.T) {
	node := &fake{stopping: true, guests: []string{"g1", "g2"}, leave: 10 * time.Second}
	run(t, node, func(b *bench) {
		b.loop.Stop()
		b.after(12 * time.Second)
		b.wantStatus("draining: 1 of 2 guests left (g2), 12 s of 540 s")
		if b.ended() {
			t.Fatal("the loop ended under a guest")
		}
		b.after(10 * time.Second)
		if !b.ended() {
			t.Error("the guests have gone and the loop stays")
		}
		b.released(20 * time.Second)
	})
}

func TestStopDuringDrain(t *testing.T) {
	run(t, &fake{guests: []string{"g1"}, leave: time.Hour}, func(b *bench) {
		b.say(true)
		b.after(time.Minute)
		b.loop.Stop()
		b.after(539 * time.Second)
		b.wantStatus("draining: 1 of 1 guests left (g1), 539 s of 540 s")
		if b.ended() {
			t.Fatal("the loop ended before its time")
		}
		b.after(time.Second)
		if !b.ended() {
			t.Error("TimeoutStopSec comes near and the loop stays")
		}
		b.wantCalls("standby")
	})
}

func TestSecondStopEndsAtOnce(t *testing.T) {
	run(t, &fake{guests: []string{"g1"}, leave: time.Hour}, func(b *bench) {
		b.say(true)
		b.after(time.Second)
		b.loop.Stop()
		b.loop.Stop()
		if !b.ended() {
			t.Error("the loop stays")
		}
	})
}

func TestLogindIsLostDuringDrain(t *testing.T) {
	run(t, &fake{guests: []string{"g1"}, leave: 20 * time.Second}, func(b *bench) {
		b.say(true)
		b.after(5 * time.Second)
		if err := b.loop.Handle(b.t.Context(), logind.Event{}); err != nil {
			t.Fatal(err)
		}
		b.after(5 * time.Second)
		b.holds()
		b.wantStatus("draining: 1 of 1 guests left (g1), 10 s of 598 s")
		b.say(true)
		b.after(15 * time.Second)
		b.released(20 * time.Second)
	})
}

func TestAnnouncementIsLostWhileSystemStops(t *testing.T) {
	node := &fake{guests: []string{"g1"}, leave: 5 * time.Second}
	run(t, node, func(b *bench) {
		b.say(true)
		b.after(10 * time.Second)
		node.set(func(f *fake) { f.stopping = true })
		b.say(false) // a new logind, which knows nothing
		b.after(10 * time.Second)
		b.wantCalls("standby")
		b.wantNote(true)
		b.wantStatus("undoing: the system is going down: standby stays")
	})
}

func TestStandbyOfADeadDaemonIsTakenBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ours")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	runAt(t, &fake{ours: time.Unix(1, 0)}, path, func(b *bench) {
		b.after(2 * time.Second)
		b.wantCalls("unstandby")
		b.wantNote(false)
		b.holds()
	})
}

func TestShortLimitIsSaid(t *testing.T) {
	run(t, &fake{}, func(b *bench) {
		e := logind.Event{Up: true, DelayMax: 5 * time.Second, Lock: &lock{}}
		if err := b.loop.Handle(b.t.Context(), e); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if want := "InhibitDelayMaxSec=60"; !strings.Contains(b.status(), want) {
			t.Errorf("status %q does not say %q", b.status(), want)
		}
	})
}

func TestAliveNeedsTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop := New(Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := loop.Alive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a loop that does not run is alive: %v", err)
		}
	})
}

// TestStaleLookIsDropped: a look that was begun before the shutdown was called
// off and announced again must not count for the second one.
func TestStaleLookIsDropped(t *testing.T) {
	run(t, &fake{hang: true}, func(b *bench) {
		b.say(true)
		b.after(9 * time.Second) // the first look fails a second from now
		b.say(false)
		b.say(true)
		b.after(2 * time.Second)
		b.wantStatus("draining: looking for guests, 2 s of 598 s")
	})
}

func TestTellAfterTheEnd(t *testing.T) {
	run(t, &fake{}, func(b *bench) {
		b.loop.Stop()
		b.ended()
		if err := b.loop.Handle(b.t.Context(), logind.Event{Up: true}); err == nil {
			t.Error("an event was taken by nobody")
		}
	})
}
