package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"

	"github.com/vmferry/vmferry/migrate"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// The plot's size in the page's pixels.
const (
	plotWidth  = 900
	plotHeight = 260
	plotMargin = 40
)

// dot is one measure of one migration in the plot.
type dot struct {
	X, Y  float64
	Class string // pause, blackout or failed
	Title string
}

// line is a mark of the plot's scale.
type line struct {
	Y    float64
	Text string
}

// WriteHTML writes the report as one page that loads nothing from elsewhere.
func (r *Report) WriteHTML(w io.Writer) error {
	rows := make([]row, 0, len(r.Records))
	for _, rec := range r.Records {
		rows = append(rows, newRow(rec))
	}
	dots, lines := r.plot()
	return page.Execute(w, map[string]any{
		"Report": r, "Heads": heads(), "Rows": rows, "Lines": r.Summary.lines(),
		"Dots": dots, "Scale": lines, "Width": plotWidth, "Height": plotHeight, "Margin": plotMargin,
	})
}

type row struct {
	Cells  []string
	Detail []string
	Bad    bool
}

func newRow(rec migrate.Record) row {
	r := row{Cells: cells(rec), Bad: rec.Outcome != migrate.Moved && rec.Outcome != migrate.Restored || rec.BudgetKept != nil && !*rec.BudgetKept, Detail: rec.Notes}
	if rec.Error != "" {
		r.Detail = append([]string{rec.Error}, r.Detail...)
	}
	return r
}

// plot lays the migrations out in their order, and the times from 0 to the
// longest.
func (r *Report) plot() ([]dot, []line) {
	top := 1.0
	for _, rec := range r.Records {
		for _, v := range measures(rec) {
			top = max(top, v.ms)
		}
	}
	y := func(v float64) float64 { return plotHeight - plotMargin/2 - v/top*(plotHeight-plotMargin) }
	var dots []dot
	for i, rec := range r.Records {
		x := plotMargin + (float64(i)+0.5)*(plotWidth-2*plotMargin)/float64(len(r.Records))
		for _, v := range measures(rec) {
			dots = append(dots, dot{x, y(v.ms), v.class, fmt.Sprintf("%s to %s, %s: %s", rec.Guest, rec.To, rec.Started.Local().Format("2006-01-02 15:04:05"), v.text)})
		}
	}
	var lines []line
	for _, part := range []float64{0, 0.25, 0.5, 0.75, 1} {
		lines = append(lines, line{y(top * part), fmt.Sprintf("%.0f", top*part)})
	}
	return dots, lines
}

type measure struct {
	class, text string
	ms          float64
}

// measures are the dots of one migration; a failed one has a mark on the base line.
func measures(rec migrate.Record) []measure {
	switch rec.Outcome {
	case migrate.Moved:
	case migrate.Restored:
		return nil
	default:
		return []measure{{"failed", string(rec.Outcome), 0}}
	}
	var out []measure
	if rec.PauseMS != nil {
		out = append(out, measure{"pause", fmt.Sprintf("pause %.1f ms", *rec.PauseMS), *rec.PauseMS})
	}
	for _, b := range rec.Blackouts {
		out = append(out, measure{"blackout", fmt.Sprintf("blackout %.1f ms (±%.1f) of %s", b.MS, b.ErrorMS, b.Target), b.MS})
	}
	return out
}
