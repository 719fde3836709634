package protocol

import (
	"testing"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
)

// A surrender of which a late write of an older slot has come over the newest one is no proof: what the newest was cannot
// be read.
func TestALateSurrenderIsNoProof(t *testing.T) {
	n := held(t, 1, Policy{}, 2)
	n.sees(2, 9, lease.Surrendered)
	n.Member(2, false)
	n.now += second / 10
	n.Fence(2, n.now, n.now+20*second)
	n.now++
	n.sees(2, 8, lease.Surrendered)
	if o := n.Step(n.now); len(o.Verdicts) != 0 {
		t.Errorf("%+v", o.Verdicts)
	}
	n.sees(2, 9, lease.Surrendered)
	if o := n.Step(n.now); len(o.Verdicts) != 1 || !o.Verdicts[0].Fenced {
		t.Errorf("%+v", o.Verdicts)
	}
}
