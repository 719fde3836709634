package bench

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
)

// crashJournal is what a survivor logs: an older crash, the one that is read, and the node's return.
const crashJournal = `100.000000 node2 corosync[81]:   [TOTEM ] A processor failed, forming new configuration: token timed out (3000ms), waiting 3600ms for consensus.
199.000000 node2 corosync[81]:   [TOTEM ] A new membership (1.1f) was formed. Members joined: 1
202.250000 node2 corosync[81]:   [TOTEM ] Token has not been received in 2250 ms
203.000000 node2 corosync[81]:   [TOTEM ] A processor failed, forming new configuration: token timed out (3000ms), waiting 3600ms for consensus.
206.600000 node2 corosync[81]:   [TOTEM ] A new membership (1.23) was formed. Members left: 1
207.500000 node2 pacemaker-controld[99]:  notice: Requesting local execution of start operation for vm10 on node2
207.750000 node2 pacemaker-controld[99]:  notice: Requesting local execution of start operation for vm1 on node2
208.750000 node2 pacemaker-controld[99]:  notice: Result of start operation for vm1 on node2: ok
220.000000 node2 corosync[81]:   [TOTEM ] A new membership (1.27) was formed. Members joined: 1
-- no line of the journal's
`

func at(seconds float64) time.Time { return time.UnixMicro(int64(seconds * 1e6)) }

func exampleCrash() crashed {
	var c crashed
	c.at[killed] = at(200)
	c.journal(crashJournal, "vm1")
	c.fence([]supervisor.FenceEvent{
		{Node: "node1", Op: supervisor.OpReboot, Asked: at(90), Done: at(91)},
		{Node: "node2", Op: supervisor.OpReboot, Asked: at(206.7), Done: at(206.8)},
		{Node: "node1", Op: supervisor.OpReboot, Asked: at(206.8), Done: at(206.9), Error: "no"},
		{Node: "node1", Op: supervisor.OpReboot, Asked: at(207), Done: at(207.25)},
	}, "node1")
	c.watched([]scenario.Copy{{Node: "node2", Seen: at(150)}, {Node: "node1", Seen: at(201)},
		{Node: "node2", Seen: at(208)}},
		[]scenario.Event{
			{Node: "node2", Name: scenario.Resume, At: at(151)},
			{Node: "node2", Name: "NIC_RX_FILTER_CHANGED", At: at(208.1)},
			{Node: "node2", Name: scenario.Resume, At: at(208.5)}, {Node: "node2", Name: scenario.Resume, At: at(230)},
		}, "node2")
	c.at[kernelAnswers], c.at[serviceAnswers] = at(212.5), at(213)
	return c
}

func TestCrashInstants(t *testing.T) {
	c := exampleCrash()
	want := []float64{0, 3, 3.6, 0.4, 0.25, 0.5, 0.25, 0.5, 4, 0.5}
	for i := killed + 1; i < instantCount; i++ {
		took, ok := c.took(i)
		if !ok || time.Duration(took*1e6)*time.Microsecond != time.Duration(want[i]*1e6)*time.Microsecond {
			t.Errorf("%s: %v, %v; want %v", parts[i], took, ok, want[i])
		}
	}
	if took, ok := c.start(); !ok || took != 1 {
		t.Errorf("start took %v, %v", took, ok)
	}
	if c.since(serviceAnswers) != 13 {
		t.Errorf("the service answers after %v s", c.since(serviceAnswers))
	}
	if _, ok := (crashed{}).start(); ok {
		t.Error("a start that was not seen took a time")
	}
}

func TestWhereTimeGoes(t *testing.T) {
	slow := exampleCrash()
	for i := guestRuns; i < instantCount; i++ {
		slow.at[i] = slow.at[i].Add(2 * time.Second)
	}
	blind := exampleCrash()
	blind.at[fenced], blind.returned = time.Time{}, time.Time{}
	notes := whereTimeGoes(crashes{exampleCrash(), blind}, crashes{slow})
	for _, want := range []string{
		"until corosync's token timeout: 3.00 s, 3.00 s with VirtualDomain",
		"until the fence device confirms: 0.25 s, 0.25 s with VirtualDomain",
		"until the guest runs (RESUME): 0.50 s, 2.50 s with VirtualDomain",
		"beside that, the agent's start as a whole: 1.00 s, 1.00 s with VirtualDomain",
	} {
		if !slices.Contains(notes, want) {
			t.Errorf("no note %q in %q", want, notes)
		}
	}
	last := notes[len(notes)-1]
	if !strings.HasPrefix(last, "of it the agent's own: 0.75 s, 2.75 s with VirtualDomain;") ||
		!strings.HasSuffix(last, " and 12.25 s") {
		t.Errorf("the sum is %q", last)
	}
	if notes := whereTimeGoes(nil, nil); !strings.Contains(notes[0], "not seen, not seen with") {
		t.Errorf("of nothing: %q", notes[0])
	}
}
