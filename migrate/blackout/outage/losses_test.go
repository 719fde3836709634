package outage

import (
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/report"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

func TestLosses(t *testing.T) {
	type answer struct{ seq, instance, count uint64 }
	tests := map[string]struct {
		answers   []answer
		out, back uint64
		instances int
		changes   int
	}{
		"nothing":               {},
		"all there":             {[]answer{{1, 9, 1}, {2, 9, 2}, {3, 9, 3}}, 0, 0, 1, 0},
		"first ones lost":       {[]answer{{4, 9, 2}}, 2, 1, 1, 0},
		"lost out":              {[]answer{{1, 9, 1}, {5, 9, 2}}, 3, 0, 1, 0},
		"lost back":             {[]answer{{1, 9, 1}, {5, 9, 5}}, 0, 3, 1, 0},
		"lost both ways":        {[]answer{{1, 9, 1}, {5, 9, 3}}, 2, 1, 1, 0},
		"late answer":           {[]answer{{1, 9, 1}, {5, 9, 5}, {3, 9, 3}}, 0, 2, 1, 0},
		"reordered on its way":  {[]answer{{1, 9, 1}, {3, 9, 2}, {2, 9, 3}}, 0, 0, 1, 0},
		"reordered answer lost": {[]answer{{1, 9, 1}, {3, 9, 2}, {4, 9, 4}}, 0, 1, 1, 0},
		"restarted":             {[]answer{{1, 9, 1}, {2, 9, 2}, {10, 8, 1}, {11, 8, 2}}, 7, 0, 2, 1},
		"restarted, lost back":  {[]answer{{1, 9, 1}, {2, 9, 2}, {10, 8, 4}}, 4, 3, 2, 1},
		"late from before":      {[]answer{{1, 9, 1}, {5, 8, 1}, {3, 9, 3}, {6, 8, 2}}, 2, 0, 2, 1},
		"two copies in turn":    {[]answer{{1, 9, 1}, {2, 8, 1}, {3, 9, 2}, {4, 8, 2}}, 0, 0, 2, 3},
		"rolled back":           {[]answer{{5, 9, 5}, {6, 9, 2}, {8, 9, 3}}, 3, 2, 1, 0},
		"counts too many":       {[]answer{{1, 9, 1}, {5, 9, math.MaxUint64}}, 0, 3, 1, 0},
	}
	for name, tt := range tests {
		var l losses
		for _, a := range tt.answers {
			l.add(a.seq, a.instance, a.count)
		}
		out, back := l.totals()
		if out != tt.out || back != tt.back || l.instances() != tt.instances || l.changes != tt.changes {
			t.Errorf("%s: out %d back %d instances %d changes %d; want %d, %d, %d, %d",
				name, out, back, l.instances(), l.changes, tt.out, tt.back, tt.instances, tt.changes)
		}
	}
}

func TestRoundTrips(t *testing.T) {
	r := newRoundTrips()
	if all, _, _ := r.report(); all != (report.RTT{}) {
		t.Errorf("nothing yet: %+v", all)
	}
	for i := 1; i <= 1000; i++ {
		r.add(time.Duration(i)*time.Microsecond, false)
	}
	r.turn()
	r.add(3*time.Second, true)
	r.add(5*time.Millisecond, false)
	all, before, after := r.report()
	near := func(got, want float64) bool { return math.Abs(got-want) <= want/100 }
	if before.N != 1000 || !near(before.P50, 500) || !near(before.P99, 990) || !near(before.Max, 1000) {
		t.Errorf("before: %+v", before)
	}
	if after.N != 1 || !near(after.P50, 5000) || all.N != 1002 || !near(all.Max, 3e6) {
		t.Errorf("after: %+v, all: %+v", after, all)
	}
	r.turn() // a longer outage: all this was before it
	r.add(-1, false)
	r.add(math.MaxInt64, false)
	if _, before, after = r.report(); before.N != 1002 || after.N != 2 || !near(after.Max, 3.6e9) {
		t.Errorf("before: %+v, after: %+v", before, after)
	}
}

func TestSeriesDoubles(t *testing.T) {
	s := series{width: 10 * time.Millisecond, limit: 4}
	for _, at := range []time.Duration{0, 5, 10, 35} {
		s.addSent(at * time.Millisecond)
	}
	s.addAnswer(12*time.Millisecond, 300*time.Microsecond)
	s.addAnswer(1*time.Millisecond, 200*time.Microsecond)
	check := func(width time.Duration, sent, answered, rtt []uint32) {
		t.Helper()
		if s.width != width || !slices.Equal(s.sent, sent) || !slices.Equal(s.answered, answered) || !slices.Equal(s.rttMax, rtt) {
			t.Errorf("series of %s: %v %v %v; want %s: %v %v %v", s.width, s.sent, s.answered, s.rttMax, width, sent, answered, rtt)
		}
	}
	check(10*time.Millisecond, []uint32{2, 1, 0, 1}, []uint32{1, 1, 0, 0}, []uint32{200, 300, 0, 0})
	s.addSent(40 * time.Millisecond)
	check(20*time.Millisecond, []uint32{3, 1, 1}, []uint32{2, 0, 0}, []uint32{300, 0, 0})
	s.addSent(159 * time.Millisecond)
	check(40*time.Millisecond, []uint32{4, 1, 0, 1}, []uint32{2, 0, 0, 0}, []uint32{300, 0, 0, 0})
}

func TestSendTimes(t *testing.T) {
	k := newSendTimes(16 * time.Millisecond)
	for i := range minSends + 5 {
		k.add(time.Duration(i*i) * time.Millisecond)
	}
	if got := k.spacing(minSends+5, 1); got != (2*minSends+7)*time.Millisecond {
		t.Errorf("newest spacing = %s", got)
	}
	for _, seq := range []uint64{0, 1, 5, 6, minSends + 6} {
		if got := k.spacing(seq, 1); got != 1 {
			t.Errorf("spacing(%d) = %s, want the nominal one", seq, got)
		}
	}
}

func TestFaults(t *testing.T) {
	var f Faults
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Add(report.Late, time.Second, LeastFault-1)
	f.Add(report.Late, 2*time.Second, 50*time.Millisecond)
	f.Add(report.Asleep, 3*time.Second, time.Hour)
	cal, list, _ := f.Report(start)
	if len(list) != 2 || f.Slept() != time.Hour {
		t.Fatalf("faults %+v, slept %s", list, f.Slept())
	}
	late, slept := list[0], list[1]
	if late.Ms != 50 || !late.Start.Equal(start.Add(2*time.Second)) || !slept.End.Equal(start.Add(time.Hour+3*time.Second)) {
		t.Errorf("reported as %+v and %+v", late, slept)
	}
	if got := cal.Time(4 * time.Second); !got.Equal(start.Add(time.Hour + 4*time.Second)) {
		t.Errorf("after the sleep it is %s", got)
	}
	for range maxFaults {
		f.Add(report.Late, 0, time.Second)
	}
	if _, list, omitted := f.Report(start); len(list) != maxFaults || omitted != 2 {
		t.Errorf("%d faults and %d omitted", len(list), omitted)
	}
}

// A run of a week needs no more memory than one of a day, however bad the service is.
func TestAWeekNeedsNoMoreThanADay(t *testing.T) {
	const day = 24 * time.Hour
	k := New(Options{Interval: time.Millisecond, Threshold: 3 * time.Millisecond, Bucket: 10 * time.Millisecond})
	var f Faults
	live := func(until time.Duration, from time.Duration) uint64 {
		for at := from; at < until; at += time.Second {
			seq := k.Send(at, 0)
			k.Sent(seq, at)
			if at/time.Second%5 < 3 { // and then an outage of two seconds
				k.Answer(wire.Packet{Kind: wire.Answer, Seq: seq, Instance: uint64(at/time.Minute) + 1, Count: seq}, at+time.Millisecond, 0)
			}
			f.Add(report.Late, at, time.Second)
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	first := live(day, 0)
	last := live(7*day, day)
	if len(k.outages) != maxOutages || k.omitted == 0 || len(k.series.sent) > maxBuckets || len(f.list) != maxFaults {
		t.Errorf("%d outages and %d omitted, %d buckets, %d faults", len(k.outages), k.omitted, len(k.series.sent), len(f.list))
	}
	if last > first+2<<20 {
		t.Errorf("after a day %d bytes, after a week %d", first, last)
	}
	runtime.KeepAlive(k)
}
