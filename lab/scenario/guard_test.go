package scenario

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/lab/report"
)

// words are a list of events without their times.
func words(events []report.Event) (all []string) {
	for _, e := range events {
		all = append(all, strings.TrimSpace(e.Node+" "+e.What))
	}
	return all
}

func TestBlocksTold(t *testing.T) {
	names := []string{"node1", "node2"}
	held := func(node int, generation uint64) lease.Slot {
		return lease.Slot{Node: node, State: lease.Held, Generation: generation}
	}
	one := lease.Claim{From: 1, Target: 2, Split: 3, Answers: 4, Members: 1, Reached: 2, Guests: 1, First: 1}
	two := lease.Claim{From: 2, Target: 1, Split: 4, Answers: 3, Members: 1, Reached: 1, Guests: 1, First: 2}
	unbound, withdrawn := one, one
	unbound.Answers, withdrawn.Withdrawn = 0, true
	none := lease.Claim{From: 1, Target: 2}
	rest := blocks{[]lease.Slot{held(1, 1), held(2, 1)}, []lease.Claim{none, {From: 2, Target: 1}}}
	claimed := blocks{rest.slots, []lease.Claim{unbound, two}}
	agreed := blocks{rest.slots, []lease.Claim{one, two}}
	over := blocks{[]lease.Slot{held(1, 1), {Node: 2, State: lease.Surrendered, Generation: 1}}, []lease.Claim{withdrawn, two}}
	for name, test := range map[string]struct {
		was, now blocks
		want     []string
	}{
		"the first look": {blocks{}, rest, nil},
		"nothing":        {rest, rest, nil},
		"claims": {rest, claimed, []string{"node1 claims the guests of node2: 2 reached, 1 guests, number 1",
			"node2 claims the guests of node1: 1 reached, 1 guests, number 2"}},
		"agreed":      {claimed, agreed, []string{"node1 its claim wins: more addresses reached"}},
		"agreed long": {agreed, agreed, nil},
		"over":        {agreed, over, []string{"node2 lease is surrendered, generation 1", "node1 withdraws its claim"}},
		"back": {over, blocks{[]lease.Slot{held(1, 1), held(2, 2)}, over.claims},
			[]string{"node2 lease is held, generation 2"}},
	} {
		if got := words(test.now.told(test.was, names, clock(1))); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestReason(t *testing.T) {
	base := lease.Claim{From: 1, Target: 2, Members: 1, Reached: 1, Guests: 1, First: 1}
	for want, change := range map[string]func(*lease.Claim){
		"the whole cluster wants it": func(c *lease.Claim) { c.Ordered = true },
		"quorum":                     func(c *lease.Claim) { c.Quorate = true },
		"more nodes":                 func(c *lease.Claim) { c.Members++ },
		"more addresses reached":     func(c *lease.Claim) { c.Reached++ },
		"more guests":                func(c *lease.Claim) { c.Guests++ },
		"lower number":               func(*lease.Claim) {},
	} {
		winner := base
		change(&winner)
		if got := reason(winner, base); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestToldByJournal(t *testing.T) {
	const text = `1.000000 node1 corosync[81]:   [TOTEM ] A new membership (1.1) was formed. Members joined: 2
102.200000 node1 corosync[81]:   [TOTEM ] A new membership (1.23) was formed. Members left: 2
103.200000 node1 pacemaker-controld[99]:  notice: Requesting fencing (reboot) targeting node node2
104.700000 node1 pacemaker-controld[99]:  notice: Peer node2 was not terminated (reboot) by node1 on behalf of x: Timer expired
104.800000 node1 pacemaker-controld[99]:  notice: Peer node2 was terminated (reboot) by node1 on behalf of x: OK
105.000000 node1 pacemaker-controld[99]:  notice: Requesting local execution of start operation for vm2 on node1
105.100000 node1 pacemaker-controld[99]:  notice: Requesting local execution of monitor operation for vm2 on node1
120.000000 node1 corosync[81]:   [TOTEM ] A new membership (1.27) was formed. Members joined: 2
no line of the journal's
`
	events := toldByJournal(text, "node1", time.Unix(100, 0))
	want := []string{"node1 membership without the other node", "node1 Pacemaker wants node2 fenced",
		"node1 Pacemaker takes node2 as not fenced", "node1 Pacemaker takes node2 as fenced", "node1 Pacemaker calls start of vm2",
		"node1 membership with the other node"}
	if got := words(events); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(events) > 0 && !events[0].At.Equal(time.UnixMicro(102_200_000)) {
		t.Errorf("the first is at %s", events[0].At)
	}
}

func TestToldByRecords(t *testing.T) {
	line := func(second, kind, target, evidence string) string {
		return `{"schema":1,"time":"1970-01-01T00:01:` + second + `Z","node":"node2","event":"` + kind + `","target":"` + target +
			`","generation":1,"guests":1,"evidence":"` + evidence + `"}` + "\n"
	}
	text := line("30", "fenced", "node1", "too old") + line("41", "not fenced", "node1", "lost") +
		line("42", "kill", "", "claim 1 beats") + line("43", "surrender", "", "claim 1 beats") + line("50", "return", "", "held") +
		line("51", "resume", "", "the guests go on") + line("52", "fenced", "node1", "expired") + `{"schema":1,"node":"no`
	want := []string{"node2 fence call: node1 is not fenced: lost", "node2 its guests are gone, 1 of them killed: claim 1 beats",
		"node2 surrendered: claim 1 beats", "node2 takes its lease again", "node2 resume: the guests go on",
		"node2 fence call: node1 is fenced: expired"}
	if got := words(toldByRecords(text, time.Unix(100, 0))); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// splitBrain is a link that was cut at 10 s: vm1 moved from node2 to node1, as graceful does, and vm2 stayed there.
func splitBrainSeen() Observation {
	o := graceful()
	o.Scenario, o.From, o.To, o.Homes = report.SplitBrain, "node2", "node1", map[string]string{"vm1": "node2"}
	o.Copies = []Copy{qemuCopy("node2", 0, 160), qemuCopy("node1", 120, 0)}
	o.Events = []Event{event(1, "node2", "RESUME"), event(150, "node2", "STOP"), event(151, "node1", "RESUME")}
	o.Told = []report.Event{{At: clock(130), Node: "node1", What: "its claim wins"}, {At: clock(90), What: "too early"}}
	return o
}

func TestJudgeSplitBrain(t *testing.T) {
	s := judge(splitBrainSeen())
	if g := s.Guests[0]; !s.Passed || g.From != "node2" || g.To != "node1" || g.How != report.Live || s.DrainS != nil ||
		s.MaxRunningCopies != 1 || g.PauseMS == nil {
		t.Errorf("got %+v", s)
	}
	want := []string{"node2 loses the link to node1", "node1 its claim wins", "node1 vm1 starts", "node2 vm1 STOP", "node1 vm1 RESUME"}
	if got := words(s.Events); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("got %q, want %q", got, want)
	}
	cold := splitBrainSeen()
	cold.Samples["vm1"][2].Status.BootID = "b"
	twice := splitBrainSeen()
	twice.Events = twice.Events[:1]
	failing := splitBrainSeen()
	failing.Failures = []string{"it did not join again"}
	for want, o := range map[string]Observation{"rebooted": cold, "2 times at once": twice, "did not join": failing} {
		if s := judge(o); s.Passed || !strings.Contains(strings.Join(s.Failures, "\n"), want) {
			t.Errorf("want %q, got %q", want, s.Failures)
		}
	}
}

// hungSeen is node1, which hangs from 10 s to 25 s; vm1 was started on node2 at 20 s.
func hungSeen(gone int) Observation {
	o := crash()
	o.Scenario, o.From, o.To, o.Woken = report.Hang, "node1", "node2", clock(250)
	o.Copies = []Copy{qemuCopy("node1", 0, gone), qemuCopy("node2", 200, 0)}
	o.Events = []Event{event(1, "node1", "RESUME"), event(201, "node2", "RESUME"), event(251, "node1", "STOP"),
		event(251, "node1", "RESUME")}
	o.Fences = nil
	events, failures := o.toldByWoken()
	o.Told, o.Failures = events, failures
	return o
}

func TestJudgeHang(t *testing.T) {
	s := judge(hungSeen(252))
	if !s.Passed || s.MaxRunningCopies != 1 || s.Guests[0].How != report.Cold || s.Guests[0].To != "node2" {
		t.Errorf("got %+v", s)
	}
	if got := words(s.Events); !slices.Contains(got, "node1 hangs") || !slices.Contains(got, "node1 the woken copy of vm1 is gone, after 200 ms") {
		t.Errorf("got %q", got)
	}
	for _, gone := range []int{270, 0} { // two seconds later, and never
		if s := judge(hungSeen(gone)); s.Passed || !strings.Contains(s.Failures[0], "was not killed within 1s") {
			t.Errorf("gone at %d: got %+v", gone, s)
		}
	}
}
