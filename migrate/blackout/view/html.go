package view

import (
	_ "embed" // the page
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout"
)

//go:embed assets/page.html
var page string

// Mark is an event that is drawn under the packets.
type Mark struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// WriteHTML writes a report as one page that needs nothing else: tables, and for
// each target a plot of its time line that can be zoomed, with the marks in it.
func WriteHTML(w io.Writer, r *blackout.Report, marks []Mark) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"time":    func(t time.Time) string { return t.Format("15:04:05.000") },
		"number":  func(v float64) string { return fmt.Sprintf("%.1f", v) },
		"percent": func(v float64) string { return fmt.Sprintf("%.4f %%", 100*v) },
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	if marks == nil {
		marks = []Mark{}
	}
	if err := t.Execute(w, map[string]any{"Report": r, "Marks": marks}); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}
