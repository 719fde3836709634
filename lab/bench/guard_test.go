package bench

import (
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/journal"
)

// guardJournal is what a survivor logs: an older start, the failure that is read, and the node's return.
const guardJournal = `190.000000 node1 pacemaker-controld[99]:  notice: Requesting local execution of start operation for vm2 on node1
191.000000 node1 pacemaker-controld[99]:  notice: Result of start operation for vm2 on node1: ok
202.200000 node1 corosync[81]:   [TOTEM ] A new membership (1.23) was formed. Members left: 2
202.200100 node1 corosync[81]:   [TOTEM ] Failed to receive the leave message. failed: 2
203.200000 node1 pacemaker-controld[99]:  notice: Requesting fencing (reboot) targeting node node2
204.700000 node1 pacemaker-controld[99]:  notice: Peer node2 was terminated (reboot) by node1 on behalf of pacemaker-controld.99@node1: OK
204.750000 node1 pacemaker-controld[99]:  notice: Requesting local execution of start operation for vm1 on node1
204.800000 node1 pacemaker-controld[99]:  notice: Requesting local execution of start operation for vm2 on node1
205.500000 node1 pacemaker-controld[99]:  notice: Result of start operation for vm2 on node1: ok
205.750000 node1 pacemaker-controld[99]:  notice: Result of start operation for vm1 on node1: ok
230.000000 node1 corosync[81]:   [TOTEM ] A new membership (1.27) was formed. Members joined: 2
-- no line of the journal's
`

const guardRecords = `{"schema":1,"time":"1970-01-01T00:01:30Z","node":"node1","event":"fenced","target":"node2","generation":1,"guests":0,"evidence":"old","duration_ms":1}
{"schema":1,"time":"1970-01-01T00:03:21Z","node":"node1","event":"not fenced","target":"node2","generation":2,"guests":0,"evidence":"late","duration_ms":1}
{"schema":1,"time":"1970-01-01T00:03:24.5Z","node":"node1","event":"fenced","target":"node2","generation":2,"guests":0,"evidence":"expired","duration_ms":1250}
{"schema":1,"time":"1970-01-01T00:04:21Z","node":"node1","event":"fenced","target":"node2","generation":3,"guests":0,"evidence":"later","duration_ms":1}
half a li`

func exampleGuardTurn() guardTurn {
	t := guardTurn{silence: 12}
	t.at[failed] = at(200)
	t.journal(guardJournal, []string{"vm1", "vm2"})
	t.verdict = guardEvent(guardRecords, journal.Fenced, at(200))
	return t
}

func near(got, want float64) bool { return got > want-0.0001 && got < want+0.0001 }

func TestGuardPhases(t *testing.T) {
	turn := exampleGuardTurn()
	for p, want := range map[phase]float64{alone: 2.2, fenceCalled: 1, fenceAnswered: 1.5, startBegins: 0.05, startDone: 0.75} {
		if got, ok := turn.took(p); !ok || !near(got, want) {
			t.Errorf("%s: %v, %v; want %v", phases[p], got, ok, want)
		}
	}
	if got, ok := turn.since(startDone); !ok || !near(got, 5.5) {
		t.Errorf("the first start is done after %v, %v", got, ok)
	}
	if got, ok := turn.last(); !ok || !near(got, 5.75) {
		t.Errorf("the last start is done after %v, %v", got, ok)
	}
	if got, ok := turn.answered(); !ok || !near(got, 6.25) {
		t.Errorf("the last guest answers %v after its start, %v", got, ok)
	}
	if turn.verdict == nil || turn.verdict.Evidence != "expired" {
		t.Errorf("the record is %+v", turn.verdict)
	}
}

// A start that was not seen of every guest is no first one.
func TestGuardPhasesNotSeen(t *testing.T) {
	var turn guardTurn
	turn.at[failed] = at(200)
	turn.journal(guardJournal, []string{"vm1", "vm2", "vm3"})
	if _, ok := turn.since(startDone); ok {
		t.Error("a start is done that was not seen")
	}
	if _, ok := turn.last(); ok {
		t.Error("the last start is done that was not seen")
	}
	if _, ok := turn.took(failed); ok {
		t.Error("the failure took a time")
	}
	if e := guardEvent(guardRecords, journal.Surrendered, at(0)); e != nil {
		t.Errorf("an event that is not there: %+v", e)
	}
}

func TestGuardResult(t *testing.T) {
	slow := exampleGuardTurn()
	slow.verdict, slow.silence = nil, 24
	for p := fenceAnswered; p < phaseCount; p++ {
		slow.at[p] = slow.at[p].Add(8500 * time.Millisecond)
	}
	slow.lastStart = slow.lastStart.Add(8500 * time.Millisecond)
	bad := exampleGuardTurn()
	bad.failures = []string{"guest vm1 executed 2 times at once"}
	r := guardPlan{crash: true}.result("guard-crash-to-start-1s", guardTurns{exampleGuardTurn(), bad}, guardTurns{slow},
		func(t guardTurn) (float64, bool) { return t.since(startDone) }, "about")
	if r.N != 1 || r.Ours.P50 != 5.5 || r.Ours.P90 != 5.5 || r.Peer.P50 != 14 || r.RatioP50 == nil || *r.RatioP50 != 0.3929 {
		t.Errorf("got %+v", r)
	}
	if r.OursEnded["as expected"] != 1 || r.OursEnded["not as expected"] != 1 || r.PeerEnded["as expected"] != 1 {
		t.Errorf("ended: %v, %v", r.OursEnded, r.PeerEnded)
	}
	for _, want := range []string{
		"about", sbdAbout, "p90: 5.50 s, 14.00 s with SBD's delay",
		"until corosync has a membership without the node: 2.20 s, 2.20 s with SBD's delay",
		"until Pacemaker calls the fence device: 1.00 s, 1.00 s with SBD's delay",
		"until the device answers (verdict): 1.50 s, 10.00 s with SBD's delay",
		"until the first start is done: 0.75 s, 0.75 s with SBD's delay",
		"from the failure until the last start is done: 5.75 s, 14.25 s with SBD's delay",
		"from then until the last guest's first answer: 6.25 s, 9.75 s with SBD's delay",
		"by the guard's record the fence call came after 3.25 s and waited 1.25 s for its proof",
		"turn 2 of the guard is in no figure: guest vm1 executed 2 times at once",
	} {
		if !slices.Contains(r.Notes, want) {
			t.Errorf("no note %q in %q", want, r.Notes)
		}
	}
}

// The power switch that stands for SBD is one a node, at a level of its own, and only the one that shoots the winner waits.
func TestSBDDevices(t *testing.T) {
	text := sbdDevices([]string{"node1", "node2"}, "node2")
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for part, times := range map[string]int{
		`type="fence_lab"`: 2, `name="msgwait" value="10"`: 2, `name="pcmk_reboot_action" value="off"`: 2,
		`<nvpair id="fence-node1-pcmk_delay_base" name="pcmk_delay_base" value="5s"/>`: 1, `pcmk_delay_base" value`: 1,
		`<fencing-level id="level-node2" target="node2" index="1" devices="fence-node2"/>`: 1, "<fencing-level": 4,
	} {
		if got := strings.Count(text, part); got != times {
			t.Errorf("%s is there %d times, want %d: %s", part, got, times, text)
		}
	}
}
