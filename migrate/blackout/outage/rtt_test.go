package outage

import (
	"math"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/report"
)

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
