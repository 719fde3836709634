package compare

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/vmferry/vmferry/migrate/blackout/report"
)

// Significant is the p below which a difference counts as shown.
const Significant = 0.05

// Side is one figure of one set of runs.
type Side struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	P25    float64 `json:"p25"`
	P75    float64 `json:"p75"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Line compares one figure of one target.
type Line struct {
	Target string `json:"target"` // as the first set calls it
	// Figure is blackout_ms, dark_ms, lost_share, rtt_p50_us or rtt_p99_us, one
	// value from each run; or outage_ms, one from each outage of each run.
	Figure string  `json:"figure"`
	A      Side    `json:"a"`
	B      Side    `json:"b"`
	P      float64 `json:"p"`
	// Verdict is "b is smaller" or "b is larger" where p is below Significant,
	// and "not shown" otherwise.
	Verdict string `json:"verdict"`
}

// figures are what is taken from a target of one run.
var figures = []struct {
	name   string
	values func(t *report.Target) []float64
}{
	{"blackout_ms", func(t *report.Target) []float64 { return []float64{t.BlackoutMs} }},
	{"outage_ms", func(t *report.Target) []float64 {
		var all []float64
		for _, o := range t.Outages {
			all = append(all, o.Ms)
		}
		return all
	}},
	{"dark_ms", func(t *report.Target) []float64 { return []float64{t.DarkMs} }},
	{"lost_share", func(t *report.Target) []float64 {
		return []float64{float64(t.Sent-t.Answered) / float64(max(t.Sent, 1))}
	}},
	{"rtt_p50_us", func(t *report.Target) []float64 { return rtt(t, t.RTT.P50) }},
	{"rtt_p99_us", func(t *report.Target) []float64 { return rtt(t, t.RTT.P99) }},
}

// rtt leaves out a target that never answered.
func rtt(t *report.Target, v float64) []float64 {
	if t.Answered == 0 {
		return nil
	}
	return []float64{v}
}

// Runs compares two sets of runs. Targets belong together by their protocol and
// their place among those of the same; all runs must have the same.
func Runs(a, b []*report.Report) ([]Line, error) {
	if len(a) == 0 || len(b) == 0 {
		return nil, errors.New("both sides need a run")
	}
	for _, r := range slices.Concat(a, b) {
		if !slices.Equal(protocols(r), protocols(a[0])) {
			return nil, fmt.Errorf("the runs have different targets: %v and %v", protocols(a[0]), protocols(r))
		}
	}
	lines := []Line{}
	for i := range a[0].Targets {
		for _, f := range figures {
			lines = append(lines,
				line(a[0].Targets[i].Target, f.name, collect(a, i, f.values), collect(b, i, f.values)))
		}
	}
	return lines, nil
}

func protocols(r *report.Report) []string {
	all := []string{}
	for _, t := range r.Targets {
		all = append(all, t.Proto)
	}
	return all
}

func collect(runs []*report.Report, i int, values func(*report.Target) []float64) []float64 {
	var all []float64
	for _, r := range runs {
		all = append(all, values(&r.Targets[i])...)
	}
	return all
}

func line(target, figure string, a, b []float64) Line {
	l := Line{Target: target, Figure: figure, A: side(a), B: side(b), Verdict: "not shown"}
	var u float64
	u, l.P = MannWhitney(a, b)
	switch {
	case l.P >= Significant:
	case u > float64(len(a)*len(b))/2:
		l.Verdict = "b is smaller"
	default:
		l.Verdict = "b is larger"
	}
	return l
}

func side(values []float64) Side {
	if len(values) == 0 {
		return Side{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return Side{
		N: len(sorted), Median: quantile(sorted, 0.5), P25: quantile(sorted, 0.25), P75: quantile(sorted, 0.75),
		Min: sorted[0], Max: sorted[len(sorted)-1],
	}
}

// WriteTable writes a comparison for people.
func WriteTable(w io.Writer, lines []Line) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TARGET\tFIGURE\tA MEDIAN (P25 TO P75)\tN\tB MEDIAN (P25 TO P75)\tN\tP\tDIFFERENCE")
	for _, l := range lines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%d\t%.3f\t%s\n", l.Target, l.Figure, l.A, l.A.N, l.B, l.B.N, l.P, l.Verdict)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// String is the median and the spread.
func (s Side) String() string {
	if s.N == 0 {
		return "-"
	}
	short := func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
	return fmt.Sprintf("%s (%s to %s)", short(s.Median), short(s.P25), short(s.P75))
}
