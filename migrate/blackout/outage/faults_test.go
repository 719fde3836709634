package outage

import (
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/report"
)

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
	if late.Ms != 50 || !late.Start.Equal(start.Add(2*time.Second)) ||
		!slept.End.Equal(start.Add(time.Hour+3*time.Second)) {
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
