package report

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// mirrorSample is a report of nodes that mirror a guest's disks. Its numbers are made up.
func mirrorSample() *Report {
	r := sample(1, 20, 20)
	r.Scenarios = r.Scenarios[:1]
	base := r.Scenarios[0]
	r.Scenarios = nil
	at := func(name string, s float64, l *Ledger, passed bool) {
		c := base
		c.Name, c.Trigger, c.Ledger, c.Passed, c.Events = name, after(s), l, passed, []Event{
			{after(s), "node1", "the trigger"}, {after(s + 1), "node2", "vmferry-agent: started from the replica: lost at most 8 s"}}
		c.Guests = slices.Clone(base.Guests)
		c.Guests[0].Guest = "ledger74"
		g := &c.Guests[0]
		udp, tcp := *g.UDP, *g.TCP
		series := *udp.Series
		series.Start = after(s - 10)
		udp.Series, udp.BlackoutAt, tcp.Series = &series, after(s+1), nil
		g.UDP, g.TCP, g.Kernel = &udp, &tcp, nil
		r.Scenarios = append(r.Scenarios, c)
	}
	at(MirrorCrash, 20, &Ledger{Acked: 412, Lost: 34, LostS: ptr(1.7), ReplicaS: ptr(1.8), SaidS: ptr(8.0), Kept: ptr(34)}, true)
	at(MirrorReturn, 38, &Ledger{Acked: 261}, true)
	at(MirrorDrain, 56, &Ledger{Acked: 300}, true)
	at(MirrorDrain, 66, &Ledger{Acked: 310, Lost: 2}, false)
	m := &Mirror{Guest: "ledger74", Nodes: []string{"node1", "node2"}, IntervalS: 3, MaxLossS: 60}
	hold := func(node, what string, epoch uint64, from, to float64) {
		m.Holdings = append(m.Holdings, Holding{Node: node, What: what, Epoch: epoch, From: after(from), To: after(to)})
	}
	hold("node1", HoldsTruth, 1, 0, 26)
	hold("node2", HoldsReplica, 1, 3, 25.4)
	hold("node1", HoldsNoPower, 0, 20, 38)
	hold("node2", HoldsPromoting, 2, 25.4, 26)
	hold("node2", HoldsTruth, 2, 26, 59)
	hold("node1", HoldsOld, 1, 26, 50)
	hold("node1", HoldsAside, 0, 50, 80)
	hold("node1", HoldsUnwhole, 2, 50, 53)
	hold("node1", HoldsReplica, 2, 53, 59)
	hold("node1", HoldsTruth, 3, 59, 69)
	hold("node2", HoldsOld, 2, 59, 61)
	hold("node2", HoldsReplica, 3, 61, 69)
	hold("node2", HoldsTruth, 4, 69, 80)
	hold("node1", HoldsReplica, 4, 70, 80)
	round := func(node string, epoch, n uint64, at float64) {
		m.Rounds = append(m.Rounds, Round{node, epoch, n, after(at), after(at - 0.5)})
	}
	for i := range 6 {
		round("node2", 1, uint64(i+1), 3.4+3*float64(i))
	}
	round("node1", 2, 1, 53)
	round("node1", 2, 2, 56)
	round("node2", 3, 1, 61)
	round("node2", 3, 2, 64)
	round("node2", 3, 3, 67)
	for i := range 3 {
		round("node1", 4, uint64(i+1), 70+3*float64(i))
	}
	r.Mirror = m
	return r
}

// The page of the mirror shows what each node had, and what the crash lost.
func TestPageOfTheMirror(t *testing.T) {
	r := mirrorSample()
	markup := pageOf(t, r)
	for _, want := range []string{"Two nodes that share no disk", "mirrored to the other node every 3 s", "Who had which copy of ledger74",
		">truth, epoch 1</text>", ">replica, epoch 1</text>", "<title>promoting, epoch 2</title>", "put aside: DISK.vmferry-old",
		"<title>off</title>", "<b>34</b>", "1.7 s", "1.8 s", "8.0 s", `<b class="bad">2</b>`, "who decided what and when: ",
		"The node of the guest dies without a word", "started from the replica: lost at most 8 s"} {
		if !strings.Contains(markup, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if found := outside.FindString(markup); found != "" || strings.Contains(markup, Peer) || strings.Contains(markup, "power switch") {
		t.Errorf("the page holds %q, or what is of other pages", found)
	}
	if err := parse(markup); err != nil {
		t.Error(err)
	}
	if page := pageOf(t, sample(1, 20, 20)); strings.Contains(page, "Who had which copy") || strings.Contains(page, "acknowledged") {
		t.Error("a page of other scenarios changed")
	}
	if dir := os.Getenv("VMFERRY_PAGES"); dir != "" {
		if err := r.WriteHTML(filepath.Join(dir, "mirror.html")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPageOfTheMirrorEscapesNames(t *testing.T) {
	r := mirrorSample()
	r.Mirror.Guest, r.Mirror.Nodes[0] = evil, evil
	for i := range r.Mirror.Holdings {
		r.Mirror.Holdings[i].Node, r.Mirror.Holdings[i].What = evil, evil
	}
	r.Scenarios[0].Name = evil
	markup := pageOf(t, r)
	if n := strings.Count(markup, "<script"); n != 2 || strings.Contains(markup, "<b onload") {
		t.Errorf("the page has %d scripts, want its own 2", n)
	}
	if err := parse(markup); err != nil {
		t.Error(err)
	}
}

func TestLoss(t *testing.T) {
	crash := func(l *Ledger) *Report { return &Report{Scenarios: []Scenario{{Name: MirrorCrash, Ledger: l}}} }
	for want, r := range map[string]*Report{
		"": {},
		"The crash lost 34 of the last 412 numbers that were acknowledged, the oldest 1.7 s before it; the agent said that 8.0 s at " +
			"most are lost, from the replica to the start. 34 of them are in the image that was put aside.": mirrorSample(),
		"The crash lost 0 of the last 9 numbers that were acknowledged; the agent said that 2.0 s at most are lost, from the replica " +
			"to the start.": crash(&Ledger{Acked: 9, SaidS: ptr(2.0), Kept: ptr(0)}),
	} {
		if got := r.loss(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, none := range []*Report{crash(nil), crash(&Ledger{Acked: 3})} {
		if got := none.loss(); got != "" {
			t.Errorf("got %q", got)
		}
	}
	var table bytes.Buffer
	if err := mirrorSample().WriteTable(&table); err != nil || !strings.Contains(table.String(), "\nThe crash lost 34 of") {
		t.Errorf("%v\n%s", err, table.String())
	}
}

func TestMirrorInJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mirror.json")
	if err := mirrorSample().WriteJSON(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ReadJSON(bytes.NewReader(text))
	if err != nil || r.Mirror == nil || len(r.Mirror.Holdings) != 14 || len(r.Mirror.Rounds) != 14 || *r.Scenarios[0].Ledger.SaidS != 8 {
		t.Errorf("%+v, %v", r, err)
	}
	if strings.Contains(string(text), `"epoch": 0`) {
		t.Error("that a node is off has an epoch")
	}
}

// No two bars of a row lie on each other, and each is within the drawing.
func TestMirrorFigure(t *testing.T) {
	f := mirrorSample().mirrorFigure()
	for i, a := range f.Bars {
		if a.X < drawLeft || a.X+a.W > drawWidth+0.1 || a.Y < f.Top || a.Y+a.H > f.AgeTop {
			t.Errorf("%+v is outside", a)
		}
		for _, b := range f.Bars[:i] {
			if a.Class != "off" && b.Class != "off" && a.Y < b.Y+b.H && b.Y < a.Y+a.H && a.X < b.X+b.W-1 && b.X < a.X+a.W-1 {
				t.Errorf("%+v lies on %+v", a, b)
			}
		}
	}
	if last := f.Bars[len(f.Bars)-1]; last.Class != "off" {
		t.Errorf("the last is %+v, and would hide that the node is off", last)
	}
	if len(f.Marks) != 4 || f.Marks[0].Text != MirrorCrash || f.Marks[2].Y != f.Marks[3].Y {
		t.Errorf("%+v", f.Marks)
	}
	if last := f.Ticks[len(f.Ticks)-1]; last.Text != "80 s" || !last.End || len(f.Ticks) != 9 {
		t.Errorf("%+v", f.Ticks)
	}
	if f.AgeMost.Text != "7.5 s" || f.Interval <= f.AgeTop || f.Interval >= f.AgeBottom {
		t.Errorf("%+v, %v", f.AgeMost, f.Interval)
	}
	near := mirrorSample()
	near.Scenarios[3].Trigger = near.Scenarios[2].Trigger.Add(time.Second)
	if f := near.mirrorFigure(); f.Marks[2].Y == f.Marks[3].Y || f.Top <= f.Marks[3].Y {
		t.Errorf("two names lie on each other: %+v", f.Marks)
	}
	for _, none := range []*Report{{}, {Mirror: &Mirror{Nodes: []string{"node1"}}}} {
		if none.mirrorFigure() != nil {
			t.Error("a drawing of nothing")
		}
	}
	// What was seen once only has no length.
	one := &Report{Mirror: &Mirror{Nodes: []string{"a"}, Holdings: []Holding{{Node: "a", What: HoldsTruth, Epoch: 1, From: zero, To: zero}}}}
	if f := one.mirrorFigure(); len(f.Bars) != 1 || f.Bars[0].W != 1 || len(f.Ticks) != 1 {
		t.Errorf("%+v", f)
	}
	// A demo of a day has no more ticks than there is room for.
	one.Mirror.Holdings[0].To = zero.Add(24 * time.Hour)
	if f := one.mirrorFigure(); len(f.Ticks) > 2*mostLabels {
		t.Errorf("%d ticks", len(f.Ticks))
	}
}

// The age grows until the next round of that node, and ends with the replica.
func TestAges(t *testing.T) {
	m := &Mirror{Holdings: []Holding{
		{Node: "b", What: HoldsReplica, Epoch: 1, From: after(1), To: after(10)},
		{Node: "a", What: HoldsTruth, Epoch: 1, From: after(0), To: after(10)},
		{Node: "a", What: HoldsReplica, Epoch: 2, From: after(12), To: after(20)},
	}, Rounds: []Round{
		{"b", 1, 1, after(1), after(0.5)}, {"b", 1, 2, after(4), after(3)}, {"a", 2, 1, after(12), after(11)},
		{"b", 1, 9, after(15), after(14)}, // of no replica
	}}
	var got []string
	for _, p := range m.ages() {
		got = append(got, fmt.Sprintf("%g-%g of %g", p.At.Sub(zero).Seconds(), p.To.Sub(zero).Seconds(), p.Taken.Sub(zero).Seconds()))
	}
	if want := "1-4 of 0.5, 4-10 of 3, 12-20 of 11"; strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
