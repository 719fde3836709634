package view

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/report"
)

// csvHeader names the columns of WriteCSV.
var csvHeader = []string{
	"target", "start", "end", "ms", "error_ms",
	"lost", "lost_out", "lost_back", "late", "resets", "reconnects", "abandoned", "open",
}

// WriteCSV writes one line for each outage of each target (RFC 4180), under a
// line of headings. What is not known of directions is empty.
func WriteCSV(w io.Writer, r *report.Report) error {
	c := csv.NewWriter(w)
	_ = c.Write(csvHeader) // see Error
	for i := range r.Targets {
		t := &r.Targets[i]
		for _, o := range t.Outages {
			_ = c.Write(csvLine(t, o))
		}
	}
	c.Flush()
	if err := c.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return nil
}

func csvLine(t *report.Target, o report.Outage) []string {
	count := func(n uint64) string { return strconv.FormatUint(n, 10) }
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	out, back := "", ""
	if t.Directed {
		out, back = count(o.LostOut), count(o.LostBack)
	}
	return []string{
		t.Target, o.Start.Format(time.RFC3339Nano), o.End.Format(time.RFC3339Nano), number(o.Ms), number(o.ErrorMs),
		count(o.Lost), out, back, count(o.Late),
		strconv.Itoa(o.Resets), strconv.Itoa(o.Reconnects), strconv.Itoa(o.Abandoned), strconv.FormatBool(o.Open),
	}
}
