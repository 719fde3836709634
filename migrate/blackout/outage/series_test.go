package outage

import (
	"slices"
	"testing"
	"time"
)

func TestSeriesDoubles(t *testing.T) {
	s := series{width: 10 * time.Millisecond, limit: 4}
	for _, at := range []time.Duration{0, 5, 10, 35} {
		s.addSent(at * time.Millisecond)
	}
	s.addAnswer(12*time.Millisecond, 300*time.Microsecond)
	s.addAnswer(1*time.Millisecond, 200*time.Microsecond)
	check := func(width time.Duration, sent, answered, rtt []uint32) {
		t.Helper()
		if s.width != width || !slices.Equal(s.sent, sent) || !slices.Equal(s.answered, answered) ||
			!slices.Equal(s.rttMax, rtt) {
			t.Errorf("series of %s: %v %v %v; want %s: %v %v %v", s.width, s.sent, s.answered, s.rttMax, width, sent,
				answered, rtt)
		}
	}
	check(10*time.Millisecond, []uint32{2, 1, 0, 1}, []uint32{1, 1, 0, 0}, []uint32{200, 300, 0, 0})
	s.addSent(40 * time.Millisecond)
	check(20*time.Millisecond, []uint32{3, 1, 1}, []uint32{2, 0, 0}, []uint32{300, 0, 0})
	s.addSent(159 * time.Millisecond)
	check(40*time.Millisecond, []uint32{4, 1, 0, 1}, []uint32{2, 0, 0, 0}, []uint32{300, 0, 0, 0})
}
