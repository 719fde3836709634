package view

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/report"
	"github.com/vmferry/vmferry/migrate/htmlpage"
)

//go:embed assets
var assets embed.FS

var layout = htmlpage.New(assets, "assets", template.FuncMap{
	"time":    clockTime,
	"number":  func(v float64) string { return fmt.Sprintf("%.1f", v) },
	"percent": func(v float64) string { return fmt.Sprintf("%.4f %%", 100*v) },
})

func clockTime(t time.Time) string { return t.Format("15:04:05.000") }

// Mark is an event that is drawn under the packets.
type Mark struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// WriteHTML writes a report as one page that needs nothing else: tables, and for
// each target a plot of its time line that can be zoomed, with the marks in it.
func WriteHTML(w io.Writer, r *report.Report, marks []Mark) error {
	if marks == nil {
		marks = []Mark{}
	}
	start := r.Start.Format("2006-01-02 15:04:05.000 MST")
	return layout.Write(w, htmlpage.Page{
		Title: "Blackout " + r.Start.Format("2006-01-02 15:04:05"),
		Lead:  []string{fmt.Sprintf("%s to %s, a probe every %v ms", start, clockTime(r.End), r.IntervalMs)},
		Body:  map[string]any{"Report": r, "Marks": marks},
		Data:  map[string]any{"report": r, "marks": marks},
	})
}
