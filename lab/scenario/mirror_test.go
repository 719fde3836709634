package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/lab/mirrored"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/migrate/mirror"
)

// has is a manifest of a copy, of which a replica's disk was taken at a time; 0 for one that is not whole.
func has(role mirror.Role, epoch, generation uint64, taken int) *mirror.Manifest {
	m := &mirror.Manifest{Role: role, Point: mirror.Point{Epoch: epoch, Generation: generation}}
	if role == mirror.Replica {
		d := mirror.Disk{Target: "vda"}
		if taken > 0 {
			d.Whole, d.At, d.Taken = m.Point, m.Point, clock(taken)
		}
		m.Disks = []mirror.Disk{d}
	}
	return m
}

func TestCopyOf(t *testing.T) {
	for name, c := range map[string]struct {
		own, other *mirror.Manifest
		want       string
	}{
		"nothing":                     {nil, has(mirror.Truth, 3, 0, 0), " 0"},
		"truth":                       {has(mirror.Truth, 3, 0, 0), has(mirror.Replica, 3, 1, 5), "truth 3"},
		"truth, the other is behind":  {has(mirror.Truth, 3, 0, 0), has(mirror.Replica, 2, 1, 5), "truth 3"},
		"old truth":                   {has(mirror.Truth, 3, 0, 0), has(mirror.Promoting, 4, 0, 0), "old 3"},
		"promoting":                   {has(mirror.Promoting, 4, 0, 0), has(mirror.Truth, 3, 0, 0), "promoting 4"},
		"replica":                     {has(mirror.Replica, 3, 1, 5), has(mirror.Truth, 3, 0, 0), "replica 3"},
		"replica, the other is gone":  {has(mirror.Replica, 3, 1, 5), nil, "replica 3"},
		"replica of an epoch before":  {has(mirror.Replica, 3, 1, 5), has(mirror.Truth, 4, 0, 0), "old 3"},
		"replica that is not whole":   {has(mirror.Replica, 3, 0, 0), has(mirror.Truth, 3, 0, 0), "not whole 3"},
		"replica without any disk":    {&mirror.Manifest{Role: mirror.Replica, Point: mirror.Point{Epoch: 3}}, nil, "not whole 3"},
		"both say that they are true": {has(mirror.Truth, 3, 0, 0), has(mirror.Truth, 3, 0, 0), "truth 3"},
	} {
		what, epoch := copyOf(c.own, c.other)
		if got := fmt.Sprintf("%s %d", what, epoch); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// A crash, from the first replica to the return of the node.
func TestMirrorWatch(t *testing.T) {
	w := &mirrorWatch{nodes: []string{"node1", "node2"}}
	applying := has(mirror.Replica, 1, 2, 30)
	applying.Applying = true
	truth := has(mirror.Truth, 1, 0, 0)
	for i, look := range [][]glance{
		{{manifest: truth}, {}},
		{{manifest: truth}, {manifest: has(mirror.Replica, 1, 1, 5)}},
		{{manifest: truth}, {manifest: has(mirror.Replica, 1, 1, 5)}},
		{{manifest: truth}, {manifest: applying}},
		{{manifest: truth, off: true}, {manifest: has(mirror.Replica, 1, 2, 30)}},
		{{manifest: truth, off: true}, {manifest: has(mirror.Promoting, 2, 2, 0)}},
		{{manifest: truth, off: true}, {manifest: has(mirror.Truth, 2, 0, 0)}},
		{{manifest: truth}, {manifest: has(mirror.Truth, 2, 0, 0)}},
		{{manifest: has(mirror.Replica, 2, 0, 0), aside: true}, {manifest: has(mirror.Truth, 2, 0, 0)}},
		{{manifest: has(mirror.Replica, 2, 1, 85), aside: true}, {manifest: has(mirror.Truth, 2, 0, 0)}},
	} {
		w.note(clock(10*i), look)
	}
	var got []string
	for _, h := range w.holdings {
		got = append(got, fmt.Sprintf("%s %s %d %d-%d", h.Node, h.What, h.Epoch, h.From.Unix()-1000, h.To.Unix()-1000))
	}
	want := []string{"node1 truth 1 0-5", "node2 replica 1 1-5", "node1 off 0 4-7", "node1 old 1 5-8", "node2 promoting 2 5-6",
		"node2 truth 2 6-9", "node1 not whole 2 8-9", "node1 put aside 0 8-9", "node1 replica 2 9-9"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got = nil
	for _, r := range w.rounds {
		got = append(got, fmt.Sprintf("%s %d-%d at %d", r.Node, r.Epoch, r.Generation, r.At.Unix()-1000))
	}
	if want := []string{"node2 1-1 at 1", "node2 1-2 at 4", "node1 2-1 at 9"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if at := w.taken("node2"); !at.Equal(clock(30)) {
		t.Errorf("the replica of node2 was taken at %s", at)
	}
	events := []string{"node1 its copy is old, epoch 1", "node2 makes its replica the truth, epoch 2", "node2 has the truth, epoch 2",
		"node1 becomes the replica, epoch 2", "node1 has put its image aside", "node1 has the replica, epoch 2"}
	if got := words(w.since(clock(41))); !slices.Equal(got, events) {
		t.Errorf("got %q, want %q", got, events)
	}
	if m := w.told("ledger74"); m.Guest != "ledger74" || m.IntervalS != 3 || m.MaxLossS != 60 || len(m.Holdings) != 9 || len(m.Rounds) != 3 {
		t.Errorf("%+v", m)
	}
}

// A look that fails is left out, and the next one counts.
func TestMirrorWatchRuns(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	w := &mirrorWatch{nodes: []string{"node1"}, look: func(context.Context) ([]glance, error) {
		if looks++; looks == 1 {
			return nil, context.DeadlineExceeded
		}
		cancel()
		return []glance{{manifest: has(mirror.Truth, 1, 0, 0)}}, nil
	}}
	if err := w.run(ctx); err != nil || looks != 2 || len(w.holdings) != 1 {
		t.Errorf("%d looks, %v, %+v", looks, err, w.holdings)
	}
}

func TestToldByLedger(t *testing.T) {
	const a, b = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
	var acked []ledger.Ack // at 90, 91, … 99
	for i := range 10 {
		acked = append(acked, ledger.Ack{Number: uint64(i + 1), BootID: a, At: clock(90 + i)})
	}
	records := func(until uint64) (s ledger.Scan) {
		for n := uint64(1); n <= until; n++ {
			s.Records = append(s.Records, ledger.Record{Number: n, Generation: 1, BootID: a})
		}
		s.Records = append(s.Records, ledger.Record{Number: until + 1, Generation: 2, BootID: b})
		return s
	}
	gap := records(10)
	gap.Records = slices.Delete(gap.Records, 4, 5)
	damaged := records(6)
	damaged.Damaged = 1
	for name, c := range map[string]struct {
		has         ledger.Scan
		taken, said int // tenths of a second: when, and how long
		lost        int
		before      string
		failure     string
	}{
		"nothing is lost":                       {records(10), 99, 30, 0, "", ""},
		"what came after the replica":           {records(6), 96, 30, 4, "0.4", ""},
		"as much as was said":                   {records(6), 96, 4, 4, "0.4", ""},
		"more than was said":                    {records(6), 96, 3, 4, "0.4", "the agent said 300ms at most"},
		"older than the replica":                {records(5), 96, 30, 5, "0.5", "number 6 was acknowledged 100ms before the replica was taken"},
		"when it was taken is not known":        {records(6), -1, 30, 4, "0.4", ""},
		"a gap":                                 {gap, 90, 90, 1, "0.6", "torn: 0 damaged"},
		"damaged":                               {damaged, 96, 30, 4, "0.4", "torn: 1 damaged"},
		"nothing was said, and nothing is lost": {records(10), 99, 0, 0, "", ""},
	} {
		var taken time.Time
		if c.taken >= 0 {
			taken = clock(c.taken)
		}
		l, lost, failures := toldByLedger(clock(100), acked, c.has, taken, time.Duration(c.said)*100*time.Millisecond)
		before := ""
		if l.LostS != nil {
			before = fmt.Sprint(*l.LostS)
		}
		if l.Acked != 10 || l.Lost != c.lost || len(lost) != c.lost || before != c.before || (l.ReplicaS == nil) != taken.IsZero() {
			t.Errorf("%s: %+v, %s s before", name, l, before)
		}
		if said := strings.Join(failures, "\n"); (said == "") != (c.failure == "") || !strings.Contains(said, c.failure) {
			t.Errorf("%s: got %q, want %q", name, said, c.failure)
		}
	}
}

func TestToldByMirrorJournal(t *testing.T) {
	const text = `101.000000 node2 vmferry-agent[81]: started from the replica: lost at most 8 s
102.000000 node2 vmferry-mirror[7]: full sync done: 33 MiB in 1 s
103.000000 node2 vmferryd[7]: nothing of interest
`
	want := []string{"node2 vmferry-agent: started from the replica: lost at most 8 s",
		"node2 vmferry-mirror: full sync done: 33 MiB in 1 s"}
	if got := words(toldByJournal(text, "node2", time.Unix(100, 0))); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestToldByMoves(t *testing.T) {
	const text = `{"schema":1,"guest":"g","from":"node1","to":"node2","ended":"1970-01-01T00:01:00Z","outcome":"moved"}
{"schema":1,"guest":"g","from":"a replica of node1, node2","to":"node2","ended":"1970-01-01T00:02:00Z","outcome":"restored","lost_ms":7912}
{"schema":1,"guest":"g","from":"node2","to":"node1","ended":"1970-01-01T00:03:00Z","duration_ms":2410,"outcome":"moved","pause_ms":41.2}
{"schema":1,"guest":"g","from":"node2","to":"node1","ended":"1970-01-01T00:04:00Z","outcome":"stayed","error":"no room"}
{"schema":1,"gue`
	want := []string{"node2 record: restored from a replica of node1, node2, lost at most 7.9 s",
		"node2 record: moved, node2 to node1, in 2.4 s, pause 41 ms", "node2 record: stayed, node2 to node1, in 0.0 s: no room"}
	if got := words(toldByMoves(text, "node2", time.Unix(100, 0))); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A crash may lose what came after the replica; a return or a drain may not, and the guest must not boot.
func TestJudgeMirror(t *testing.T) {
	lossy := crash()
	lossy.Scenario = report.MirrorCrash
	lossy.Samples["vm1"] = []Sample{sample(90, "a", 1, 100), sample(290, "b", 2, 50)}
	if s := judge(lossy); !s.Passed || !s.Guests[0].CounterWentBack || s.DrainS != nil || s.Events[0].What != "killed" {
		t.Errorf("got %+v", s)
	}
	drain := graceful()
	drain.Scenario = report.MirrorDrain
	if s := judge(drain); !s.Passed || s.DrainS == nil || *s.DrainS != 6 || s.Events[0].What != "standby" {
		t.Errorf("got %+v", s)
	}
	drain.Samples["vm1"][2].Status.Counter = 3
	if s := judge(drain); s.Passed {
		t.Error("a drain may lose something")
	}
	back := graceful()
	back.Scenario, back.From, back.To, back.Homes = report.MirrorReturn, "node1", "node2", map[string]string{"vm1": "node2"}
	back.Copies, back.Events = []Copy{qemuCopy("node2", 0, 0)}, []Event{event(1, "node2", "RESUME")}
	if s := judge(back); !s.Passed || s.Guests[0].From != "node2" || s.Guests[0].How != report.Live || s.Events[0].What != "power on" {
		t.Errorf("got %+v", s)
	}
	back.Samples["vm1"][2].Status.BootID = "b"
	if s := judge(back); s.Passed || !strings.Contains(s.Failures[0], "rebooted") {
		t.Errorf("got %+v", s)
	}
}

// The guest has the mirror's parameters, and its disk is in the node's own folder.
func TestMakeMirrored(t *testing.T) {
	c := &cluster.Cluster{Hypervisor: cluster.QEMU, Nodes: []string{"node1", "node2"}, Local: true}
	guests, err := MakeMirrored(t.Context(), c, t.TempDir())
	if err != nil || len(guests) != 1 {
		t.Fatal(guests, err)
	}
	cib, err := cluster.Configuration(c.Hypervisor, cluster.Ours, []cluster.Guest{guests[0].Guest}, "node1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`name="mirror" value="node1,node2"`, `name="mirror_interval" value="3s"`,
		`name="mirror_max_loss" value="60s"`, `name="hypervisor"`} {
		if !strings.Contains(cib, want) {
			t.Errorf("the CIB lacks %s:\n%s", want, cib)
		}
	}
	if d := mirrored.Disk(guests[0].Name); d != "/srv/guests/ledger74.qcow2" {
		t.Errorf("its disk is %s", d)
	}
}
