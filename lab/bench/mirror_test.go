package bench

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/guest/ledger"
	"github.com/vmferry/vmferry/migrate/mirror"
)

func TestWrites(t *testing.T) {
	for written, want := range map[int]string{
		0:   "",
		40:  "-c write -q -P 0x61 16M 40M",
		600: "-c write -q -P 0x61 16M 256M -c write -q -P 0x61 272M 256M -c write -q -P 0x61 528M 88M",
	} {
		if got := strings.Join(writes(written), " "); got != want {
			t.Errorf("%d MiB: %s", written, got)
		}
	}
}

func TestIsSynced(t *testing.T) {
	whole := func(change func(*mirror.Manifest)) *mirror.Manifest {
		at := mirror.Point{Epoch: 1, Generation: 3}
		m := &mirror.Manifest{Role: mirror.Replica, Point: at, Disks: []mirror.Disk{{Whole: at, At: at, Taken: time.Unix(100, 0)}}}
		change(m)
		return m
	}
	for name, c := range map[string]struct {
		m    *mirror.Manifest
		want bool
	}{
		"nothing":     {nil, false},
		"a replica":   {whole(func(*mirror.Manifest) {}), true},
		"a truth":     {whole(func(m *mirror.Manifest) { m.Role = mirror.Truth }), false},
		"not applied": {whole(func(m *mirror.Manifest) { m.Applying = true }), false},
		"not whole":   {whole(func(m *mirror.Manifest) { m.Disks[0].Whole = mirror.Point{} }), false},
		"too old":     {whole(func(m *mirror.Manifest) { m.Disks[0].Taken = time.Unix(90, 0) }), false},
	} {
		if got := isSynced(c.m, time.Unix(90, 0)); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestStretchBeyond(t *testing.T) {
	for _, c := range []struct {
		busy, usual stretch
		want        float64
	}{
		{stretch{3000, 900}, stretch{3000, 600}, 300},
		{stretch{4500, 1200}, stretch{3000, 600}, 300}, // it took longer
		{stretch{3000, 590}, stretch{3000, 600}, -10},  // the nodes' own noise, which a median levels
	} {
		if got := c.busy.beyond(c.usual); !near(got, c.want) {
			t.Errorf("%+v beyond %+v: %v", c.busy, c.usual, got)
		}
	}
}

func TestStallResults(t *testing.T) {
	var with, without stalls
	for turn := range 3 {
		var fsyncs []float64
		for i := range 100 {
			fsyncs = append(fsyncs, float64(i+turn))
		}
		with.add(fsyncs, 30)
		without.add(fsyncs[:50], 22)
	}
	all := stallResults(with, without)
	if len(all) != 2 || all[0].N != 3 || all[0].Ours.P50 != 99 || all[0].Peer.P50 != 50 ||
		!strings.Contains(all[0].Notes[1], "p99 99.0 ms, max 101.0 ms in 300; without") {
		t.Errorf("%+v", all)
	}
	if *all[1].RatioP50 != 1.3636 || !strings.Contains(all[1].Notes[0], "8.0 ms apart") {
		t.Errorf("%+v", all[1])
	}
}

func TestDrainSize(t *testing.T) {
	for free, want := range map[uint64]int{0: drainLess, 52 << 30: drainLess, 53 << 30: drainWritten, 1 << 40: drainWritten} {
		if got := drainSize(free); got != want {
			t.Errorf("%d GiB free: %d MiB", free>>30, got)
		}
	}
}

func TestMovedAt(t *testing.T) {
	calls := callsIn(callsJournal)
	if end, ok := movedAt(calls, "a", time.Unix(100, 0)); !ok || !end.Equal(time.UnixMicro(103250000)) {
		t.Errorf("%v, %t", end, ok)
	}
	for name, c := range map[string]struct {
		calls []pacemakerCall
		guest string
		since int64
	}{
		"it has not arrived":    {calls[:2], "a", 100},
		"it did not move":       {calls, "b", 100},
		"that was another move": {calls, "a", 101},
	} {
		if end, ok := movedAt(c.calls, c.guest, time.Unix(c.since, 0)); ok {
			t.Errorf("%s: %v", name, end)
		}
	}
	again := append(slices.Clone(calls), pacemakerCall{"b", "start", time.Unix(105, 0), time.Unix(107, 0)})
	if end, ok := movedAt(again, "b", time.Unix(100, 0)); !ok || !end.Equal(time.Unix(107, 0)) {
		t.Errorf("started again: %v, %t", end, ok)
	}
}

func TestJudgeLoss(t *testing.T) {
	const a, b = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
	var acked []ledger.Ack
	for i := range uint64(5) {
		acked = append(acked, ledger.Ack{Number: i + 1, BootID: a, At: time.Unix(100+int64(i), 0)})
	}
	has := func(numbers ...uint64) (s ledger.Scan) {
		for _, n := range numbers {
			s.Records = append(s.Records, ledger.Record{Number: n, Generation: 1, BootID: a})
		}
		return s
	}
	damaged := has(1, 2, 3)
	damaged.Damaged = 1
	other := has(1, 2)
	other.Records = append(other.Records, ledger.Record{Number: 3, Generation: 2, BootID: b})
	for name, c := range map[string]struct {
		s       ledger.Scan
		crashed int64
		said    time.Duration
		want    loss
	}{
		"nothing":        {has(1, 2, 3, 4, 5), 105, 0, loss{0, 0, 0, "", endedWithin}},
		"as was said":    {has(1, 2, 3), 105, 2 * time.Second, loss{2, 2, 2, "", endedWithin}},
		"written again":  {other, 105, 3 * time.Second, loss{3, 3, 3, "", endedWithin}},
		"more":           {has(1, 2, 3), 105, time.Second, loss{2, 1, 2, "2.00 s are lost", endedMore}},
		"a gap":          {has(1, 2, 4), 105, time.Minute, loss{3, 60, 2, "number 4 follows 2", endedTorn}},
		"a bad record":   {damaged, 105, time.Minute, loss{2, 60, 2, "1 records are damaged", endedTorn}},
		"while it ended": {has(1, 2, 3, 4), 103, 0, loss{0, 0, 1, "", endedWithin}},
	} {
		got := judgeLoss(acked, c.s, time.Unix(c.crashed, 0), c.said)
		if strings.Contains(got.wrong, c.want.wrong) && (c.want.wrong == "") == (got.wrong == "") {
			got.wrong = c.want.wrong
		}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestLossTwice(t *testing.T) {
	m := func(role mirror.Role, epoch uint64) *mirror.Manifest {
		return &mirror.Manifest{Role: role, Point: mirror.Point{Epoch: epoch}}
	}
	truth, replica := m(mirror.Truth, 4), m(mirror.Replica, 4)
	for name, c := range map[string]struct {
		executing int
		a, b      *mirror.Manifest
		wrong     string
	}{
		"as it must be":   {1, truth, replica, ""},
		"two copies":      {2, truth, replica, "2 copies"},
		"two truths":      {1, truth, m(mirror.Truth, 4), "the truth of epoch 4 and the truth of epoch 4"},
		"an old one":      {1, truth, m(mirror.Replica, 3), "the replica of epoch 3"},
		"nothing is left": {1, truth, nil, "and nothing"},
	} {
		l := loss{ended: endedWithin}
		l.twice(c.executing, c.a, c.b)
		if !strings.Contains(l.wrong, c.wrong) || (l.ended == endedTwice) != (c.wrong != "") || (l.wrong == "") != (c.wrong == "") {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

func TestLossResult(t *testing.T) {
	r := lossResult([]loss{{4, 8, 40, "", endedWithin}, {9, 10, 90, "", endedWithin}, {3, 2, 30, "more", endedMore}})
	if r.N != 3 || *r.RatioP50 != 0.5 || r.OursEnded[endedWithin] != 2 || r.OursEnded[endedMore] != 1 ||
		!strings.Contains(strings.Join(r.Notes, "\n"), "the highest ratio of a crash is 1.500") || r.Notes[3] != "crash 3: more" ||
		strings.Contains(r.ended(), ";") {
		t.Errorf("%+v, %s", r, r.ended())
	}
}
