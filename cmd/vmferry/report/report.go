package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vmferry/vmferry/migrate/record"
)

// Schema is the version of Report's JSON form. Fields may be added without a
// new one; a field that changes its meaning or goes away makes one.
const Schema = 1

// Report is a number of migrations, oldest first, and what they have in common.
type Report struct {
	Schema  int             `json:"schema"`
	Node    string          `json:"node"`
	Since   time.Time       `json:"since,omitzero"` // absent for all
	Summary Summary         `json:"summary"`
	Records []record.Record `json:"records"`
}

// Summary counts and ranks. Times are in milliseconds.
type Summary struct {
	Moved        int     `json:"moved"`
	Stayed       int     `json:"stayed"`
	Unknown      int     `json:"unknown"`
	Ended        int     `json:"ended,omitempty"`    // taken off the node on a lower rung of the ladder
	Restored     int     `json:"restored,omitempty"` // brought back from a saved state
	BudgetBroken int     `json:"blackout_budget_broken"`
	Duration     *Spread `json:"duration_ms,omitempty"` // of those that moved
	Pause        *Spread `json:"pause_ms,omitempty"`
	Blackout     *Spread `json:"blackout_ms,omitempty"` // the longest of each move that a probe watched
	// Prediction is how good it was: measured over predicted, 1 is exact.
	Prediction Prediction `json:"prediction,omitzero"`
}

// Prediction is the spread of measured over predicted of each measure.
type Prediction struct {
	Duration *Spread `json:"duration,omitempty"`
	Pause    *Spread `json:"pause,omitempty"`
	Blackout *Spread `json:"blackout,omitempty"`
}

// Spread is how a measure is distributed. The percentiles are measured values
// (nearest rank).
type Spread struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// New makes the report of the records that began at since or later; the zero
// time means all.
func New(node string, records []record.Record, since time.Time) *Report {
	r := &Report{Schema: Schema, Node: node, Since: since, Records: []record.Record{}}
	for _, rec := range records {
		if !rec.Started.Before(since) {
			r.Records = append(r.Records, rec)
		}
	}
	slices.SortStableFunc(r.Records, func(a, b record.Record) int { return a.Started.Compare(b.Started) })
	r.Summary = summarize(r.Records)
	return r
}

func summarize(records []record.Record) Summary {
	var s Summary
	var durations, pauses, blackouts []float64
	for _, rec := range records {
		if rec.BudgetKept != nil && !*rec.BudgetKept {
			s.BudgetBroken++
		}
		count := map[record.Outcome]*int{record.Moved: &s.Moved, record.Stayed: &s.Stayed, record.Ended: &s.Ended,
			record.Restored: &s.Restored}[rec.Outcome]
		if count == nil {
			count = &s.Unknown
		}
		*count++
		if rec.Outcome != record.Moved {
			continue
		}
		durations = append(durations, rec.DurationMS)
		if rec.PauseMS != nil {
			pauses = append(pauses, *rec.PauseMS)
		}
		if b := Worst(rec); b != nil {
			blackouts = append(blackouts, b.MS)
		}
	}
	s.Duration, s.Pause, s.Blackout = spread(durations), spread(pauses), spread(blackouts)
	s.Prediction = judge(records)
	return s
}

// judge compares what was predicted with what came.
func judge(records []record.Record) Prediction {
	var durations, pauses, blackouts []float64
	for _, rec := range records {
		f := rec.Predicted
		if f == nil || rec.Outcome != record.Moved {
			continue
		}
		if took := rec.MigrateMS(); took > 0 {
			durations = ratio(durations, &took, f.DurationMS)
		}
		pauses = ratio(pauses, rec.PauseMS, f.PauseMS)
		if b := Worst(rec); b != nil {
			blackouts = ratio(blackouts, &b.MS, f.BlackoutMS)
		}
	}
	return Prediction{spread(durations), spread(pauses), spread(blackouts)}
}

func ratio(list []float64, measured *float64, predicted float64) []float64 {
	if measured == nil || predicted <= 0 {
		return list
	}
	return append(list, *measured/predicted)
}

// Worst is the longest blackout that a probe saw in the move, nil without a
// probe.
func Worst(rec record.Record) *record.Blackout {
	if len(rec.Blackouts) == 0 {
		return nil
	}
	b := slices.MaxFunc(rec.Blackouts, func(a, b record.Blackout) int { return cmp.Compare(a.MS, b.MS) })
	return &b
}

// spread is nil without values.
func spread(values []float64) *Spread {
	n := len(values)
	if n == 0 {
		return nil
	}
	values = slices.Sorted(slices.Values(values))
	rank := func(p float64) float64 { return values[max(int(math.Ceil(p*float64(n)))-1, 0)] }
	return &Spread{N: n, P50: rank(0.5), P99: rank(0.99), Max: values[n-1]}
}

// WriteJSON writes the report as one JSON object, ending in a newline.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// timeForm is how instants are shown, in the local time.
const timeForm = "2006-01-02 15:04:05"

// columns are those of the table and of the page. Times are in milliseconds
// but for the duration, which is in seconds.
var columns = []struct {
	head  string
	value func(record.Record) string
}{
	{"STARTED", func(r record.Record) string { return r.Started.Local().Format(timeForm) }},
	{"GUEST", func(r record.Record) string { return r.Guest }},
	{"TO", func(r record.Record) string { return cmp.Or(r.To, none) }},
	{"OUTCOME", func(r record.Record) string { return string(r.Outcome) }},
	{"METHOD", ladder},
	{"SECONDS", func(r record.Record) string { return fmt.Sprintf("%.1f", r.DurationMS/1000) }},
	{"PAUSE", func(r record.Record) string { return ms(r.PauseMS) }},
	{"BLACKOUT", func(r record.Record) string {
		b := Worst(r)
		if b == nil {
			return none
		}
		return ms(&b.MS)
	}},
	{"PREDICTED", func(r record.Record) string {
		if r.Predicted == nil {
			return none
		}
		return fmt.Sprintf("%.1f/%.1f", r.Predicted.PauseMS, r.Predicted.BlackoutMS)
	}},
	{"BUDGET", budget},
	{"SENT", func(r record.Record) string { return mebibytes(r.Transferred) }},
	{"PASSES", func(r record.Record) string { return count(r.Iterations) }},
}

func heads() (out []string) {
	for _, c := range columns {
		out = append(out, c.head)
	}
	return out
}

func cells(rec record.Record) (out []string) {
	for _, c := range columns {
		out = append(out, c.value(rec))
	}
	return out
}

const none = "-"

// ladder is what was tried, with the seconds of each rung. A single one has no time: it is the duration.
func ladder(r record.Record) string {
	if len(r.Rungs) < 2 {
		return cmp.Or(string(r.Rung), none)
	}
	var tried []string
	for _, rung := range r.Rungs {
		tried = append(tried, fmt.Sprintf("%s %.1f", rung.Rung, rung.MS/1000))
	}
	return strings.Join(tried, ", ")
}

func ms(v *float64) string {
	if v == nil {
		return none
	}
	return fmt.Sprintf("%.1f", *v)
}

func mebibytes(n uint64) string {
	if n == 0 {
		return none
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

func count(n int) string {
	if n == 0 {
		return none
	}
	return fmt.Sprint(n)
}

// budget is the blackout that was allowed, and whether it was kept.
func budget(r record.Record) string {
	switch {
	case r.BudgetMS == 0:
		return none
	case r.BudgetKept == nil:
		return fmt.Sprintf("%.0f ?", r.BudgetMS)
	case *r.BudgetKept:
		return fmt.Sprintf("%.0f kept", r.BudgetMS)
	}
	return fmt.Sprintf("%.0f broken", r.BudgetMS)
}

// WriteTable writes the report for people: a line for each migration, the
// reason below each that failed, and the summary.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	if len(r.Records) == 0 {
		b.WriteString("no migration is on record")
		if !r.Since.IsZero() {
			b.WriteString(" since " + r.Since.Local().Format(timeForm))
		}
		b.WriteString("\n")
	} else if err := r.table(&b); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) table(b *strings.Builder) error {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(heads(), "\t"))
	for _, rec := range r.Records {
		fmt.Fprintln(t, strings.Join(cells(rec), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, rec := range r.Records {
		if rec.Error != "" {
			fmt.Fprintf(b, "%s %s: %s\n", rec.Started.Local().Format("15:04:05"), rec.Guest, rec.Error)
		}
	}
	b.WriteString("\n")
	for _, line := range r.Summary.lines() {
		b.WriteString(line + "\n")
	}
	return nil
}

// lines is the summary in words.
func (s Summary) lines() []string {
	lines := []string{fmt.Sprintf("%d moved, %d stayed, %d unknown", s.Moved, s.Stayed, s.Unknown)}
	if s.Ended > 0 {
		lines[0] += fmt.Sprintf(", %d taken off without a live migration", s.Ended)
	}
	if s.Restored > 0 {
		lines[0] += fmt.Sprintf(", %d restored", s.Restored)
	}
	if s.BudgetBroken > 0 {
		lines[0] += fmt.Sprintf("; the blackout budget was broken %d times", s.BudgetBroken)
	}
	const measured = "%s: median %.1f ms, 99 %% within %.1f ms, longest %.1f ms (%d measured)"
	const predicted = "%s, measured over predicted: median %.2f, 99 %% within %.2f, worst %.2f (%d predicted)"
	for _, row := range []struct {
		form, name string
		of         *Spread
	}{
		{measured, "duration", s.Duration}, {measured, "pause", s.Pause}, {measured, "blackout", s.Blackout},
		{predicted, "duration", s.Prediction.Duration}, {predicted, "pause", s.Prediction.Pause},
		{predicted, "blackout", s.Prediction.Blackout},
	} {
		if row.of != nil {
			lines = append(lines, fmt.Sprintf(row.form, row.name, row.of.P50, row.of.P99, row.of.Max, row.of.N))
		}
	}
	return lines
}
