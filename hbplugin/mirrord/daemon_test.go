package mirrord

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/source"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/param"
)

// node is a daemon with guests whose rounds are a closure.
type node struct {
	*Daemon
	mu    sync.Mutex
	here  []Guest
	err   error // beside them
	calls []string
	busy  map[string]int
	most  int // rounds at once
	round func(ctx context.Context, guest string, o source.Request) (source.Result, error)
	log   lockedBuffer
	drops int
	quiet map[string]int // how often what was left in a guest was ended
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// fakeStream counts how often one is dropped.
type fakeStream struct {
	stream
	n *node
}

func (f fakeStream) Close() error  { f.n.mu.Lock(); defer f.n.mu.Unlock(); f.n.drops++; return nil }
func (f fakeStream) Words() string { return "" }

func (n *node) make(ctx context.Context, g Guest, closes bool, o source.Request) (source.Result, error) {
	n.mu.Lock()
	n.busy[g.Name]++
	sum := 0
	for _, b := range n.busy {
		if sum += b; b > 1 {
			n.calls = append(n.calls, "two rounds of "+g.Name)
		}
	}
	n.most = max(n.most, sum)
	what := g.Name
	switch {
	case closes:
		what += " close"
	case o.Full:
		what += " full"
	case o.Verify:
		what += " verify"
	}
	n.calls = append(n.calls, what)
	round := n.round
	n.mu.Unlock()
	r, err := round(ctx, g.Name, o)
	n.mu.Lock()
	n.busy[g.Name]--
	n.mu.Unlock()
	return r, err
}

// made are the rounds since it was asked last.
func (n *node) made() string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	calls := strings.Join(n.calls, ", ")
	n.calls = nil
	return calls
}

// pass lets time go by, which is played.
func (n *node) pass(d time.Duration) { time.Sleep(d) }

func (n *node) set(guests ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.here = nil
	for _, name := range guests {
		n.here = append(n.here, Guest{Name: name, Resource: "r-" + name, Peer: "n2", Interval: "10s",
			Mirror: param.Mirror{Interval: 10 * time.Second}})
	}
}

// quick is a round that takes a second.
func quick(ctx context.Context, _ string, _ source.Request) (source.Result, error) {
	r := source.Result{All: []string{"vda"}, Sent: []string{"vda"}, Bytes: 5}
	return r, wait.For(ctx, time.Second)
}

// play runs f beside a daemon, in time that is played.
func play(t *testing.T, f func(t *testing.T, n *node)) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{busy: map[string]int{}, round: quick, quiet: map[string]int{}}
		log := logrus.New()
		log.SetOutput(&n.log)
		n.Daemon = New(func(context.Context) ([]Guest, error) { n.mu.Lock(); defer n.mu.Unlock(); return n.here, n.err },
			n.make, log)
		n.Quiet = func(_ context.Context, g Guest) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.quiet[g.Name]++
			return n.err
		}
		n.dial = func([]string) (stream, error) { return fakeStream{n: n}, nil }
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { n.Run(ctx) })
		f(t, n)
		cancel()
		done.Wait()
	})
}

func (n *node) ask(t *testing.T, r Request) Reply {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return n.Answer(ctx, 0, r)
}

func (n *node) want(t *testing.T, what, want string) {
	t.Helper()
	if got := n.made(); got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestRoundsAtAnInterval(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		n.set("web")
		n.pass(3 * time.Second)
		n.want(t, "a new guest", "web")
		n.pass(6 * time.Second)
		n.want(t, "before 10 s have passed", "")
		n.pass(4 * time.Second)
		n.want(t, "then", "web")
		n.set()
		n.pass(time.Minute)
		n.want(t, "the guest has left", "")
		if n.drops == 0 {
			t.Error("the stream is kept")
		}
	})
}

func TestTwoRoundsAtOnce(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		n.set("a", "b", "c", "d", "e")
		n.pass(time.Minute)
		if calls := n.made(); n.most != 2 || strings.Contains(calls, "two rounds") || strings.Count(calls, "c") < 5 {
			t.Errorf("%d rounds at once: %s", n.most, calls)
		}
	})
}

// A note that cannot be read does not take a guest away.
func TestGuestsUnknown(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		n.set("web")
		n.pass(3 * time.Second)
		n.mu.Lock()
		n.here, n.err = nil, errors.New("guest web: mirror names one node")
		n.mu.Unlock()
		n.made()
		n.pass(30 * time.Second)
		n.want(t, "the notes cannot be read", "web, web, web")
		if log := n.log.String(); strings.Count(log, "names one node") != 1 {
			t.Errorf("not said once: %s", log)
		}
	})
}

func TestFailureAndRecovery(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		n.set("web")
		n.pass(3 * time.Second)
		n.mu.Lock()
		n.round = func(context.Context, string, source.Request) (source.Result, error) {
			return source.Result{}, errors.New("ssh: refused")
		}
		n.mu.Unlock()
		n.pass(5 * time.Minute)
		if calls := strings.Count(n.made(), "web"); calls < 5 || calls > 8 {
			t.Errorf("%d tries in five minutes", calls)
		}
		s := n.ask(t, Request{Verb: List}).Guests[0]
		if s.Error != "ssh: refused" || !s.Late || s.AgeS == nil || *s.AgeS < 290 {
			t.Errorf("status %+v", s)
		}
		n.mu.Lock()
		n.round = quick
		n.mu.Unlock()
		n.pass(3 * time.Minute)
		s = n.ask(t, Request{Verb: List}).Guests[0]
		if s.Error != "" || s.Late || *s.AgeS > 11 || s.Last.Bytes != 5 || s.Role != mirror.Truth || s.Interval != "10s" {
			t.Errorf("status %+v", s)
		}
		log := n.log.String()
		for _, line := range []string{"is not mirrored", "older than two intervals", "is mirrored again"} {
			if strings.Count(log, line) != 1 {
				t.Errorf("%q is not there once:\n%s", line, log)
			}
		}
	})
}

func TestFullSync(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		n.round = func(ctx context.Context, _ string, o source.Request) (source.Result, error) {
			for i := range uint64(61) {
				o.Progress(true, i<<20, 61<<20)
				if err := wait.For(ctx, time.Second); err != nil {
					return source.Result{}, err
				}
			}
			return source.Result{All: []string{"vda"}, Sent: []string{"vda"}, Parts: []mirror.Part{{Full: true}}, Bytes: 61 << 20}, nil
		}
		n.set("web")
		n.pass(33 * time.Second)
		if s := n.ask(t, Request{Verb: List}).Guests[0]; !strings.Contains(s.Sync, " 1.0 MiB/s, ") || s.AgeS != nil || s.Late {
			t.Errorf("status %+v", s)
		}
		n.pass(32 * time.Second)
		log := n.log.String()
		if strings.Count(log, "full sync: ") != 6 || !strings.Contains(log, "full sync done: 61 MiB in 61 s") {
			t.Errorf("said:\n%s", log)
		}
	})
}

// A round that does not get on is given up, when nothing was sent for a while.
func TestStall(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		n.round = func(ctx context.Context, _ string, o source.Request) (source.Result, error) {
			err := wait.For(ctx, stallTime-time.Minute)
			o.Progress(false, 1, 0)
			<-ctx.Done()
			return source.Result{}, errors.Join(err, ctx.Err())
		}
		n.set("web")
		n.pass(2*stallTime - 2*time.Minute)
		if s := n.ask(t, Request{Verb: List}).Guests[0]; s.Error != "" {
			t.Errorf("it got on: %+v", s)
		}
		n.pass(2 * time.Minute)
		if s := n.ask(t, Request{Verb: List}).Guests[0]; s.Error != "nothing was sent in 5m0s" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestHold(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		hangs := func(ctx context.Context, _ string, _ source.Request) (source.Result, error) {
			<-ctx.Done()
			return source.Result{}, ctx.Err()
		}
		n.round = hangs
		n.set("web")
		n.pass(3 * time.Second)
		n.mu.Lock()
		if n.quiet["web"] != 1 {
			t.Errorf("what an earlier daemon has left was ended %d times", n.quiet["web"])
		}
		n.mu.Unlock()
		if r := n.ask(t, Request{Verb: Hold, Resource: "r-web"}); r.Error != "" || n.busy["web"] != 0 {
			t.Errorf("hold: %+v, %d rounds", r, n.busy["web"])
		}
		n.mu.Lock()
		if n.quiet["web"] != 2 {
			t.Errorf("it was held, and what a round has left was ended %d times", n.quiet["web"])
		}
		n.mu.Unlock()
		n.made()
		n.pass(14 * time.Minute)
		n.want(t, "held", "")
		if r := n.ask(t, Request{Verb: Sync, Guest: "web"}); r.Error != errHeld.Error() {
			t.Errorf("sync of a held guest: %+v", r)
		}
		if s := n.ask(t, Request{Verb: List}).Guests[0]; !s.Held || s.Error != "" {
			t.Errorf("status %+v", s)
		}
		n.pass(2 * time.Minute)
		n.want(t, "nobody has released it", "web")
		n.ask(t, Request{Verb: Hold, Guest: "web"})
		n.mu.Lock()
		n.round = quick
		n.mu.Unlock()
		n.ask(t, Request{Verb: Release, Resource: "r-web"})
		n.pass(2 * time.Second)
		n.want(t, "released", "web")
		n.ask(t, Request{Verb: Hold, Guest: "web"})
		n.set()
		n.pass(3 * time.Second)
		n.set("web")
		n.pass(13 * time.Second)
		n.want(t, "it was away meanwhile", "web, web")
	})
}

// A round that hangs keeps nobody waiting for ever.
func TestHoldOfAStuckRound(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		end := make(chan struct{})
		n.round = func(context.Context, string, source.Request) (source.Result, error) {
			<-end
			return source.Result{}, nil
		}
		n.set("web")
		n.pass(3 * time.Second)
		if r := n.ask(t, Request{Verb: Hold, Guest: "web"}); r.Error != "the round that is under way does not end" {
			t.Errorf("hold: %+v", r)
		}
		close(end)
	})
}

func TestClose(t *testing.T) {
	for _, noted := range []bool{true, false} {
		play(t, func(t *testing.T, n *node) {
			n.set("web")
			n.pass(3 * time.Second)
			if n.made(); !noted {
				n.set()
				n.pass(3 * time.Second)
			}
			if r := n.ask(t, Request{Verb: Close, Resource: "r-web"}); r.Error != "" {
				t.Errorf("close: %+v", r)
			}
			n.want(t, "closed", "web close")
			n.set()
			n.pass(time.Hour)
			n.want(t, "and gone", "")
			n.set("web")
			n.pass(4 * time.Second)
			n.want(t, "and started again", "web")
		})
	}
}

// A guest whose round waits for those of others can be closed.
func TestCloseBesideFullSyncs(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		n.round = func(ctx context.Context, guest string, _ source.Request) (source.Result, error) {
			if guest != "web" {
				<-ctx.Done()
			}
			return source.Result{All: []string{"vda"}, Sent: []string{"vda"}}, ctx.Err()
		}
		n.set("a", "b")
		n.pass(3 * time.Second)
		n.made()
		n.set("a", "b", "web")
		n.pass(3 * time.Second)
		n.want(t, "both slots are taken", "")
		if r := n.ask(t, Request{Verb: Close, Resource: "r-web"}); r.Error != "" {
			t.Errorf("close: %+v", r)
		}
		n.want(t, "closed", "web close")
	})
}

// What a round did without is said once.
func TestWarning(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		n.round = func(ctx context.Context, name string, o source.Request) (source.Result, error) {
			r, err := quick(ctx, name, o)
			r.Warning = errors.New("the agent is not connected")
			return r, err
		}
		n.set("web")
		n.pass(time.Minute)
		if got := strings.Count(n.log.String(), "the agent is not connected"); got != 1 {
			t.Errorf("said %d times:\n%s", got, n.log.String())
		}
	})
}

// A close of which the other node takes nothing is given up long before the agent's time is up.
func TestCloseStall(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		n.set("web")
		n.pass(3 * time.Second)
		n.mu.Lock()
		n.round = func(ctx context.Context, _ string, o source.Request) (source.Result, error) {
			err := wait.For(ctx, closeStall-time.Second)
			o.Progress(false, 1, 0)
			<-ctx.Done()
			return source.Result{}, errors.Join(err, ctx.Err())
		}
		n.mu.Unlock()
		begun := time.Now()
		r := n.ask(t, Request{Verb: Close, Resource: "r-web"})
		if took := time.Since(begun); r.Error != "nothing was sent in 20s" || took != 2*closeStall-time.Second {
			t.Errorf("%+v after %s", r, took)
		}
	})
}

// A close ends when the agent's time is up, and not when the note of the guest goes.
func TestCloseAborted(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		n.set("web")
		n.pass(3 * time.Second)
		n.mu.Lock()
		n.round = func(ctx context.Context, _ string, _ source.Request) (source.Result, error) {
			<-ctx.Done()
			return source.Result{}, ctx.Err()
		}
		n.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		n.set()
		begun := time.Now()
		r := n.Answer(ctx, 0, Request{Verb: Close, Resource: "r-web"})
		if took := time.Since(begun); r.Error == "" || took != 15*time.Second || n.busy["web"] != 0 {
			t.Errorf("%+v after %s, %d rounds", r, took, n.busy["web"])
		}
	})
}

func TestOrders(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		n.set("web")
		n.pass(3 * time.Second)
		n.made()
		for verb, want := range map[Verb]string{Sync: "web", Resync: "web full", Verify: "web verify"} {
			if r := n.ask(t, Request{Verb: verb, Guest: "web"}); r.Error != "" || r.Bytes != 5 || r.TookS != 1 {
				t.Errorf("%s: %+v", verb, r)
			}
			n.want(t, string(verb), want)
		}
		if r := n.ask(t, Request{Verb: "dance", Guest: "web"}); r.Error != `there is no verb "dance"` {
			t.Errorf("%+v", r)
		}
		if r := n.ask(t, Request{Verb: Sync, Guest: "db"}); r.Error != `guest "db" is not mirrored from this node` {
			t.Errorf("%+v", r)
		}
	})
}

// Files that hang keep no guest's round back, need no stream, and have as long as they take.
func TestFiles(t *testing.T) {
	play(t, func(t *testing.T, n *node) {
		n.dial = func([]string) (stream, error) { return nil, errors.New("dialled") }
		end := make(chan struct{})
		n.round = func(ctx context.Context, name string, _ source.Request) (source.Result, error) {
			select {
			case <-end:
				return source.Result{All: []string{"files"}, Sent: []string{"files"}}, nil
			case <-ctx.Done():
				return source.Result{}, ctx.Err()
			}
		}
		n.mu.Lock()
		for _, path := range []string{"/a", "/b", "/c"} {
			n.here = append(n.here, Guest{Name: path, Resource: path, Peer: "n2", Path: true, Interval: "10s",
				Mirror: param.Mirror{Interval: 10 * time.Second}})
		}
		n.mu.Unlock()
		n.pass(stallTime + time.Minute)
		if calls := n.made(); strings.Count(calls, "/") != 3 || n.most != 3 {
			t.Errorf("rounds %s, %d at once", calls, n.most)
		}
		if s := n.ask(t, Request{Verb: List}).Guests[0]; s.Guest != "/a" || !s.Late || s.Error != "" || s.State() != "older than two intervals" {
			t.Errorf("status %+v", s)
		}
		if r := n.ask(t, Request{Verb: Verify, Guest: "/a"}); !strings.Contains(r.Error, "resync compares them") {
			t.Errorf("verify: %+v", r)
		}
		close(end)
		n.pass(3 * time.Second)
		if s := n.ask(t, Request{Verb: List}).Guests[0]; s.Late || s.AgeS == nil || s.Role != mirror.Truth {
			t.Errorf("status %+v", s)
		}
	})
}
