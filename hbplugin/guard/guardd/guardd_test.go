package guardd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/guard/health"
	"github.com/vmferry/vmferry/hbplugin/guard/journal"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/link"
	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
	"github.com/vmferry/vmferry/migrate/wait"
)

// disk is the shared device.
type disk struct {
	mu     sync.Mutex
	slots  map[int]lease.Slot
	claims map[[2]int]lease.Claim
	hangs  map[int]chan struct{} // the nodes whose writes and reads wait, and until when
	blind  int                   // the node whose reads fail
}

// view is the disk as one node sees it.
type view struct {
	*disk
	node int
}

func (v view) wait() {
	v.mu.Lock()
	hang := v.hangs[v.node]
	v.mu.Unlock()
	if hang != nil {
		<-hang
	}
}

func (v view) Slot(node int) (lease.Slot, error) {
	v.wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.blind == v.node {
		return lease.Slot{}, errors.New("read error")
	}
	s := v.slots[node]
	s.Node = node
	return s, nil
}

func (v view) WriteSlot(s lease.Slot) error {
	v.wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.slots[s.Node] = s
	return nil
}

func (v view) Claim(from, target int) (lease.Claim, error) {
	v.wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.claims[[2]int{from, target}]
	c.From, c.Target = from, target
	return c, nil
}

func (v view) WriteClaim(c lease.Claim) error {
	v.wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.claims[[2]int{c.From, c.Target}] = c
	return nil
}

func (v view) Close() error { return nil }

// world is two nodes.
type world struct {
	*testing.T
	disk  *disk
	begun time.Time
	nodes [3]*node
	mu    sync.Mutex
	cut   bool // the link, and the cluster's communication
}

// node is one of them, with what was done there.
type node struct {
	*world
	*Daemon
	id    int
	end   context.CancelFunc
	inbox chan []byte
	state // under world's lock
}

// state is what was done at a node.
type state struct {
	guests  int
	killed  time.Duration // when Prove was called first
	moved   string
	starts  time.Duration // when a start that libvirt has begun ends; 0: none is under way
	joined  int           // how often the manager was restarted
	until   time.Duration
	resumes uint64 // the generation that the next guard may resume
	revoked []string
	events  []journal.Event
}

// done is what was done at the node until now.
func (n *node) done() state {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state
}

// note writes down what is done at the node.
func (n *node) note(f func(s *state)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(&n.state)
}

func newWorld(t *testing.T) *world {
	return &world{T: t, begun: time.Now(), disk: &disk{slots: map[int]lease.Slot{}, claims: map[[2]int]lease.Claim{},
		hangs: map[int]chan struct{}{}}}
}

func (w *world) now() time.Duration { return time.Hour + time.Since(w.begun) }

// slot is what the disk has.
func (w *world) slot(node int) lease.Slot {
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	return w.disk.slots[node]
}

func (w *world) isCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut
}

func (w *world) cutLink(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
}

// start begins the guard of a node; change may change its configuration.
func (w *world) start(id int, change func(*Config)) *node {
	w.Helper()
	n := &node{world: w, id: id, inbox: make(chan []byte, 16)}
	log := logrus.New()
	log.SetOutput(io.Discard)
	c := Config{
		Header: lease.Header{Cluster: "plant", Times: timing.Default, Nodes: []string{"alpha", "beta"}},
		ID:     id, Instance: lease.Instance{byte(id)}, Log: log, Now: w.now, Link: n,
		Open: func() (Blocks, error) { return view{w.disk, id}, nil },
		Node: Node{
			Prove: n.prove, Surrender: n.surrender, Move: n.move, Measure: n.measure, Members: n.members, Leased: func(d time.Duration, g uint64) { n.note(func(s *state) { s.until, s.resumes = d, g }) },
			Rejoin: func(context.Context, func() bool) error { n.note(func(s *state) { s.joined++ }); return nil },
			Record: func(e journal.Event) error { n.note(func(s *state) { s.events = append(s.events, e) }); return nil },
		},
	}
	if change != nil {
		change(&c)
	}
	n.Daemon = New(c)
	w.mu.Lock()
	w.nodes[id] = n
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(w.Context())
	n.end = cancel
	ready := make(chan struct{})
	go func() {
		if err := n.Run(ctx, func() error { close(ready); return nil }); err != nil {
			w.Errorf("node %d: %v", id, err)
		}
	}()
	<-ready
	return n
}

func (n *node) prove(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.arrive()
	if n.killed == 0 && n.guests > 0 {
		n.killed = n.now()
	}
	n.guests = 0
	return nil
}

func (n *node) move(_ context.Context, to string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.moved, n.guests = to, 0
	return nil
}

func (n *node) measure() protocol.Here {
	n.mu.Lock()
	defer n.mu.Unlock()
	return protocol.Here{Guests: n.guests}
}

func (n *node) members(context.Context) ([]string, error) {
	if n.isCut() {
		return []string{n.name(n.id)}, nil
	}
	return []string{"alpha", "beta"}, nil
}

func (n *node) Send(to int, datagram []byte) error {
	n.mu.Lock()
	other := n.nodes[to]
	n.mu.Unlock()
	if other != nil && !n.isCut() {
		select {
		case other.inbox <- datagram:
		default:
		}
	}
	return nil
}

func (n *node) Receive(ctx context.Context, buffer []byte) (int, error) {
	select {
	case b := <-n.inbox:
		return copy(buffer, b), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// open takes the lease, which has to succeed, and starts that many guests.
func (n *node) open(guests int) {
	n.Helper()
	ctx, cancel := context.WithTimeout(n.Context(), 10*time.Second)
	defer cancel()
	if err := n.OpenLease(ctx); err != nil {
		n.Fatalf("node %d: %v", n.id, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.guests = guests
}

func (n *node) mayRun() bool {
	ctx, cancel := context.WithTimeout(n.Context(), time.Second)
	defer cancel()
	return n.MayRun(ctx, "") == nil
}

// Nodes that boot together ask for their leases as soon as their manager sees both, however old what the guard knows of
// its members is.
func TestOpenAsksForTheMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cutLink(true)
		slow := func(c *Config) {
			members := c.Node.Members
			c.Node.Members = func(ctx context.Context) ([]string, error) {
				defer time.Sleep(membersEvery)
				return members(ctx)
			}
		}
		a, b := w.start(1, slow), w.start(2, slow)
		time.Sleep(10*time.Second + membersEvery/4)
		w.cutLink(false)
		var both sync.WaitGroup
		for _, n := range []*node{a, b} {
			both.Go(func() { n.open(0) })
		}
		both.Wait()
		if a, b := w.slot(1), w.slot(2); a.Generation != 1 || b.Generation != 1 {
			t.Errorf("the leases were opened %d and %d times", a.Generation, b.Generation)
		}
		a.end()
		b.end()
		time.Sleep(time.Second)
	})
}

// A node whose guard had another lease device for a while is believed as soon as its guard has this one, also where
// neither has a lease to renew.
func TestForeignNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.start(1, nil)
		a.inbox <- link.Message{Kind: link.Hello, From: 2, To: 1}.Seal([]byte("of another device"))
		time.Sleep(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.OpenLease(ctx); err == nil || !strings.Contains(err.Error(), "is not shared with node beta") {
			t.Errorf("the lease is taken: %v", err)
		}
		b := w.start(2, nil)
		time.Sleep(time.Second)
		a.open(1)
		a.end()
		b.end()
	})
}

// The storage that one node's access is revoked on does not answer: that of the others is revoked all the same.
func TestRevokesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, id := range []int{2, 3} {
			w.disk.slots[id] = lease.Slot{Node: id, Instance: lease.Instance{byte(id)}, Generation: 1, State: lease.Held}
		}
		var mu sync.Mutex
		first := map[string]time.Duration{}
		a := w.start(1, func(c *Config) {
			c.Header.Nodes, c.Policy.Revoke, c.Link = append(c.Header.Nodes, "gamma"), true, nil
			c.Node.Members = func(context.Context) ([]string, error) { return []string{"alpha"}, nil }
			c.Node.Revoke = func(ctx context.Context, node string, _ uint64) error {
				mu.Lock()
				if first[node] == 0 {
					first[node] = w.now()
				}
				mu.Unlock()
				<-ctx.Done()
				return ctx.Err()
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := a.OpenLease(ctx); err == nil {
			t.Error("the lease is taken without a proof")
		}
		mu.Lock()
		if late := (first["gamma"] - first["beta"]).Abs(); first["gamma"] == 0 || first["beta"] == 0 || late > time.Second {
			t.Errorf("revoked at %v", first)
		}
		mu.Unlock()
		a.end()
		time.Sleep(time.Second)
	})
}

// pair is both nodes with their leases held for a while, and one guest on the first, three on the second.
func (w *world) pair(first, second func(*Config)) (a, b *node) {
	w.Helper()
	a, b = w.start(1, first), w.start(2, second)
	a.open(1)
	b.open(3)
	time.Sleep(2 * time.Second)
	return a, b
}

// A node that hung answers nobody by what it knew before.
func TestMayRunAfterAHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var slept atomic.Int64
		a := w.start(1, func(c *Config) { c.Now = func() time.Duration { return w.now() + time.Duration(slept.Load()) } })
		a.open(1)
		time.Sleep(time.Second + step/2)
		synctest.Wait()
		if slept.Store(int64(10 * time.Second)); a.mayRun() {
			t.Error("guests may be started with a lease that is 10 s old")
		}
		a.end()
	})
}

// deaf is a link whose socket fails at once.
type deaf struct {
	*node
	reads *atomic.Int64
}

func (d deaf) Receive(context.Context, []byte) (int, error) {
	d.reads.Add(1)
	return 0, errors.New("the network is down")
}

// A link that fails takes no processor from others.
func TestBrokenLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var reads atomic.Int64
		a := w.start(1, func(c *Config) { c.Link = deaf{c.Link.(*node), &reads} })
		time.Sleep(time.Second)
		if n := reads.Load(); n > int64(time.Second/step)+1 {
			t.Errorf("it is read %d times in a second", n)
		}
		a.end()
	})
}

// fence is a fence call of at most a minute.
func (n *node) fence(other string) (string, error) {
	ctx, cancel := context.WithTimeout(n.Context(), time.Minute)
	defer cancel()
	return n.Fence(ctx, other)
}

func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.start(1, nil)
		if a.mayRun() {
			t.Error("guests may run before the lease is taken")
		}
		a.open(1)
		if !a.mayRun() {
			t.Error("guests may not run though the lease is held")
		}
		time.Sleep(time.Minute)
		if !a.mayRun() || w.now() >= a.done().until {
			t.Errorf("after a minute: guests may run until %s, now is %s", a.done().until, w.now())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := a.Surrender(ctx); err != nil {
			t.Error(err)
		}
		if s := w.slot(1); s.State != lease.Surrendered || s.Generation != 1 {
			t.Errorf("slot %+v", s)
		}
		a.end()
	})
}

// The link is cut: the node with fewer guests moves them to the other, surrenders, and restarts its manager.
func TestSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.pair(nil, nil)
		w.cutLink(true)
		begun := time.Now()
		lost := make(chan error)
		go func() { _, err := a.fence("beta"); lost <- err }()
		evidence, err := b.fence("alpha")
		if err != nil || !strings.Contains(evidence, "has surrendered generation 1") {
			t.Errorf("the winner: %q, %v", evidence, err)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
		if err := <-lost; err == nil || !strings.Contains(err.Error(), "does not hold its lease") {
			t.Errorf("the loser: %v", err)
		}
		time.Sleep(time.Second)
		atA, atB := a.done(), b.done()
		if atA.resumes != 0 || atB.resumes != 1 {
			t.Errorf("the next guards may resume generations %d and %d, want none and 1", atA.resumes, atB.resumes)
		}
		if atA.moved != "beta" || atB.moved != "" || atA.joined != 1 || atB.joined != 0 || a.mayRun() || !b.mayRun() {
			t.Errorf("at node 1 %+v, at node 2 %+v", atA, atB)
		}
		w.cutLink(false)
		time.Sleep(time.Second)
		a.open(1)
		a.end()
		b.end()
	})
}

// Guests that cannot be moved are killed at once, and that is recorded. A migration that failed is tried again instead.
func TestSplitWithoutMoves(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		least time.Duration
		most  time.Duration
		why   string
	}{
		"the winner is out of reach": {fmt.Errorf("%w: guest \"a\": i/o timeout\nguest \"b\"", ErrStuck), 0, 2 * time.Second,
			`no guest can be moved live: guest "a": i/o timeout`},
		"some cannot be moved":   {nil, 0, 2 * time.Second, "all guests that can be moved live were moved"},
		"a migration has failed": {errors.New("it is paused"), timing.Default.Move, timing.Default.Move + 2*time.Second, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			cannot := func(c *Config) {
				c.Node.Move = func(ctx context.Context, _ string) error {
					_ = wait.For(ctx, 200*time.Millisecond)
					return test.err
				}
			}
			a, b := w.pair(cannot, nil)
			w.cutLink(true)
			begun := w.now()
			if _, err := b.fence("alpha"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			took := a.done().killed - begun
			if a.done().killed == 0 || took < test.least || took > test.most {
				t.Errorf("%s: killed after %s, want %s to %s", name, took, test.least, test.most)
			}
			for _, e := range a.done().events {
				if e.Kind == journal.Killed && !strings.HasSuffix(e.Evidence, test.why) {
					t.Errorf("%s: the record says %q, want %q", name, e.Evidence, test.why)
				}
			}
			a.end()
			b.end()
		})
	}
}

// The storage of one node hangs. The link renews its lease; when that is cut as well its guests are killed in time.
func TestStorageHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.pair(nil, nil)
		hang := make(chan struct{})
		w.disk.mu.Lock()
		w.disk.hangs[1] = hang
		w.disk.mu.Unlock()
		time.Sleep(30 * time.Second)
		if !a.mayRun() || a.done().killed != 0 {
			t.Error("the link does not renew the lease")
		}
		w.cutLink(true)
		cut := w.now()
		time.Sleep(10 * time.Second)
		if a.done().resumes != 0 {
			t.Error("a guard that killed its guests may be resumed")
		}
		if late := a.done().killed - cut; a.done().killed == 0 || late > timing.Default.SelfKill+2*step {
			t.Errorf("the guests were killed %s after the cut", late)
		}
		if b.done().killed != 0 {
			t.Error("the node that is well killed its guests")
		}
		close(hang)
		a.end()
		b.end()
	})
}

// A node dies: its lease expires, and its access is revoked.
func TestCrash(t *testing.T) {
	for name, test := range map[string]struct {
		policy protocol.Policy
		revoke error
		want   string
		fenced bool
	}{
		"revoked":           {protocol.Policy{Revoke: true}, nil, "its access to the disks is revoked", true},
		"not to be revoked": {protocol.Policy{Revoke: true}, errors.New("no route to the storage"), "nothing proves", false},
		"trusted":           {protocol.Policy{TrustExpiry: true}, nil, "trust-expiry is set", true},
		"no proof":          {protocol.Policy{}, nil, "nothing proves", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var a, b *node
			a, b = w.pair(func(c *Config) {
				c.Policy = test.policy
				c.Node.Revoke = func(_ context.Context, node string, generation uint64) error {
					a.note(func(s *state) { s.revoked = append(s.revoked, node) })
					return test.revoke
				}
			}, nil)
			b.end()
			w.cutLink(true)
			begun := time.Now()
			evidence, err := a.fence("beta")
			took := time.Since(begun)
			if text := evidence + errorText(err); !strings.Contains(text, test.want) || (err == nil) != test.fenced {
				t.Errorf("%s: %q", name, text)
			}
			if test.fenced && took > timing.Default.Expiry(0)+time.Second {
				t.Errorf("%s: it took %s", name, took)
			}
			if revoked := a.done().revoked; (len(revoked) > 0) != test.policy.Revoke {
				t.Errorf("%s: revoked %v", name, revoked)
			}
			a.end()
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A guard that is killed and comes back in time resumes its lease, and no guest is killed.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.pair(nil, nil)
		a.end()
		good := a.done().until - timing.Default.SelfKill
		time.Sleep(time.Second)
		again := w.start(1, func(c *Config) { c.Previous, c.Good = w.slot(1), good })
		time.Sleep(5 * time.Second)
		if !again.mayRun() || again.done().killed != 0 {
			t.Error("the lease is not resumed")
		}
		again.end()
		b.end()
	})
}

// Guests may run once the access to the disks is open, and not before.
func TestAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var fails atomic.Int64
		var admitted atomic.Uint64
		fails.Store(3)
		a := w.start(1, func(c *Config) {
			c.Node.Admit = func(_ context.Context, generation uint64) error {
				if fails.Add(-1) >= 0 {
					return errors.New("no route to the storage")
				}
				admitted.Store(generation)
				return nil
			}
		})
		begun := time.Now()
		a.open(1)
		if admitted.Load() != 1 || !a.mayRun() || time.Since(begun) < 3*time.Second {
			t.Errorf("admitted in generation %d after %s", admitted.Load(), time.Since(begun))
		}
		a.end()
	})
}

// A look for guests without a lease does not end for a while. The lease is taken meanwhile: it kills no guest of that.
func TestOldKillEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.start(1, func(c *Config) {
			prove := c.Node.Prove
			c.Node.Prove = func(ctx context.Context) error {
				for ctx.Err() == nil {
					_ = prove(ctx)
					time.Sleep(10 * time.Millisecond)
				}
				return ctx.Err()
			}
		})
		time.Sleep(2 * time.Second)
		a.open(1)
		time.Sleep(20 * time.Second)
		if at := a.done(); at.killed != 0 || at.guests != 1 {
			t.Errorf("a guest was killed under a good lease: %+v", at)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := a.Surrender(ctx); err != nil {
			t.Error(err)
		}
		if at := a.done(); at.until != 0 || at.guests != 0 {
			t.Errorf("after the surrender: %+v", at)
		}
		a.end()
		time.Sleep(time.Second)
	})
}

// The cluster manager ends a fence agent that takes too long: nobody waits for the verdict, and the claim is withdrawn.
func TestFenceCallerGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.pair(nil, nil)
		b.end()
		w.cutLink(true)
		claim := func() lease.Claim {
			w.disk.mu.Lock()
			defer w.disk.mu.Unlock()
			return w.disk.claims[[2]int{1, 2}]
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		time.AfterFunc(3*time.Second, func() {
			if !claim().Open() {
				t.Errorf("no claim: %+v", claim())
			}
			cancel()
		})
		if _, err := a.Fence(ctx, "beta"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if claim().Open() {
			t.Errorf("the claim outlives the call: %+v", claim())
		}
		a.end()
		time.Sleep(time.Second)
	})
}

// A second call for a node does not end the first, whatever becomes of it.
func TestTwoFenceCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.pair(func(c *Config) { c.Policy.TrustExpiry = true }, nil)
		b.end()
		w.cutLink(true)
		first := make(chan error)
		go func() { _, err := a.fence("beta"); first <- err }()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Fence(ctx, "beta"); err == nil {
			t.Error("the second call is answered before the lease has expired")
		}
		if err := <-first; err != nil {
			t.Errorf("the first call: %v", err)
		}
		a.end()
		time.Sleep(time.Second)
	})
}

// Nothing is done for a caller that has gone.
func TestAskTooLate(t *testing.T) {
	d := New(Config{ID: 1, Header: lease.Header{Nodes: []string{"alpha", "beta"}}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range cap(d.events) {
		if d.ask(ctx, func(time.Duration) { t.Error("it is called though its caller has gone") }) {
			t.Error("it was called, though nobody calls")
		}
	}
	for len(d.events) > 0 {
		(<-d.events)(0)
	}
}

func TestFenceRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.start(1, nil)
		for _, node := range []string{"gamma", "alpha", ""} {
			if _, err := a.fence(node); err == nil || !strings.Contains(err.Error(), "cannot be fenced from here") {
				t.Errorf("%q: %v", node, err)
			}
		}
		if _, err := a.Fence(t.Context(), "beta"); err == nil {
			t.Error("a fence call without a deadline")
		}
		a.end()
	})
}

// A node whose cluster manager asks nobody takes its lease by itself: when the manager runs, and where that is safe.
func TestOpenItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.start(1, nil)
		a.open(1)
		w.cutLink(true)
		var runs atomic.Bool
		b := w.start(2, func(c *Config) {
			c.OpenItself = true
			members := c.Node.Members
			c.Node.Members = func(ctx context.Context) ([]string, error) {
				if !runs.Load() {
					return nil, errors.New("it does not run")
				}
				return members(ctx)
			}
		})
		time.Sleep(5 * time.Second)
		if b.mayRun() {
			t.Error("the lease is taken though no manager runs")
		}
		runs.Store(true)
		time.Sleep(5 * time.Second)
		if b.mayRun() || w.slot(2).Generation != 0 {
			t.Error("the lease is taken though the other node is not seen")
		}
		w.cutLink(false)
		time.Sleep(3 * time.Second)
		if !b.mayRun() || w.slot(2).Generation != 1 {
			t.Errorf("the lease is not taken: %+v", w.slot(2))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := b.Surrender(ctx); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
		if b.mayRun() || w.slot(2).State != lease.Surrendered {
			t.Error("a lease that was given back is taken again")
		}
		a.end()
		b.end()
	})
}

// The manager of a node that surrendered is told when the other node is heard again, and the lease is taken after that.
func TestRejoinHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var joined atomic.Bool
		rejoin := func(_ context.Context, heard func() bool) error {
			for !heard() {
				time.Sleep(time.Second)
			}
			joined.Store(true)
			return nil
		}
		a := w.start(1, func(c *Config) { c.OpenItself, c.Node.Rejoin = true, rejoin })
		b := w.start(2, func(c *Config) { c.OpenItself, c.Node.Rejoin = true, rejoin })
		time.Sleep(3 * time.Second)
		if !a.mayRun() || !b.mayRun() {
			t.Fatal("the leases are not taken")
		}
		b.note(func(s *state) { s.guests = 3 })
		time.Sleep(2 * time.Second)
		w.cutLink(true)
		if _, err := b.fence("alpha"); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		if joined.Load() || a.mayRun() {
			t.Error("the manager is started, or the lease taken, while the link is cut")
		}
		w.cutLink(false)
		time.Sleep(5 * time.Second)
		if !joined.Load() || !a.mayRun() {
			t.Errorf("joined %v, may run %v after the heal", joined.Load(), a.mayRun())
		}
		a.end()
		b.end()
	})
}

// A node that boots while the link is cut fences the other one in vain, and Heartbeat repeats that for ever. When the
// other node is heard again, Heartbeat is restarted before the lease is taken: with it the next call would succeed, and
// the other node would surrender.
func TestFencesInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.start(1, nil)
		a.open(1)
		w.cutLink(true)
		b := w.start(2, func(c *Config) { c.OpenItself = true })
		time.Sleep(10 * time.Second)
		if _, err := b.fence("alpha"); err == nil {
			t.Error("a node without a lease fences")
		}
		time.Sleep(10 * time.Second)
		if b.mayRun() || b.done().joined != 0 {
			t.Errorf("may run %v, joined %d times while the link is cut", b.mayRun(), b.done().joined)
		}
		w.cutLink(false)
		time.Sleep(5 * time.Second)
		if !b.mayRun() || b.done().joined != 1 {
			t.Errorf("may run %v, joined %d times after the heal", b.mayRun(), b.done().joined)
		}
		if w.slot(1).State != lease.Held || w.slot(1).Generation != 1 {
			t.Errorf("the other node has lost its lease: %+v", w.slot(1))
		}
		time.Sleep(10 * time.Second)
		if b.done().joined != 1 {
			t.Errorf("the manager was restarted %d times", b.done().joined)
		}
		a.end()
		b.end()
	})
}

// The watchdog is fed while the lease is good or given back, and not while the guests cannot be killed.
func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var fed atomic.Int64
		var stuck atomic.Bool
		a := w.start(1, func(c *Config) {
			c.Node.Feed = func() error { fed.Store(int64(w.now())); return nil }
			measure, prove := c.Node.Measure, c.Node.Prove
			c.Node.Measure = func() protocol.Here { h := measure(); h.Watchdog = 5 * time.Second; return h }
			c.Node.Prove = func(ctx context.Context) error {
				if stuck.Load() {
					return errors.New("it waits for a disk")
				}
				return prove(ctx)
			}
		})
		b := w.start(2, nil)
		age := func() time.Duration { return w.now() - time.Duration(fed.Load()) }
		a.open(1)
		b.open(1)
		time.Sleep(time.Minute)
		if age() > 1100*time.Millisecond || w.slot(1).Watchdog != 5*time.Second {
			t.Errorf("last fed %s ago, slot %+v", age(), w.slot(1))
		}
		stuck.Store(true)
		hang := make(chan struct{})
		w.disk.mu.Lock()
		w.disk.hangs[1] = hang
		w.disk.mu.Unlock()
		w.cutLink(true)
		time.Sleep(timing.Default.SelfKill + 2*time.Second)
		if age() < 2*time.Second {
			t.Errorf("fed %s ago, though the lease is lost and a guest lives", age())
		}
		stuck.Store(false)
		close(hang)
		time.Sleep(3 * time.Second)
		if age() > 1100*time.Millisecond {
			t.Errorf("not fed for %s after the surrender", age())
		}
		a.end()
		b.end()
	})
}

// arrive ends a start that is due. The lock is held.
func (n *node) arrive() {
	if n.starts != 0 && n.now() >= n.starts {
		n.starts = 0
		n.guests++
	}
}

// surrender is prove, and ends what libvirt has begun.
func (n *node) surrender(ctx context.Context) error {
	n.note(func(s *state) { s.starts = 0 })
	return n.prove(ctx)
}

// libvirt's daemon is stopped in the midst of a start, and the lease is lost: no guest appears once the surrender is on
// the disk. Without the end of the start it does, when the daemon goes on.
func TestNoGuestAppearsAfterTheSurrender(t *testing.T) {
	for name, test := range map[string]struct {
		end     func(n *node) func(context.Context) error
		appears bool
	}{
		"the start is ended":         {func(n *node) func(context.Context) error { return n.surrender }, false},
		"the guests alone are ended": {func(n *node) func(context.Context) error { return n.prove }, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var a, b *node
			a, b = w.pair(func(c *Config) {
				c.Node.Surrender = func(ctx context.Context) error { return test.end(a)(ctx) }
			}, nil)
			a.note(func(s *state) { s.starts = a.now() + 10*time.Second })
			w.cutLink(true)
			if _, err := b.fence("alpha"); err != nil {
				t.Fatal(err)
			}
			appeared := false
			for range 20 * 10 { // the killer looks once a second
				time.Sleep(100 * time.Millisecond)
				a.mu.Lock()
				a.arrive()
				appeared = appeared || a.guests > 0
				a.mu.Unlock()
			}
			if appeared != test.appears {
				t.Errorf("%s: a guest appears after the surrender: %v", name, appeared)
			}
			a.end()
			b.end()
		})
	}
}

// What another node may run is what its slot says, while it is renewed.
func TestMayRunElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := w.start(1, nil), w.start(2, nil)
		a.open(1)
		time.Sleep(2 * time.Second)
		want := func(node, want string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if got := errorText(a.MayRun(ctx, node)); (got == "") != (want == "") || !strings.Contains(got, want) {
				t.Errorf("node %q: %q, want %q", node, got, want)
			}
		}
		want("alpha", "")
		want("beta", "node beta does not hold its lease: it is surrendered")
		want("gamma", "knows no node")
		b.open(1)
		time.Sleep(time.Second)
		want("beta", "")
		b.end()
		time.Sleep(2 * time.Second)
		want("beta", "node beta has not renewed its lease for")
		a.end()
	})
}

// Each node has a device of its own, with equal names: a copy of the other's, or one that was made for itself.
func TestNotShared(t *testing.T) {
	for name, identity := range map[string]byte{"a copy": 0, "another one": 1} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			own := newWorld(t).disk
			a := w.start(1, nil)
			a.open(2) // a node without a lease says hello, too: it would be refused
			b := w.start(2, func(c *Config) {
				c.Header.Identity[0] = identity
				c.Open = func() (Blocks, error) { return view{own, 2}, nil }
			})
			time.Sleep(5 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if err := b.OpenLease(ctx); err == nil || !strings.Contains(err.Error(), "is not shared with node alpha") {
				t.Errorf("%s: %v", name, err)
			}
			if report, err := b.Status(t.Context()); err == nil || !report.Nodes[0].NotShared {
				t.Errorf("%s: status %+v, %v", name, report, err)
			}
			if !a.mayRun() || a.done().killed != 0 {
				t.Errorf("%s: the node that was there first: %+v", name, a.done())
			}
			a.end()
			b.end()
		})
	}
}

// Both take their leases at the same time, and neither has a guest yet: who finds out first gives it up.
func TestNotSharedFromTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		own := newWorld(t).disk
		own.slots[1] = lease.Slot{Instance: lease.Instance{1}} // each is a copy of one that both have used
		w.disk.slots[2] = lease.Slot{Instance: lease.Instance{2}}
		a := w.start(1, nil)
		b := w.start(2, func(c *Config) { c.Open = func() (Blocks, error) { return view{own, 2}, nil } })
		time.Sleep(2 * time.Second)
		w.cutLink(true)
		for _, n := range []*node{a, b} {
			n.do(t.Context(), func(now time.Duration) { n.guard.Member(3-n.id, true); _ = n.guard.Open(now) })
		}
		time.Sleep(2 * time.Second)
		if !a.mayRun() || !b.mayRun() {
			t.Fatal("the leases are not held to begin with")
		}
		w.cutLink(false)
		time.Sleep(5 * time.Second)
		if a.mayRun() && b.mayRun() {
			t.Error("two leases are held on devices that are not shared")
		}
		a.end()
		b.end()
	})
}

// A gateway is lost, then all reads of the device, then the storage, with the link up: the node is red, the other is not,
// though it reaches less when the reads fail, and nobody is killed.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var reached, there atomic.Int64
		var colors []string
		reached.Store(2)
		there.Store(2)
		a := w.start(1, func(c *Config) {
			c.Node.Measure = func() protocol.Here { return protocol.Here{Reached: int(reached.Load()), Guests: 1} }
			c.Node.Health = func(_ context.Context, color health.Color) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				if len(colors) == 0 || colors[len(colors)-1] != string(color) {
					colors = append(colors, string(color))
				}
				return nil
			}
		})
		b := w.start(2, func(c *Config) {
			c.Node.Measure = func() protocol.Here { return protocol.Here{Reached: int(there.Load()), Guests: 1} }
			c.Node.Health = func(_ context.Context, color health.Color) error {
				if color != health.Green {
					t.Errorf("the other node is %s", color)
				}
				return nil
			}
		})
		a.open(1)
		b.open(1)
		want := func(when string, want ...string) {
			t.Helper()
			w.mu.Lock()
			defer w.mu.Unlock()
			if !slices.Equal(colors, want) {
				t.Errorf("%s: %v, want %v", when, colors, want)
			}
		}
		time.Sleep(time.Minute)
		want("all is well", "green")
		reached.Store(1)
		time.Sleep(15 * time.Second)
		want("a gateway is lost", "green", "red")
		reached.Store(2)
		time.Sleep(2 * time.Minute)
		want("it is back", "green", "red", "yellow", "green")
		blind := func(node int) {
			w.disk.mu.Lock()
			defer w.disk.mu.Unlock()
			w.disk.blind = node
		}
		blind(1)
		time.Sleep(4 * time.Second)
		there.Store(1)
		time.Sleep(16 * time.Second)
		want("the reads fail", "green", "red", "yellow", "green", "red")
		blind(0)
		there.Store(2)
		time.Sleep(2 * time.Minute)
		want("they succeed again", "green", "red", "yellow", "green", "red", "yellow", "green")
		hang := make(chan struct{})
		w.disk.mu.Lock()
		w.disk.hangs[1] = hang
		w.disk.mu.Unlock()
		time.Sleep(20 * time.Second)
		want("the storage hangs", "green", "red", "yellow", "green", "red", "yellow", "green", "red")
		if a.done().killed != 0 || !a.mayRun() {
			t.Error("guests were killed")
		}
		close(hang)
		a.end()
		b.end()
	})
}

// A node that has woken up sends frames before its guests are killed: who runs them now announces them once more, when
// the surrender is seen.
func TestAnnouncesAfterASurrender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var announced [2]atomic.Int64
		counts := func(i int) func(*Config) {
			return func(c *Config) {
				c.Node.Announce = func(context.Context) error { announced[i].Add(1); return nil }
			}
		}
		a, b := w.pair(counts(0), counts(1))
		if n := announced[1].Load(); n != 0 {
			t.Errorf("announced %d times though nobody has surrendered", n)
		}
		w.cutLink(true)
		if _, err := b.fence("alpha"); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
		if lost, won := announced[0].Load(), announced[1].Load(); lost != 0 || won != 1 {
			t.Errorf("announced %d times by who surrendered, and %d times by the other", lost, won)
		}
		a.end()
		b.end()
	})
}

// A node that has hung for longer than its lease lasts kills its cluster manager at once. One that kills its guests in
// time lets the manager stop what else runs.
func TestSilenceAfterAHang(t *testing.T) {
	for hang, want := range map[time.Duration]int64{timing.Default.SelfKill: 0, 20 * time.Second: 1} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var jump, silenced atomic.Int64
			a := w.start(1, func(c *Config) {
				c.Now = func() time.Duration { return w.now() + time.Duration(jump.Load()) }
				c.Node.Silence = func(context.Context) error { silenced.Add(1); return nil }
			})
			a.open(2)
			time.Sleep(2 * time.Second)
			jump.Store(int64(hang))
			time.Sleep(2 * time.Second)
			// The guard of the next boot begins with a slot that was held: it never hung.
			restarted := w.start(1, func(c *Config) {
				c.Node.Silence = func(context.Context) error { silenced.Add(1); return nil }
			})
			time.Sleep(time.Second)
			restarted.end()
			if n := silenced.Load(); n != want || a.done().killed == 0 {
				t.Errorf("a hang of %s: the manager was killed %d times, want %d; guests %+v", hang, n, want, a.done())
			}
			a.end()
		})
	}
}
