package report

import (
	"embed"
	"fmt"
	"io"

	"github.com/vmferry/vmferry/migrate/htmlpage"
	"github.com/vmferry/vmferry/migrate/record"
)

//go:embed page.html page.css
var files embed.FS

var layout = htmlpage.New(files, ".", nil)

// WriteHTML writes the report as one page that loads nothing from elsewhere.
func (r *Report) WriteHTML(w io.Writer) error {
	p := htmlpage.Page{Title: "Migrations of " + r.Node}
	if !r.Since.IsZero() {
		p.Lead = []string{"since " + r.Since.Local().Format(timeForm)}
	}
	p.Body = map[string]any{"Lines": r.Summary.lines(), "Dots": r.dots(), "Table": r.htmlTable()}
	return layout.Write(w, p)
}

// htmlTable is a row for each migration, and below it its error and notes.
func (r *Report) htmlTable() htmlpage.Table {
	t := htmlpage.Table{Head: heads()}
	for _, rec := range r.Records {
		t.Add(cells(rec)...)
		if rec.Outcome != record.Moved && rec.Outcome != record.Restored ||
			rec.BudgetKept != nil && !*rec.BudgetKept {
			t.Rows[len(t.Rows)-1].Class = "bad"
		}
		for _, text := range append([]string{rec.Error}, rec.Notes...) {
			if text != "" {
				cell := htmlpage.Cell{Text: text, Class: "detail muted", Span: len(t.Head)}
				t.Rows = append(t.Rows, htmlpage.Row{Cells: []htmlpage.Cell{cell}})
			}
		}
	}
	return t
}

// dots lays the migrations out in their order.
func (r *Report) dots() htmlpage.Dots {
	d := htmlpage.Dots{Label: "Pause and blackout of each migration, in milliseconds", Count: len(r.Records)}
	for i, rec := range r.Records {
		for _, v := range measures(rec) {
			title := fmt.Sprintf("%s to %s, %s: %s", rec.Guest, rec.To, rec.Started.Local().Format(timeForm), v.text)
			d.List = append(d.List, htmlpage.Dot{At: i, Value: v.ms, Class: v.class, Title: title})
		}
	}
	return d
}

type measure struct {
	class, text string
	ms          float64
}

// measures are the dots of one migration; a failed one has a mark on the base line.
func measures(rec record.Record) []measure {
	switch rec.Outcome {
	case record.Moved:
	case record.Restored:
		return nil
	default:
		return []measure{{"failed", string(rec.Outcome), 0}}
	}
	var out []measure
	if rec.PauseMS != nil {
		out = append(out, measure{"pause", fmt.Sprintf("pause %.1f ms", *rec.PauseMS), *rec.PauseMS})
	}
	for _, b := range rec.Blackouts {
		text := fmt.Sprintf("blackout %.1f ms (±%.1f) of %s", b.MS, b.ErrorMS, b.Target)
		out = append(out, measure{"blackout", text, b.MS})
	}
	return out
}
