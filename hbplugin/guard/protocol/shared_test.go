package protocol

import (
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

// hears is a renewal of node 2 over the link, of the generation that sees reads, with what is on its device.
func (n *node) hears(written uint64) { n.LinkRenewal(2, 3, written, n.now) }

func TestNotShared(t *testing.T) {
	for name, test := range map[string]struct {
		round func(n *node, i uint64) // one tenth of a second, of 40
		want  bool
	}{
		"its renewals are read": {func(n *node, i uint64) { n.hears(1 + i); n.sees(2, 1+i, lease.Held) }, false},
		"they are read a second late": {func(n *node, i uint64) {
			n.hears(3 + i/5)
			n.sees(2, 1+i/5, lease.Held)
		}, false},
		"none of them is read":               {func(n *node, i uint64) { n.hears(2 + i); n.sees(2, 1, lease.Held) }, true},
		"no read is good":                    {func(n *node, i uint64) { n.hears(2 + i) }, false},
		"its writes hang":                    {func(n *node, i uint64) { n.hears(1); n.sees(2, 1, lease.Held) }, false},
		"it has written nothing yet":         {func(n *node, i uint64) { n.hears(0); n.sees(2, 1, lease.Held) }, false},
		"nothing comes over the link":        {func(n *node, i uint64) { n.sees(2, 1, lease.Held) }, false},
		"a late write is read at the end":    {func(n *node, i uint64) { n.hears(2 + i); n.readsOnceAt(39, i) }, false},
		"a late write, then its writes hang": {func(n *node, i uint64) { n.hears(2); n.sees(2, 1, lease.Held) }, false},
		"the reads are good again":           {func(n *node, i uint64) { n.hears(2 + i); n.goodFrom(30, i) }, false},
		"a late datagram of an earlier":      {func(n *node, i uint64) { n.LinkRenewal(2, 2, 99, n.now); n.sees(2, 1, lease.Held) }, false},
		"a guard that uses another device":   {func(n *node, i uint64) { n.LinkForeign(2); n.sees(2, 1, lease.Held) }, true},
		"another device, then heard": {func(n *node, i uint64) {
			n.LinkForeign(2)
			n.hears(1)
			n.sees(2, 1, lease.Held)
		}, false},
	} {
		n := held(t, 1, Policy{}, 2)
		n.Measured(Here{Guests: 2})
		for i := range uint64(40) {
			n.now += second / 10
			test.round(n, i)
			n.renew()
		}
		view := n.Views(n.now)[0]
		if got := view.Foreign != ""; got != test.want || got && !strings.Contains(view.Foreign, "not shared with node 2") {
			t.Errorf("%s: %q", name, view.Foreign)
		}
		n.is(Held) // what runs is not killed
	}
}

// readsOnceAt reads an old renewal in one round alone.
func (n *node) readsOnceAt(round, i uint64) {
	if i == round {
		n.sees(2, 1, lease.Held)
	}
}

// goodFrom reads from a round on, and before it not at all.
func (n *node) goodFrom(first, i uint64) {
	if i >= first {
		n.sees(2, 2+i, lease.Held)
	}
}

// unshared has node 2 write renewals that are not read here.
func (n *node) unshared() {
	for i := range uint64(20) {
		n.hears(7 + i)
		n.sees(2, 1, lease.Held)
		n.now += second / 10
	}
}

func TestNoLeaseOnADeviceThatIsNotShared(t *testing.T) {
	n := held(t, 1, Policy{}, 2)
	n.unshared()
	n.is(Killing) // no guest runs here
	if _, why := n.Phase(); !strings.Contains(why, "the lease device is not shared with node 2") {
		t.Error(why)
	}
	n.Emptied()
	n.renew()
	n.is(Out)
	n.now += 5 * second
	if err := n.Open(n.now); err == nil || !strings.Contains(err.Error(), "is being restarted") {
		t.Errorf("opened with what the manager said before: %v", err)
	}
	n.Rejoined()
	n.Member(2, true)
	n.sees(2, 1, lease.Held)
	if err := n.Open(n.now); err == nil || !strings.Contains(err.Error(), "is not shared with node 2") {
		t.Errorf("opened: %v", err)
	}
	n.sees(2, 7, lease.Held)
	if err := n.Open(n.now); err != nil {
		t.Errorf("once it is shared: %v", err)
	}

	n = held(t, 1, Policy{TrustExpiry: true}, 2)
	n.Measured(Here{Guests: 2})
	n.unshared()
	n.renew()
	if o := n.Step(n.now); o.Run || o.Kill {
		t.Errorf("guests run here: %+v", o)
	}
	n.Member(2, false)
	n.Fence(2, n.now, n.now+20*second)
	n.pass(timing.Default.Expiry(0) + time.Second)
	n.sees(2, 1, lease.Held)
	n.pass(second)
	if len(n.verdicts) != 1 || n.verdicts[0].Fenced || !strings.Contains(n.verdicts[0].Evidence, "is not shared with node 2") {
		t.Errorf("fence call: %+v", n.verdicts)
	}
}

// What nobody has authenticated takes no lease away, but is enough not to believe a slot that says nothing.
func TestAnotherDevice(t *testing.T) {
	n := held(t, 1, Policy{}, 2)
	n.LinkForeign(2)
	n.LinkForeign(9)
	n.is(Held)
	if o := n.Step(n.now); !o.Run {
		t.Errorf("%+v", o)
	}
	n.Member(2, false)
	n.Fence(2, n.now, n.now+20*second)
	n.sees(2, 9, lease.Surrendered)
	if o := n.Step(n.now); len(o.Verdicts) != 1 || o.Verdicts[0].Fenced {
		t.Errorf("fence call: %+v", o.Verdicts)
	}
}
