package bench

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/report"
)

func TestDrains(t *testing.T) {
	var d drains
	seconds := 12.5
	pause, stop := 25.0, time.Unix(100, 0)
	d.add(drained{Scenario: report.Scenario{DrainS: &seconds,
		Events: []report.Event{{At: stop, Node: "node1", What: "a STOP"}}, Guests: []report.Guest{
			{Guest: "a", How: report.Live, Kernel: &report.Kernel{ICMPMS: 40}, PauseMS: &pause,
				UDP: &report.UDP{BlackoutMS: 90}, TCP: &report.TCP{BlackoutMS: 300, BlackoutAt: stop.Add(-time.Second)}},
			{Guest: "b", How: report.Live, UDP: &report.UDP{BlackoutMS: 120}},
		}}})
	d.add(drained{Scenario: report.Scenario{Guests: []report.Guest{
		{Guest: "c", How: report.Cold, Kernel: &report.Kernel{ICMPMS: 70},
			UDP: &report.UDP{BlackoutMS: 9000, BlackoutAt: stop}}}}})
	if !slices.Equal(d.seconds, []float64{12.5}) || !slices.Equal(d.worst, []float64{300, 9000}) {
		t.Errorf("%+v", d)
	}
	if got := d.about("X"); !slices.Equal(got, []string{
		"the worst of X's drain 1 was a's over TCP, 300 ms, from -1.0 s after the guest's STOP on, its pause 25 ms",
		"the worst of X's drain 2 was c's over UDP, 9000 ms",
		"the longest blackout of a guest's kernel (ICMP): 40 ms with X (median of the drains)",
	}) {
		t.Errorf("%q", got)
	}
	if want := (Endings{report.Live: 2, report.Cold: 1}); !maps.Equal(d.ended, want) {
		t.Errorf("ended %v, want %v", d.ended, want)
	}
}
