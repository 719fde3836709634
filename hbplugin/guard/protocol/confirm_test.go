package protocol

import (
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

// quiet is held with node 2 lost, and silent for so long that its lease has expired.
func quiet(t *testing.T, policy Policy, state lease.State) *node {
	n := held(t, 1, policy, 2)
	n.sees(2, 5, state)
	n.Member(2, false)
	n.pass(timing.Default.Expiry(0) + second)
	return n
}

// confirm has the administrator say that node 2 is off, which is taken, with what is read of it then.
func (n *node) confirm(counter uint64, state lease.State) {
	n.Helper()
	since := n.now
	n.now++
	n.sees(2, counter, state)
	if taken, err := n.Confirm(2, since, n.now); !taken || err != nil {
		n.Fatalf("not taken: %v, %v", taken, err)
	}
}

// The administrator's word answers a fence call that waits.
func TestConfirm(t *testing.T) {
	for name, test := range map[string]struct {
		policy Policy
		state  lease.State
	}{
		"nothing else is a proof":           {Policy{}, lease.Held},
		"it died while it moved its guests": {Policy{}, lease.Moving},
		"it cannot be revoked":              {Policy{Revoke: true}, lease.Held},
		"it died after its surrender":       {Policy{Revoke: true}, lease.Surrendered},
	} {
		n := quiet(t, test.policy, test.state)
		n.Fence(2, n.now, n.now+20*second)
		n.now++
		n.sees(2, 5, test.state)
		if v := n.Step(n.now).Verdicts; len(v) != 0 {
			t.Errorf("%s: fenced before: %+v", name, v)
		}
		n.confirm(5, test.state)
		v := n.Step(n.now).Verdicts
		if len(v) != 1 || !v[0].Fenced || !strings.Contains(v[0].Evidence, "confirmed that it is off") {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestConfirmIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(n *node)
		want   string // of the error; empty: it is too early
	}{
		"it renews on the disk":   {func(n *node) { n.sees(2, 6, lease.Held) }, "node 2 renews its lease: it is not off"},
		"it renews over the link": {func(n *node) { n.LinkRenewal(2, 3, 0, n.now) }, "node 2 renews its lease: it is not off"},
		"it is a member":          {func(n *node) { n.Member(2, true) }, "node 2 is a member of the cluster: it is not off"},
		"its device is another":   {func(n *node) { n.LinkForeign(2) }, "is not shared with node 2"},
		"it was seen a while ago": {func(n *node) { n.peer(2).changed = n.now - 3*second; n.sees(2, 5, lease.Held) }, ""},
		"its slot cannot be read": {func(*node) {}, ""},
		"the last read is old":    {func(n *node) { n.sees(2, 5, lease.Held); n.now += 5 * second }, ""},
	} {
		n := quiet(t, Policy{}, lease.Held)
		since := n.now
		n.now += 2 * second
		test.change(n)
		taken, err := n.Confirm(2, since, n.now)
		if taken || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: taken %v, %v; want %q", name, taken, err, test.want)
		}
	}
	n := quiet(t, Policy{}, lease.Held)
	if _, err := n.Confirm(1, n.now, n.now); err == nil {
		t.Error("this node is confirmed off")
	}
}

// The word is void as soon as the node shows itself, also in the next generation.
func TestConfirmIsVoid(t *testing.T) {
	for name, shows := range map[string]func(n *node){
		"a new generation": func(n *node) {
			n.Slot(lease.Slot{Node: 2, Instance: machine(2), Generation: 4, Counter: 1, State: lease.Held}, n.now, n.now)
		},
		"a renewal":               func(n *node) { n.sees(2, 6, lease.Held) },
		"it is a member":          func(n *node) { n.Member(2, true); n.Member(2, false) },
		"a renewal over the link": func(n *node) { n.LinkRenewal(2, 4, 0, n.now) },
	} {
		n := quiet(t, Policy{}, lease.Held)
		n.confirm(5, lease.Held)
		shows(n)
		slot := n.peer(2).slot
		n.pass(10 * second)
		n.Fence(2, n.now, n.now+20*second)
		n.now++
		n.Slot(slot, n.now, n.now)
		n.pass(21 * second)
		if len(n.verdicts) != 1 || n.verdicts[0].Fenced ||
			!strings.Contains(n.verdicts[0].Evidence, "type vmferry guard confirm 2") {
			t.Errorf("%s: %+v", name, n.verdicts)
		}
	}
}

// Both nodes had failed, and one of them never comes back: the other takes its lease on the administrator's word.
func TestConfirmForOpen(t *testing.T) {
	n := newNode(t, 1, Policy{}, 2)
	var refused error
	for end := n.now + 10*second; n.now < end; n.now += second / 10 {
		n.sees(2, 9, lease.Held)
		refused = n.Open(n.now)
		n.Step(n.now)
	}
	if refused == nil || !strings.Contains(refused.Error(), "type vmferry guard confirm 2") {
		t.Fatalf("opened: %v", refused)
	}
	n.confirm(9, lease.Held)
	n.Step(n.now)
	if err := n.Open(n.now); err != nil {
		t.Fatal(err)
	}
	n.renew()
	n.now++
	n.sees(2, 9, lease.Held)
	n.is(Held)
	if n.LinkRenewal(2, 3, 9, n.now) {
		t.Error("a lease that was given up is acknowledged")
	}
}
