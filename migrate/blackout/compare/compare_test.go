package compare

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/migrate/blackout/report"
)

func span(from, n int) []float64 {
	var all []float64
	for i := range n {
		all = append(all, float64(from+i))
	}
	return all
}

// The p of small sets can be counted by hand: two of the orders in all are as
// extreme as sets that do not overlap.
func TestMannWhitney(t *testing.T) {
	tests := map[string]struct {
		a, b []float64
		u, p float64
	}{
		"nothing":           {nil, span(0, 3), 0, 1},
		"one each":          {[]float64{1}, []float64{2}, 0, 1},
		"three apart":       {span(0, 3), span(10, 3), 0, 2.0 / 20},
		"four apart":        {span(0, 4), span(10, 4), 0, 2.0 / 70},
		"five apart, above": {span(10, 5), span(0, 5), 25, 2.0 / 252},
		"one crosses":       {[]float64{1, 2, 4}, []float64{3, 5, 6}, 1, 4.0 / 20},
		"interleaved":       {[]float64{1, 4}, []float64{2, 3}, 2, 1},
		"uneven":            {[]float64{1}, span(2, 9), 0, 2.0 / 10},
		"all the same":      {[]float64{7, 7}, []float64{7, 7}, 2, 1},
	}
	for name, tt := range tests {
		u, p := MannWhitney(tt.a, tt.b)
		if u != tt.u || math.Abs(p-tt.p) > 1e-9 {
			t.Errorf("%s: U %v p %v, want %v, %v", name, u, p, tt.u, tt.p)
		}
		if back, q := MannWhitney(tt.b, tt.a); math.Abs(q-p) > 1e-9 || back+u != float64(len(tt.a)*len(tt.b)) {
			t.Errorf("%s, the other way: U %v p %v", name, back, q)
		}
	}
}

// The approximation is near the exact value where both can be had.
func TestNormalIsNearExact(t *testing.T) {
	a, b := span(0, 20), []float64{}
	for i := range 20 {
		b = append(b, float64(i)+6.5)
	}
	u, p := MannWhitney(a, b)
	if q := normal(a, b, u); math.Abs(p-q) > 0.003 || p > 0.01 {
		t.Errorf("exact %v, approximate %v", p, q)
	}
}

func runs(blackouts ...float64) []*report.Report {
	var all []*report.Report
	for _, v := range blackouts {
		all = append(all, &report.Report{Targets: []report.Target{{
			Target: "udp://x:1", Proto: "udp", Sent: 100, Answered: 90, BlackoutMs: v,
			Outages: []report.Outage{{Ms: v}, {Ms: 1}},
		}}})
	}
	return all
}

func TestRuns(t *testing.T) {
	lines, err := Runs(runs(200, 210, 220, 230, 240), runs(40, 50, 60, 70))
	if err != nil || len(lines) != len(figures) {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	l := lines[0]
	if l.Figure != "blackout_ms" || l.A != (Side{5, 220, 210, 230, 200, 240}) || l.B.Median != 55 ||
		l.Verdict != "b is smaller" {
		t.Errorf("%+v", l)
	}
	if l := lines[1]; l.Figure != "outage_ms" || l.A.N != 10 || l.B.N != 8 {
		t.Errorf("%+v", l)
	}
	if l := lines[3]; l.A.Median != 0.1 || l.Verdict != "not shown" {
		t.Errorf("%+v", l)
	}
	var b bytes.Buffer
	if err := WriteTable(&b, lines); err != nil || !strings.Contains(b.String(),
		"udp://x:1  blackout_ms  220 (210 to 230)") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestRunsRefuses(t *testing.T) {
	other := runs(1)
	other[0].Targets[0].Proto = "tcp"
	if _, err := Runs(runs(1), other); err == nil {
		t.Error("runs with other targets are compared")
	}
	if _, err := Runs(runs(1), nil); err == nil {
		t.Error("nothing is compared")
	}
}
