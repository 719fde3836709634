package blackout

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	type step struct {
		seq   uint64
		fresh bool
	}
	tests := map[string][]step{
		"in order":            {{1, true}, {2, true}, {3, true}},
		"duplicates":          {{1, true}, {1, false}, {2, true}, {1, false}, {2, false}},
		"reordered":           {{5, true}, {3, true}, {4, true}, {3, false}},
		"fell out":            {{1, true}, {65, true}, {1, false}, {2, true}, {2, false}},
		"ring is reused":      {{3, true}, {67, true}, {131, true}, {131, false}, {68, true}},
		"jump clears all":     {{10, true}, {1000, true}, {970, true}, {970, false}},
		"jump to the end":     {{1, true}, {math.MaxUint64, true}, {math.MaxUint64, false}},
		"jump by just a ring": {{1, true}, {65, true}, {65, false}, {64, true}},
	}
	for name, steps := range tests {
		w := newWindow(64)
		for i, s := range steps {
			if got := w.add(s.seq); got != s.fresh {
				t.Errorf("%s: step %d: add(%d) = %v, want %v", name, i, s.seq, got, s.fresh)
			}
		}
	}
}

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

func TestHistogram(t *testing.T) {
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("empty: p50 = %s", got)
	}
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.001: 1000, 0.5: 500_000, 0.99: 990_000, 1: 1_000_000} {
		got := h.quantile(q)
		if got < want || float64(got) > float64(want)*1.016 {
			t.Errorf("quantile(%v) = %d, want %d rounded up by at most 1.6 %%", q, got, want)
		}
	}
	h.add(-1)
	h.add(math.MaxInt64)
	if got := h.quantile(1); got != math.MaxInt64 {
		t.Errorf("max = %d", got)
	}
}

func TestHistogramBuckets(t *testing.T) {
	for _, v := range []uint64{0, 1, 127, 128, 129, 255, 256, 1e6, 1e9, math.MaxInt64} {
		i := bucketOf(v)
		if upper := upperOf(i); upper < v || bucketOf(upper) != i || (i > 0 && upperOf(i-1) >= v) {
			t.Errorf("%d is put into bucket %d, which ends at %d", v, i, upper)
		}
	}
}

func TestSeriesDoubles(t *testing.T) {
	s := newSeries(10 * time.Millisecond)
	s.limit = 4
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

func TestTries(t *testing.T) {
	k := newTries()
	for i := range tryMemory + 5 {
		k.add(time.Duration(i*i) * time.Millisecond)
	}
	if got := k.spacing(tryMemory+5, 1); got != (2*tryMemory+7)*time.Millisecond {
		t.Errorf("newest spacing = %s", got)
	}
	for _, seq := range []uint64{0, 1, 5, 6, tryMemory + 6} {
		if got := k.spacing(seq, 1); got != 1 {
			t.Errorf("spacing(%d) = %s, want the nominal one", seq, got)
		}
	}
}

func TestArrival(t *testing.T) {
	wall := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const now, sent = 10 * time.Second, 9990 * time.Millisecond
	tests := map[string]struct {
		age  time.Duration
		want time.Duration
		ok   bool
	}{
		"a moment ago":                {2 * time.Millisecond, now - 2*time.Millisecond, true},
		"just now":                    {0, now, true},
		"wall clock was set back":     {-time.Second, 0, false},
		"wall clock was set forward":  {time.Second, 0, false},
		"wall clock was set by hours": {5 * time.Hour, 0, false},
	}
	for name, tt := range tests {
		at, ok := arrival(wall.Add(-tt.age), wall, now, sent)
		if at != tt.want || ok != tt.ok {
			t.Errorf("%s: %s, %v; want %s, %v", name, at, ok, tt.want, tt.ok)
		}
	}
}

func TestSessions(t *testing.T) {
	s := newSessions(2)
	steps := []struct{ id, seq, want uint64 }{
		{1, 1, 1}, {1, 2, 2}, {1, 2, 2}, // a duplicate is not counted
		{2, 1, 1}, {1, 4, 3}, // sessions are apart
		{3, 1, 1}, {1, 5, 4}, // one that is used survives a new generation
		{4, 1, 1}, {5, 1, 1}, // two more generations
		{2, 2, 1}, // this one did not: it counts from one again
	}
	for i, st := range steps {
		if got := s.receive(st.id, st.seq); got != st.want {
			t.Errorf("step %d: session %d has %d, want %d", i, st.id, got, st.want)
		}
	}
	if n := len(s.young) + len(s.old); n > 4 {
		t.Errorf("%d sessions kept, want at most two generations of 2", n)
	}
}
