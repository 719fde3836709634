package scenario

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/blackout"
)

func sample(at int, boot string, boots, counter uint64) Sample {
	return Sample{At: clock(at), Status: guest.Status{BootID: boot, Boots: boots, Counter: counter}}
}

// graceful is a shutdown of node1 at 10 s that went well: vm1 moved at 15 s
// with a pause of 0.1 s, and its old process ended at 16 s.
func graceful() Observation {
	return Observation{
		Scenario: report.GracefulShutdown, Agent: report.Ours, Manager: "heartbeat", From: "node1", To: "node2",
		Guests: []string{"vm1"},
		Begun:  clock(50), Trigger: clock(100), Ended: clock(300),
		Copies: []Copy{qemuCopy("node1", 0, 160), qemuCopy("node2", 120, 0)},
		Events: []Event{event(1, "node1", "RESUME"), event(150, "node1", "STOP"), event(151, "node2", "RESUME")},
		Samples: map[string][]Sample{"vm1": {
			sample(90, "a", 1, 100), sample(110, "a", 1, 120), sample(290, "a", 1, 300),
		}},
		Probes: Probes{"vm1": {
			ICMP: &blackout.Target{Proto: "icmp", BlackoutMs: 60, ErrorMs: 5},
			UDP:  &blackout.Target{Proto: "udp", Sent: 1000, LostOut: 3, LostBack: 1, BlackoutMs: 120, ErrorMs: 5},
			TCP:  &blackout.Target{Proto: "tcp", BlackoutMs: 210, ErrorMs: 5, KernelBlackoutMs: new(70.0)},
		}},
	}
}

// crash is a death of node2 at 10 s after which vm1 was started on node1.
func crash() Observation {
	o := graceful()
	o.Scenario, o.From, o.To = report.Crash, "node2", "node1"
	o.Copies = []Copy{qemuCopy("node2", 0, 100), qemuCopy("node1", 200, 0)}
	o.Events = []Event{event(1, "node2", "RESUME"), event(201, "node1", "RESUME")}
	o.Samples["vm1"] = []Sample{sample(90, "a", 1, 100), sample(290, "b", 2, 150)}
	o.Fences = []supervisor.FenceEvent{{Node: "node2", Op: supervisor.OpReboot, Asked: clock(150), Done: clock(151)}}
	return o
}

func TestJudgeWhatWentWell(t *testing.T) {
	o := graceful()
	o.Copies = append(o.Copies, Copy{Guest: "another", Node: "node1", Seen: clock(1)}) // it stays where it is
	s := judge(o)
	g := s.Guests[0]
	if !s.Passed || s.Manager != "heartbeat" || s.MaxRunningCopies != 1 || s.DrainS == nil || *s.DrainS != 6 {
		t.Errorf("got %+v", s)
	}
	if g.How != report.Live || !g.BootIDKept || g.To != "node2" || g.PauseMS == nil || *g.PauseMS != 100 ||
		*g.Boots != 0 {
		t.Errorf("got %+v", g)
	}
	if g.UDP.BlackoutMS != 120 || g.UDP.LostOut != 3 || g.UDP.LostBack != 1 || g.TCP.BlackoutMS != 210 {
		t.Errorf("got %+v, %+v", g.UDP, g.TCP)
	}
	if g.Kernel == nil || g.Kernel.ICMPMS != 60 || g.Kernel.TCPMS == nil || *g.Kernel.TCPMS != 70 {
		t.Errorf("got the kernel's gap %+v", g.Kernel)
	}
	s = judge(crash())
	g = s.Guests[0]
	if !s.Passed || s.DrainS != nil || g.How != report.Cold || *g.Boots != 1 || g.PauseMS != nil {
		t.Errorf("got %+v, %+v", s, g)
	}
	labels := func() (all []string) {
		for _, e := range s.Events {
			all = append(all, e.Node+" "+e.What)
		}
		return all
	}()
	want := []string{"node2 killed", "node2 fencing asked", "node2 fenced", "node1 vm1 starts", "node1 vm1 RESUME"}
	if !slices.Equal(labels, want) {
		t.Errorf("events %q, want %q", labels, want)
	}
}

// What executed before a scenario began is not its.
func TestJudgeEarlierCopies(t *testing.T) {
	o := graceful()
	o.Begun = clock(-100)
	o.Copies = append(o.Copies,
		Copy{Guest: "vm1", Node: "node1", Seen: clock(-300), Gone: clock(-200)},
		Copy{Guest: "vm1", Node: "node1", Seen: clock(-250), Gone: clock(-150)})
	if s := judge(o); !s.Passed || s.MaxRunningCopies != 1 {
		t.Errorf("got %+v", s)
	}
	o.Begun = clock(-260)
	if s := judge(o); s.Passed || s.MaxRunningCopies != 2 {
		t.Errorf("of two copies of its own, got %+v", s)
	}
}

func TestJudgeWhatWentWrong(t *testing.T) {
	for _, test := range []struct {
		name   string
		from   func() Observation
		change func(*Observation)
		reason string // a part of the one failure
	}{
		{"rebooted", graceful, func(o *Observation) { o.Samples["vm1"][2].Status.BootID = "b" }, "rebooted"},
		{"never asked", graceful, func(o *Observation) { o.Samples = nil }, "rebooted"},
		{"counter went back", crash, func(o *Observation) { o.Samples["vm1"][1].Status.Counter = 99 }, "went back"},
		{"somebody else wrote", crash, func(o *Observation) { o.Samples["vm1"][1].Status.ForeignWrites = 2 },
			"not its own"},
		{"not back in time", crash, func(o *Observation) { o.Recovery = errors.New("too late") }, "too late"},
		{"nowhere", crash, func(o *Observation) { o.Copies[1].Gone = clock(280) }, `runs on ""`},
		{"still at the source", graceful, func(o *Observation) {
			o.Copies, o.Events = o.Copies[:1], o.Events[:1]
			o.Copies[0].Gone = time.Time{}
		}, `runs on "node1"`},
		{"twice", crash, func(o *Observation) {
			o.Copies[0].Gone = clock(250)
		}, "2 times at once"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := test.from()
			test.change(&o)
			s := judge(o)
			if s.Passed || len(s.Failures) != 1 || !strings.Contains(s.Failures[0], test.reason) {
				t.Errorf("passed %v, failures %q", s.Passed, s.Failures)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	leaders := map[string]int{}
	at := clock(0)
	step := func(leader int) []NodeState {
		return changes(leaders, map[string]supervisor.State{"node1": {Leader: leader}}, at)
	}
	if got := step(16); len(got) != 0 {
		t.Errorf("first look: %v", got)
	}
	if got := step(16); len(got) != 0 {
		t.Errorf("nothing changed: %v", got)
	}
	if got := step(0); !slices.Equal(got, []NodeState{{at, "node1", "down"}}) {
		t.Errorf("went down: %v", got)
	}
	if got := step(99); !slices.Equal(got, []NodeState{{at, "node1", "booting"}}) {
		t.Errorf("came back: %v", got)
	}
}

func TestProbesOf(t *testing.T) {
	guests := []Guest{
		{Guest: cluster.Guest{Name: "a"}, Address: "10.77.0.1"},
		{Guest: cluster.Guest{Name: "b"}, Address: "10.77.0.2"},
	}
	got := probesOf(guests, []blackout.Target{ // in an order of their own
		{Target: "tcp://10.77.0.2:7007", BlackoutMs: 4}, {Target: "icmp://10.77.0.2", BlackoutMs: 3},
		{Target: "icmp://10.77.0.1", BlackoutMs: 1}, {Target: "udp://10.77.0.1:7007", BlackoutMs: 2},
	})
	a, b := got["a"], got["b"]
	if a.ICMP == nil || a.ICMP.BlackoutMs != 1 || a.UDP == nil || a.UDP.BlackoutMs != 2 || a.TCP != nil {
		t.Errorf("a: %+v", a)
	}
	if b.ICMP == nil || b.ICMP.BlackoutMs != 3 || b.TCP == nil || b.TCP.BlackoutMs != 4 || b.UDP != nil {
		t.Errorf("b: %+v", b)
	}
}

// A guest that nobody probed has no figures, and one of which only the kernel answered has its.
func TestClients(t *testing.T) {
	if kernel, udp, tcp := clients(Seen{}); kernel != nil || udp != nil || tcp != nil {
		t.Errorf("got %+v, %+v, %+v", kernel, udp, tcp)
	}
	kernel, udp, tcp := clients(Seen{ICMP: &blackout.Target{BlackoutMs: 5}})
	if kernel.ICMPMS != 5 || kernel.TCPMS != nil || udp != nil || tcp != nil {
		t.Errorf("got %+v, %+v, %+v", kernel, udp, tcp)
	}
}
