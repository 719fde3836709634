package protocol

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

const second = time.Second

// machine is the instance of a node's machine.
func machine(id int) lease.Instance { return lease.Instance{byte(id)} }

// node is a guard of node id with the others as peers, as it starts at one hour: no moment may pass for "never".
type node struct {
	*testing.T
	*Guard
	now      time.Duration
	verdicts []Verdict
}

func newNode(t *testing.T, id int, policy Policy, others ...int) *node {
	var claims []lease.Claim
	for _, other := range others {
		claims = append(claims, lease.Claim{From: id, Target: other})
	}
	n := &node{T: t, now: time.Hour}
	n.Guard = New(lease.Slot{Node: id}, machine(id), claims, timing.Default, policy, n.now)
	return n
}

// held is newNode with its lease held and its peers members that hold theirs.
func held(t *testing.T, id int, policy Policy, others ...int) *node {
	n := newNode(t, id, policy, others...)
	for _, other := range others {
		n.Member(other, true)
		n.sees(other, 1, lease.Held)
	}
	n.take()
	return n
}

// take takes the lease, 5 s on.
func (n *node) take() {
	n.Helper()
	n.now += 5 * second
	if err := n.Open(n.now); err != nil {
		n.Fatal(err)
	}
	n.renew()
	n.is(Held)
}

func (n *node) is(want Phase) {
	n.Helper()
	n.Step(n.now)
	if phase, why := n.Phase(); phase != want {
		n.Fatalf("at %s: %v (%s), want %v", n.now-time.Hour, phase, why, want)
	}
}

// renew writes the slot, which ends at once, and is what was written.
func (n *node) renew() lease.Slot {
	n.Helper()
	s, ok := n.Renewal(n.now)
	if !ok {
		n.Fatalf("at %s: nothing is to be written", n.now-time.Hour)
	}
	n.Renewed(s, n.now, n.now)
	n.OwnSlot(s, n.now, n.now)
	return s
}

// Open is Guard.Open of a node that has just read its slot.
func (n *node) Open(now time.Duration) error {
	n.looked = max(n.looked, now)
	return n.Guard.Open(now)
}

// sees is a good read of another node's slot.
func (n *node) sees(other int, counter uint64, state lease.State) {
	n.Slot(lease.Slot{Node: other, Instance: machine(other), Generation: 3, Counter: counter, State: state}, n.now, n.now)
}

// pass lets time pass with good renewals.
func (n *node) pass(d time.Duration) {
	for end := n.now + d; n.now < end; n.now += second / 2 {
		n.renew()
		n.verdicts = append(n.verdicts, n.Step(n.now).Verdicts...)
	}
}

func TestLife(t *testing.T) {
	n := newNode(t, 1, Policy{}, 2)
	n.is(Out)
	if o := n.Step(n.now); o.Run || !o.Kill || o.Rejoin {
		t.Errorf("orders without a lease: %+v", o)
	}
	if err := n.Open(n.now); err == nil || !strings.Contains(err.Error(), "the slot of node 1 has to be watched for") {
		t.Errorf("opened at once: %v", err)
	}
	n.now += 5 * second
	if err := n.Open(n.now); err == nil || !strings.Contains(err.Error(), "node 2 is no member of the cluster") {
		t.Errorf("opened alone: %v", err)
	}
	n.Member(2, true)
	if err := n.Open(n.now); err != nil {
		t.Fatal(err)
	}
	n.is(Opening)
	if o := n.Step(n.now); o.Run || o.Kill {
		t.Errorf("orders before the first write: %+v", o)
	}
	if s := n.renew(); s.State != lease.Held || s.Generation != 1 || s.Counter != 1 || s.Instance != machine(1) {
		t.Errorf("first slot: %+v", s)
	}
	n.is(Held)
	if o := n.Step(n.now); !o.Run || o.Kill || !o.Watchdog {
		t.Errorf("orders with a lease: %+v", o)
	}
	n.now += 2900 * time.Millisecond
	n.is(Held)
	n.now += 100 * time.Millisecond
	if _, ok := n.Renewal(n.now); ok {
		t.Error("a lease that is too old is renewed")
	}
	n.is(Killing)
	if o := n.Step(n.now); o.Run || !o.Kill || o.Watchdog {
		t.Errorf("orders of a lease that is too old: %+v", o)
	}
	if _, ok := n.Renewal(n.now); ok {
		t.Error("surrendered is written before the guests are gone")
	}
	n.Emptied()
	if s := n.renew(); s.State != lease.Surrendered || s.Generation != 1 {
		t.Errorf("last slot: %+v", s)
	}
	n.is(Out)
	if o := n.Step(n.now); !o.Kill || !o.Rejoin || !o.Watchdog {
		t.Errorf("orders after the surrender: %+v", o)
	}
	n.Rejoined()
	if n.Step(n.now).Rejoin {
		t.Error("the manager is restarted twice")
	}
}

// A node that lost the race for the first lease ran no guest: its manager goes on, and it may try again.
func TestLostOpeningRestartsNoManager(t *testing.T) {
	n := newNode(t, 1, Policy{}, 2)
	n.now += 5 * second
	n.sees(2, 1, lease.Surrendered)
	if err := n.Open(n.now); err != nil {
		t.Fatal(err)
	}
	n.renew()
	n.now++
	n.sees(2, 2, lease.Held)
	n.is(Killing)
	n.Emptied()
	n.renew()
	n.is(Out)
	if n.Step(n.now).Rejoin {
		t.Error("the manager is restarted though no guest ran")
	}
	n.Member(2, true)
	if err := n.Open(n.now); err != nil {
		t.Error(err)
	}
}

// A guard that cannot resume the lease of the one before it kills the guests that the manager counts on: on the same boot
// the manager has to be restarted.
func TestUnresumedLeaseRestartsTheManager(t *testing.T) {
	for _, c := range []struct {
		name   string
		now    lease.Instance
		rejoin bool
	}{{"same boot", machine(1), true}, {"new boot", machine(7), false}} {
		g := New(lease.Slot{Node: 1, Instance: machine(1), Generation: 2, State: lease.Held}, c.now,
			[]lease.Claim{{From: 1, Target: 2}}, timing.Default, Policy{}, time.Hour)
		g.Emptied()
		now := time.Hour + timing.Default.Fresh()
		s, ok := g.Renewal(now)
		if !ok {
			t.Fatalf("%s: no surrender is written", c.name)
		}
		g.Renewed(s, now, now)
		if o := g.Step(now); o.Rejoin != c.rejoin {
			t.Errorf("%s: the manager is restarted: %v, want %v", c.name, o.Rejoin, c.rejoin)
		}
	}
}

// A node that is cut off from the device too restarts its manager as soon as its guests are gone: one that goes on counts
// on them when the link heals before the storage does.
func TestRejoinWithoutTheDevice(t *testing.T) {
	n := held(t, 1, Policy{}, 2)
	n.now += 4 * second
	n.is(Killing)
	if n.Step(n.now).Rejoin {
		t.Error("the manager is restarted before the guests are gone")
	}
	n.Emptied()
	if !n.Step(n.now).Rejoin {
		t.Error("the manager goes on without the guests")
	}
	n.Rejoined()
	n.renew()
	n.is(Out)
	if n.Step(n.now).Rejoin {
		t.Error("the manager is restarted twice")
	}
}

// A write whose begin is older than self-kill when it ends does not save the lease.
func TestALateWrite(t *testing.T) {
	n := held(t, 1, Policy{}, 2)
	n.now += second
	begun := n.now
	s, _ := n.Renewal(begun)
	n.now += 10 * second // the machine was frozen
	n.Renewed(s, begun, n.now)
	n.is(Killing)
	if n.Renewed(s, begun, n.now); n.phase != Killing {
		t.Error("a late renewal takes the surrender back")
	}
}

// A node that can write its slot and cannot read it is as one that can do neither: it surrenders by age, takes no lease
// again, and goes on while the other nodes acknowledge its renewals. A stall that is shorter than self-kill changes nothing.
func TestReadsFailAlone(t *testing.T) {
	write := func(n *node) {
		if s, ok := n.Renewal(n.now); ok {
			n.Renewed(s, n.now, n.now)
		}
	}
	n := held(t, 1, Policy{}, 2)
	for range 29 {
		n.now += second / 10
		write(n)
		n.is(Held)
	}
	n.renew()
	for range 20 {
		n.now += second
		write(n)
		n.LinkAck(2, 1, n.now)
		n.is(Held)
	}
	n.OwnSlot(n.Own(), n.now-2*second, n.now) // the read hung meanwhile
	n.LinkAck(2, 1, n.now)
	for range 29 {
		n.now += second / 10
		write(n)
		n.is(Held)
	}
	n.now += second / 10
	write(n)
	n.is(Killing)
	n.Emptied()
	n.now += 5 * second
	write(n)
	n.is(Out)
	n.Rejoined()
	n.Member(2, true)
	if err := n.Guard.Open(n.now); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("opened without a read: %v", err)
	}
	n.OwnSlot(n.Own(), n.now, n.now)
	if err := n.Guard.Open(n.now); err != nil {
		t.Error(err)
	}
}

// The storage is gone: the lease lives as long as every other node acknowledges it.
func TestLinkRenewal(t *testing.T) {
	n := held(t, 1, Policy{}, 2, 3)
	for range 20 {
		n.now += second
		n.LinkAck(2, 1, n.now)
		n.LinkAck(3, 1, n.now)
		n.is(Held)
	}
	n.LinkAck(2, 7, n.now+second) // of another generation
	for range 3 {
		n.now += second
		n.LinkAck(3, 1, n.now)
	}
	n.is(Killing)
}

// A node that cannot read the device says neither what it reaches nor that it writes: the others are not worse off than it.
func TestBlind(t *testing.T) {
	n := held(t, 1, Policy{}, 2)
	n.Measured(Here{Reached: 2})
	for end, age := n.now+5*second, time.Duration(0); n.now < end; n.now, age = n.now+second/2, age+second/2 {
		n.LinkAck(2, 1, n.now)
		n.is(Held)
		s, ok := n.Renewal(n.now)
		if !ok {
			t.Fatal("nothing is to be written")
		}
		n.Renewed(s, n.now, n.now)
		if blind := age >= timing.Default.SelfKill; (s.Reached == 0) != blind || (n.Written(n.now) == 0) != blind {
			t.Errorf("%s after the last read: reached %d, written %d", age, s.Reached, n.Written(n.now))
		}
	}
	n.OwnSlot(n.Own(), n.now, n.now)
	if s := n.renew(); s.Reached != 2 || n.Written(n.now) != s.Counter {
		t.Errorf("it reads again: %+v, %d", s, n.Written(n.now))
	}
}

func TestTwoMachinesOnOneID(t *testing.T) {
	n := held(t, 1, Policy{}, 2)
	n.OwnSlot(lease.Slot{Node: 1, Instance: machine(9), Generation: 0, Counter: 99, State: lease.Held}, n.now, n.now)
	n.is(Held) // a late write of the last boot
	n.OwnSlot(lease.Slot{Node: 1, Instance: machine(9), Generation: 1, Counter: 1, State: lease.Held}, n.now, n.now)
	n.is(Killing)

	n = newNode(t, 1, Policy{}, 2)
	n.Member(2, true)
	n.now += 5 * second
	n.OwnSlot(lease.Slot{Node: 1, Instance: machine(9), Generation: 4, Counter: 1, State: lease.Held}, n.now, n.now)
	if err := n.Open(n.now); err == nil {
		t.Error("opened while another machine writes the slot")
	}
	n.now += 5 * second
	if err := n.Open(n.now); err != nil || n.slot.Generation != 5 {
		t.Errorf("generation %d, %v", n.slot.Generation, err)
	}
}

// A clone of a machine that holds its lease says nothing in that one's slot: neither at its start nor later.
func TestACloneDoesNotSurrenderForItsOriginal(t *testing.T) {
	for name, state := range map[string]lease.State{"the lease is held": lease.Held, "it is taken later": lease.Surrendered} {
		original := lease.Slot{Node: 1, Instance: machine(8), Generation: 6, Counter: 40, State: state}
		n := &node{T: t, now: time.Hour}
		n.Guard = New(original, machine(1), []lease.Claim{{From: 1, Target: 2}}, timing.Default, Policy{}, n.now)
		n.Member(2, true)
		original.Generation, original.Counter, original.State = 7, 0, lease.Held
		for end := n.now + 10*second; n.now < end; n.now += second / 2 {
			original.Counter++
			n.OwnSlot(original, n.now, n.now)
			n.Step(n.now)
			n.Emptied()
			if s, ok := n.Renewal(n.now); ok {
				t.Fatalf("%s: it writes %+v", name, s)
			}
			if err := n.Open(n.now); err == nil {
				t.Errorf("%s: it takes the lease", name)
			}
		}
		n.now += timing.Default.Fresh() // the original is gone
		if s := n.renew(); s.State != lease.Surrendered || !s.Newer(original) {
			t.Errorf("%s: then it writes %+v", name, s)
		}
	}
}

// A guard that finds its slot held starts with a surrender.
func TestRestart(t *testing.T) {
	n := &node{T: t, now: time.Hour}
	own := lease.Slot{Node: 1, Instance: machine(8), Generation: 6, Counter: 40, State: lease.Held}
	n.Guard = New(own, machine(1), []lease.Claim{{From: 1, Target: 2}}, timing.Default, Policy{}, n.now)
	n.is(Killing)
	n.Emptied()
	n.now += timing.Default.Fresh()
	if s := n.renew(); s.State != lease.Surrendered || s.Generation != 6 || s.Counter != 41 {
		t.Errorf("slot: %+v", s)
	}
	n.is(Out)
}

// A guard that is back before the lease is too old goes on.
func TestResume(t *testing.T) {
	for name, test := range map[string]struct {
		change func(own *lease.Slot)
		age    time.Duration
		want   Phase
	}{
		"in time":          {func(*lease.Slot) {}, 2 * second, Held},
		"too late":         {func(*lease.Slot) {}, 3 * second, Killing},
		"of another boot":  {func(*lease.Slot) {}, -second, Killing}, // of which the clock went further
		"after a reboot":   {func(own *lease.Slot) { own.Instance = machine(7) }, second, Killing},
		"in a surrender":   {func(own *lease.Slot) { own.State = lease.Moving }, second, Killing},
		"it had none held": {func(own *lease.Slot) { own.State = lease.Surrendered }, second, Out},
	} {
		own := lease.Slot{Node: 1, Instance: machine(1), Generation: 6, Counter: 40, State: lease.Held}
		test.change(&own)
		n := &node{T: t, now: time.Hour}
		n.Guard = New(own, machine(1), []lease.Claim{{From: 1, Target: 2}}, timing.Default, Policy{}, n.now)
		previous := own
		previous.Instance = machine(1) // the guard takes what it finds for its own
		resumed := n.Resume(previous, n.now-test.age, n.now)
		if phase, _ := n.Phase(); phase != test.want || resumed != (phase == Held) {
			t.Errorf("%s: %v, resumed %v, want %v", name, phase, resumed, test.want)
		}
		if test.want == Held {
			if s := n.renew(); s.Generation != 6 || s.Counter != 41+unseen || s.State != lease.Held {
				t.Errorf("%s: slot %+v", name, s)
			}
			n.is(Held)
		}
	}
}

// A write of renewal 9 hung and landed over renewal 40, after which the guard is killed and resumed: the others, which have
// seen renewal 40, see the next one.
func TestResumeAfterALateWrite(t *testing.T) {
	other := held(t, 2, Policy{TrustExpiry: true}, 1)
	seen := lease.Slot{Node: 1, Instance: machine(1), Generation: 3, Counter: 40, State: lease.Held}
	other.Slot(seen, other.now, other.now)
	other.pass(4 * second)
	late := seen
	late.Counter = 9
	n := &node{T: t, now: other.now}
	n.Guard = New(late, machine(1), []lease.Claim{{From: 1, Target: 2}}, timing.Default, Policy{}, n.now)
	if !n.Resume(late, n.now-second, n.now) {
		t.Fatal("not resumed")
	}
	other.Slot(n.renew(), other.now, other.now)
	other.pass(second)
	other.Slot(n.Own(), other.now, other.now)
	if v := other.Views(other.now)[0]; v.Expired || v.Renewed > second {
		t.Errorf("the renewal of the resumed lease is not seen: %+v", v)
	}
}

// Two nodes that take their leases at the same time, each alone, see each other when they look again.
func TestOpenAtTheSameTime(t *testing.T) {
	n := newNode(t, 1, Policy{}, 2)
	n.now += 5 * second
	n.sees(2, 1, lease.Surrendered)
	if err := n.Open(n.now); err != nil {
		t.Fatal(err)
	}
	n.renew()
	n.now += second / 10
	n.sees(2, 2, lease.Held)
	n.is(Killing)
}

// A guard is killed while its claim is on its way to the disk, and resumed: its next claim, with other values, has another
// number. The other node may be bound to the first.
func TestClaimsAfterARestart(t *testing.T) {
	n := held(t, 1, Policy{}, 2)
	n.Member(2, false)
	n.Measured(Here{Guests: 5})
	n.Fence(2, n.now, n.now+20*second)
	first := n.Step(n.now).Claims[0]
	disk := lease.Claim{From: 1, Target: 2}
	n.now += second
	own := n.renew()
	n.Guard = New(own, machine(1), []lease.Claim{disk}, timing.Default, Policy{}, n.now)
	if !n.Resume(own, n.now, n.now) {
		t.Fatal("not resumed")
	}
	n.sees(2, 9, lease.Held)
	n.Fence(2, n.now, n.now+20*second)
	if c := n.Step(n.now).Claims[0]; !c.Open() || c.Split == first.Split {
		t.Errorf("%+v after %+v", c, first)
	}
}

// A write of generation 6 hung and landed over the slot of generation 7, after which the node was booted. It takes no
// generation that was there: the others may have revoked it.
func TestNoGenerationTwice(t *testing.T) {
	n := &node{T: t, now: time.Hour}
	own := lease.Slot{Node: 1, Instance: machine(8), Generation: 6, Counter: 40, State: lease.Held}
	n.Guard = New(own, machine(1), []lease.Claim{{From: 1, Target: 2}}, timing.Default, Policy{}, n.now)
	n.Member(2, true)
	n.Emptied()
	n.now += 5 * second
	n.renew()
	for _, want := range []uint64{7 + skipped, 8 + skipped} {
		if err := n.Open(n.now); err != nil || n.Generation() != want {
			t.Errorf("generation %d, want %d: %v", n.Generation(), want, err)
		}
		n.renew()
		n.Close()
		n.Emptied()
		n.renew()
	}
}

// Both nodes have failed, and one comes back alone. It takes its lease once the other is proven to be unable to write: as a
// fence call would have it, which needs a lease.
func TestOpenAlone(t *testing.T) {
	for name, test := range map[string]struct {
		policy   Policy
		watchdog time.Duration
		renews   bool
		opens    bool
		revokes  bool
	}{
		"nothing is a proof":     {},
		"its access is revoked":  {policy: Policy{Revoke: true}, opens: true, revokes: true},
		"its watchdog has fired": {watchdog: 5 * second, opens: true},
		"expiry is trusted":      {policy: Policy{TrustExpiry: true}, opens: true},
		"it renews its lease":    {policy: Policy{Revoke: true, TrustExpiry: true}, watchdog: 5 * second, renews: true},
	} {
		n := newNode(t, 1, test.policy, 2)
		slot := lease.Slot{Node: 2, Instance: machine(2), Generation: 3, Counter: 9, State: lease.Held, Watchdog: test.watchdog}
		revoked := false
		for end := n.now + 15*second; n.now < end; n.now += second / 10 {
			n.Slot(slot, n.now, n.now)
			if test.renews {
				slot.Counter++
			}
			if err := n.Open(n.now); err == nil {
				n.renew()
			}
			for _, r := range n.Step(n.now).Revoke {
				revoked = true
				n.Revoked(r.Node, r.Generation, n.now)
			}
		}
		if phase, why := n.Phase(); (phase == Held) != test.opens || revoked != test.revokes {
			t.Errorf("%s: %v (%s), revoked %v", name, phase, why, revoked)
		}
		if acked := n.LinkRenewal(2, 3, 9, n.now); acked == test.opens {
			t.Errorf("%s: the lease of node 2 is acknowledged: %v", name, acked)
		}
	}
}

// A node that another one wants fenced takes no lease: the verdict on its last one may be on its way.
func TestOpenAgainstAClaim(t *testing.T) {
	n := newNode(t, 1, Policy{}, 2)
	n.now += 5 * second
	n.Member(2, true)
	n.sees(2, 1, lease.Held)
	claim := lease.Claim{From: 2, Target: 1, Split: 4, FromGeneration: 3, Quorate: true}
	n.Claim(claim)
	if err := n.Open(n.now); err == nil || !strings.Contains(err.Error(), "node 2 wants this node fenced") {
		t.Errorf("opened: %v", err)
	}
	claim.Withdrawn = true
	n.Claim(claim)
	if err := n.Open(n.now); err != nil {
		t.Error(err)
	}
}

// Nobody is revoked by a node that does not want its lease.
func TestNobodyAsksToOpen(t *testing.T) {
	n := newNode(t, 1, Policy{Revoke: true}, 2)
	for end := n.now + 15*second; n.now < end; n.now += second / 10 {
		n.sees(2, 9, lease.Held)
		if o := n.Step(n.now); len(o.Revoke) > 0 {
			t.Fatalf("%+v", o)
		}
	}
}

func TestFence(t *testing.T) {
	expiry := timing.Default.Expiry(0)
	for name, test := range map[string]struct {
		policy   Policy
		play     func(n *node) // after the call
		want     string        // of the evidence; empty: no verdict
		fenced   bool
		revoking bool
	}{
		"it surrendered": {
			play: func(n *node) { n.sees(2, 9, lease.Surrendered) },
			want: "node 2 has surrendered generation 3", fenced: true},
		"it renews": {play: func(n *node) { n.sees(2, 9, lease.Held) }},
		"it renews until the call's time is up": {
			play: func(n *node) { n.pass(19 * second); n.sees(2, 9, lease.Held); n.pass(1500 * time.Millisecond) },
			want: "node 2 still renews its lease"},
		"it cannot be read until the call's time is up": {
			play: func(n *node) { n.pass(21 * second) },
			want: "the slot of node 2 cannot be read"},
		"expired, without a proof": {play: func(n *node) { n.pass(expiry + second); n.sees(2, 1, lease.Held) }},
		"expired, without a proof, at the end": {
			play: func(n *node) { n.pass(expiry + second); n.sees(2, 1, lease.Held); n.pass(16 * second) },
			want: "but nothing proves that a hung node cannot wake up and write"},
		"expired, trusted": {
			policy: Policy{TrustExpiry: true},
			play:   func(n *node) { n.pass(expiry + second); n.sees(2, 1, lease.Held) },
			want:   "and trust-expiry is set", fenced: true},
		"the timer is up, but no read was good": {
			policy: Policy{TrustExpiry: true}, play: func(n *node) { n.pass(expiry + second) }},
		"expired, to be revoked": {
			policy:   Policy{Revoke: true},
			play:     func(n *node) { n.pass(expiry + second); n.sees(2, 1, lease.Held) },
			revoking: true},
		"expired and revoked": {
			policy: Policy{Revoke: true},
			play: func(n *node) {
				n.pass(expiry + second)
				n.sees(2, 1, lease.Held)
				n.Step(n.now)
				n.Revoked(2, 3, n.now)
				n.now++
				n.sees(2, 1, lease.Held)
			},
			want: "and its access to the disks is revoked", fenced: true},
		"it surrendered, to be revoked": {
			policy:   Policy{Revoke: true},
			play:     func(n *node) { n.sees(2, 9, lease.Surrendered) },
			revoking: true},
		"it surrendered, and is revoked": {
			policy: Policy{Revoke: true},
			play: func(n *node) {
				n.sees(2, 9, lease.Surrendered)
				n.Step(n.now)
				n.Revoked(2, 3, n.now)
				n.now++
				n.sees(2, 9, lease.Surrendered)
			},
			want: "node 2 has surrendered generation 3, and its access to the disks is revoked", fenced: true},
		"it surrendered, and may have taken its lease again while it was revoked": {
			policy: Policy{Revoke: true},
			play:   func(n *node) { n.sees(2, 9, lease.Surrendered); n.Step(n.now); n.Revoked(2, 3, n.now) }},
		"it surrendered, and cannot be revoked": {
			policy: Policy{Revoke: true},
			play:   func(n *node) { n.pass(20 * second); n.sees(2, 9, lease.Surrendered) },
			want:   "but its access to the disks is not revoked", revoking: true},
		"revoked, then renewed": {
			policy: Policy{Revoke: true},
			play: func(n *node) {
				n.pass(expiry + second)
				n.sees(2, 1, lease.Held)
				n.Step(n.now)
				n.Revoked(2, 3, n.now)
				n.sees(2, 2, lease.Held)
			}},
		"a watchdog that has fired": {
			play: func(n *node) {
				s := lease.Slot{Node: 2, Instance: machine(2), Generation: 3, Counter: 9, State: lease.Held,
					Watchdog: 10 * second}
				n.Slot(s, n.now, n.now)
				n.pass(15 * second)
				n.Slot(s, n.now, n.now)
			},
			want: "and its watchdog of 10s has fired", fenced: true},
		"a watchdog that has not fired": {
			play: func(n *node) {
				s := lease.Slot{Node: 2, Instance: machine(2), Generation: 3, Counter: 9, State: lease.Held,
					Watchdog: 10 * second}
				n.Slot(s, n.now, n.now)
				n.pass(12 * second)
				n.Slot(s, n.now, n.now)
			}},
		"it is a member again": {
			play: func(n *node) { n.sees(2, 9, lease.Held); n.Member(2, true) },
			want: "node 2 is a member of the cluster again"},
		"the own lease is too old": {
			play: func(n *node) { n.now += 4 * second; n.sees(2, 9, lease.Surrendered) },
			want: "this node does not hold its lease"},
	} {
		n := held(t, 1, test.policy, 2)
		n.Member(2, false)
		n.now += second / 10
		n.Fence(2, n.now, n.now+20*second)
		n.now++
		test.play(n)
		o := n.Step(n.now)
		var got Verdict
		for _, got = range append(n.verdicts, o.Verdicts...) {
		}
		if got.Fenced != test.fenced || !strings.Contains(got.Evidence, test.want) || (got.Evidence == "") != (test.want == "") {
			t.Errorf("%s: %+v, want %v %q", name, got, test.fenced, test.want)
		}
		if want := []Revocation{{Node: 2, Generation: 3}}; test.revoking != (fmt.Sprint(o.Revoke) == fmt.Sprint(want)) {
			t.Errorf("%s: revocations %v", name, o.Revoke)
		}
	}
}

// A slot that was read before the call is no proof: the node may have taken its lease since.
func TestAStaleSurrenderIsNoProof(t *testing.T) {
	n := held(t, 1, Policy{}, 2)
	n.sees(2, 9, lease.Surrendered)
	n.Member(2, false)
	n.now += second / 10
	n.Fence(2, n.now, n.now+20*second)
	if o := n.Step(n.now); len(o.Verdicts) != 0 {
		t.Errorf("%+v", o.Verdicts)
	}
	n.sees(2, 9, lease.Surrendered) // at the call's tick of the clock: maybe before it
	if o := n.Step(n.now); len(o.Verdicts) != 0 {
		t.Errorf("read at the time of the call: %+v", o.Verdicts)
	}
}

// A node on which no guard has ever run may run guests: what the initialized device says of it is no surrender.
func TestANodeWithoutAGuard(t *testing.T) {
	for name, test := range map[string]struct {
		policy Policy
		fenced bool
		want   string
	}{
		"nothing is a proof":    {Policy{}, false, "no guard has run on node 2"},
		"its access is revoked": {Policy{Revoke: true}, true, "its access to the disks is revoked"},
		// a lease that was never taken cannot expire: nobody has killed the guests when its time was up
		"expiry is trusted": {Policy{TrustExpiry: true}, false, "nothing proves that it runs no guest; only if you see"},
	} {
		n := newNode(t, 1, test.policy, 2)
		n.Member(2, true)
		n.take()
		n.Member(2, false)
		n.Fence(2, n.now, n.now+20*second)
		for end := n.now + 21*second; n.now < end && len(n.verdicts) == 0; n.now += second / 2 {
			n.renew()
			n.Slot(lease.Slot{Node: 2}, n.now, n.now)
			o := n.Step(n.now)
			for _, r := range o.Revoke {
				n.Revoked(r.Node, r.Generation, n.now)
			}
			n.verdicts = o.Verdicts
		}
		if len(n.verdicts) != 1 || n.verdicts[0].Fenced != test.fenced ||
			!strings.Contains(n.verdicts[0].Evidence, test.want) {
			t.Errorf("%s: %+v", name, n.verdicts)
		}
	}
}

// What a node says of another one is that it is gone only where a fence call would succeed: an expired lease alone is no
// proof, nor is a slot that no guard has written.
func TestGone(t *testing.T) {
	for name, test := range map[string]struct {
		slot lease.Slot
		gone bool
	}{
		"it holds its lease":     {lease.Slot{Node: 2, Instance: machine(2), Generation: 3, State: lease.Held}, false},
		"it has surrendered":     {lease.Slot{Node: 2, Instance: machine(2), Generation: 3}, true},
		"no guard ran there":     {lease.Slot{Node: 2}, false},
		"its watchdog has fired": {lease.Slot{Node: 2, Instance: machine(2), Generation: 3, State: lease.Held, Watchdog: second}, true},
	} {
		n := newNode(t, 1, Policy{}, 2)
		n.Member(2, true)
		n.take()
		n.Member(2, false)
		n.Slot(test.slot, n.now, n.now)
		n.Fence(2, n.now, n.now+20*second)
		n.pass(10 * second)
		n.Slot(test.slot, n.now, n.now)
		v := n.Step(n.now).Verdicts
		if got := n.Views(n.now)[0].Gone; got != test.gone || test.gone != (len(v) == 1 && v[0].Fenced) {
			t.Errorf("%s: gone %v, verdicts %+v", name, got, v)
		}
	}
}

// What is to be revoked is ordered until it is proven, also of a node on which no guard has ever run.
func TestANodeWithoutAGuardIsRevoked(t *testing.T) {
	n := newNode(t, 1, Policy{Revoke: true}, 2)
	n.Member(2, true)
	n.take()
	n.Member(2, false)
	n.Fence(2, n.now, n.now+20*second)
	for range 80 {
		n.now += second / 10
		n.renew()
		n.Slot(lease.Slot{Node: 2}, n.now, n.now)
		if v := n.Step(n.now).Verdicts; len(v) > 0 {
			t.Fatalf("fenced without a revocation: %+v", v)
		}
	}
}

// A lease that was taken as expired is acknowledged no more.
func TestExpiredIsNotAcknowledged(t *testing.T) {
	n := held(t, 1, Policy{Revoke: true}, 2)
	n.Member(2, false)
	if !n.LinkRenewal(2, 3, 0, n.now) {
		t.Error("a renewal over the link is not acknowledged")
	}
	n.Fence(2, n.now, n.now+20*second)
	n.pass(6 * second)
	n.sees(2, 1, lease.Held)
	n.Step(n.now)
	if n.LinkRenewal(2, 3, 0, n.now) {
		t.Error("an expired lease is acknowledged")
	}
	if !n.LinkRenewal(2, 4, 0, n.now) {
		t.Error("the next generation is not acknowledged")
	}
}

// exchange carries slots and claims between two guards, without delay.
func exchange(a, b *node) {
	for _, each := range [][2]*node{{a, b}, {b, a}} {
		from, to := each[0], each[1]
		if s, ok := from.Renewal(from.now); ok {
			from.Renewed(s, from.now, from.now)
			to.Slot(s, to.now, to.now)
		}
		for _, c := range from.Step(from.now).Claims {
			from.ClaimWritten(c)
			to.Claim(c)
		}
	}
}

// pair is two nodes that hold their leases and see each other.
func pair(t *testing.T, ofA, ofB Here) (a, b *node) {
	a, b = newNode(t, 1, Policy{}, 2), newNode(t, 2, Policy{}, 1)
	a.Measured(ofA)
	b.Measured(ofB)
	for _, each := range []*node{a, b} {
		each.Member(3-each.slot.Node, true)
		each.now += 5 * second
		if err := each.Open(each.now); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		exchange(a, b)
	}
	a.is(Held)
	b.is(Held)
	return a, b
}

func TestClaims(t *testing.T) {
	for name, test := range map[string]struct {
		a, b             Here // of node 1 and node 2
		aCalls, bCalls   bool
		bMember          bool // a sees b as a member when it calls: the cluster wants it fenced
		aYields, bYields bool
	}{
		"both call, more reached":    {Here{Reached: 1}, Here{Reached: 2}, true, true, false, true, false},
		"both call, more guests":     {Here{Guests: 1}, Here{Guests: 4}, true, true, false, true, false},
		"both call, alike":           {Here{Guests: 4}, Here{Guests: 4}, true, true, false, false, true},
		"the better calls":           {Here{Reached: 2, Guests: 1}, Here{Guests: 4}, true, false, false, false, true},
		"the worse calls":            {Here{Guests: 1}, Here{Reached: 2, Guests: 4}, true, false, false, true, false},
		"a member is to be fenced":   {Here{Guests: 1}, Here{Reached: 2, Guests: 4}, true, false, true, false, true},
		"a dead manager answers":     {Here{Guests: 1}, Here{Reached: 2, Guests: 4, Unmanaged: true}, true, false, false, false, true},
		"nobody calls: nobody loses": {Here{}, Here{Reached: 2}, false, false, false, false, false},
	} {
		a, b := pair(t, test.a, test.b)
		a.Member(2, test.bMember)
		b.Member(1, test.bMember)
		if test.aCalls {
			a.Fence(2, a.now, a.now+20*second)
		}
		if test.bCalls {
			b.Fence(1, b.now, b.now+20*second)
		}
		for range 6 {
			exchange(a, b)
		}
		aPhase, _ := a.Phase()
		bPhase, _ := b.Phase()
		if (aPhase != Held) != test.aYields || (bPhase != Held) != test.bYields {
			t.Errorf("%s: node 1 %v, node 2 %v", name, aPhase, bPhase)
		}
	}
}

// A claim counts the members beside its target. Of two nodes that part, the one that misses the other later is no better
// for it.
func TestClaimsCountNoTarget(t *testing.T) {
	a, b := pair(t, Here{Reached: 1}, Here{Reached: 2})
	a.Member(2, true) // it has not looked since the cut
	b.Member(1, false)
	b.Fence(1, b.now, b.now+20*second)
	for range 6 {
		exchange(a, b)
	}
	if phase, why := b.Phase(); phase != Held {
		t.Errorf("the node that reaches more: %v, %s", phase, why)
	}
	n := held(t, 1, Policy{}, 2, 3, 4)
	n.Member(2, false)
	n.Fence(2, n.now, n.now+20*second)
	if claims := n.Step(n.now).Claims; len(claims) != 1 || claims[0].Members != 3 {
		t.Errorf("claims of three nodes against one: %v", claims)
	}
}

// The guests of the loser are moved to the winner for as long as the budget allows.
func TestMoving(t *testing.T) {
	a, b := pair(t, Here{Reached: 1}, Here{Guests: 2})
	a.Member(2, false)
	a.Fence(2, a.now, a.now+20*second)
	for range 4 {
		exchange(a, b)
	}
	if o := b.Step(b.now); o.MoveTo != 1 || o.Until != b.now+timing.Default.Move || o.Kill || o.Run {
		t.Fatalf("orders: %+v", o)
	}
	b.Measured(Here{})
	if o := b.Step(b.now); o.MoveTo != 0 || !o.Kill {
		t.Fatalf("orders once all are moved: %+v", o)
	}
	b.Emptied()
	s := b.renew()
	a.now++
	a.Slot(s, a.now, a.now)
	if o := a.Step(a.now); len(o.Verdicts) != 1 || !o.Verdicts[0].Fenced {
		t.Errorf("no verdict on the node that surrendered: %+v", o)
	}
	b.is(Out)
	if o := b.Step(b.now); !o.Rejoin {
		t.Error("the manager of the node that surrendered is not restarted")
	}
}

func TestClose(t *testing.T) {
	n := held(t, 1, Policy{}, 2)
	n.Close()
	n.is(Killing)
	n.Emptied()
	n.renew()
	n.is(Out)
	if n.Step(n.now).Rejoin {
		t.Error("the manager is restarted at an orderly end")
	}
}

// What the guard says names the nodes; where it has no name it has a number.
func TestNames(t *testing.T) {
	policy := Policy{Names: []string{"alpha", "beta"}}
	for id, want := range map[int]string{1: "alpha", 2: "beta", 3: "3", 0: "0"} {
		if got := policy.name(id); got != want {
			t.Errorf("node %d is %q, want %q", id, got, want)
		}
	}
	a, b := pair(t, Here{Reached: 1}, Here{Guests: 2})
	a.policy, b.policy = policy, policy
	a.Member(2, false)
	a.Fence(2, a.now, a.now+20*second)
	for range 3 {
		exchange(a, b)
	}
	if v := a.Views(a.now)[0]; !strings.Contains(v.Mine, "of node alpha (") {
		t.Errorf("the claim of node alpha: %q", v.Mine)
	}
	exchange(a, b)
	if _, why := b.Phase(); !strings.Contains(why, "of node alpha (1 nodes, 1 addresses reached, 0 guests) beats claim") ||
		!strings.Contains(why, "of node beta") {
		t.Errorf("the surrender of node beta: %q", why)
	}
	n := newNode(t, 1, policy, 2)
	n.now += 5 * second
	if err := n.Open(n.now); err == nil || !strings.Contains(err.Error(), "node beta is no member") {
		t.Errorf("opened alone: %v", err)
	}
}
