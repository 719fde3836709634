package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/record"
)

func of(v float64) *float64 { return &v }

// sample is three migrations, in no order.
func sample() []record.Record {
	at := func(hour int) time.Time { return time.Date(2026, 11, 20, hour, 0, 0, 0, time.UTC) }
	broken := false
	return []record.Record{
		{Guest: "web", To: "n2", Started: at(12), Outcome: record.Stayed, Error: "<script>alert(1)</script>"},
		{Guest: "db", To: "n2", Started: at(10), Outcome: record.Moved, DurationMS: 4000, PauseMS: of(20),
			BudgetMS: 50, BudgetKept: &broken,
			Blackouts: []record.Blackout{{Target: "udp://x:1", MS: 44}, {Target: "tcp://x:1", MS: 80, ErrorMS: 1}},
			Steps:     []record.Step{{Name: "migrate", MS: 3000}}, Predicted: &record.Forecast{DurationMS: 2000,
				PauseMS: 40, BlackoutMS: 0}},
		{Guest: "db", To: "n1", Started: at(11), Outcome: record.Moved, DurationMS: 2000, PauseMS: of(10),
			Notes: []string{"a note"}},
		{Guest: "x", To: "n1", Started: at(13), Outcome: record.Unknown},
	}
}

func TestSummary(t *testing.T) {
	s := New("n1", sample(), time.Time{}).Summary
	if s.Moved != 2 || s.Stayed != 1 || s.Unknown != 1 || s.BudgetBroken != 1 {
		t.Errorf("counts: %+v", s)
	}
	for _, test := range []struct {
		name string
		got  *Spread
		want Spread
	}{
		{"duration", s.Duration, Spread{2, 2000, 4000, 4000}},
		{"pause", s.Pause, Spread{2, 10, 20, 20}},
		{"blackout", s.Blackout, Spread{1, 80, 80, 80}},
		{"predicted duration", s.Prediction.Duration, Spread{1, 1.5, 1.5, 1.5}},
		{"predicted pause", s.Prediction.Pause, Spread{1, 0.5, 0.5, 0.5}},
	} {
		if test.got == nil || *test.got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, test.got, test.want)
		}
	}
	if s.Prediction.Blackout != nil {
		t.Error("a prediction of nothing was compared")
	}
}

func TestSince(t *testing.T) {
	r := New("n1", sample(), time.Date(2026, 11, 20, 11, 0, 0, 0, time.UTC))
	var order []string
	for _, rec := range r.Records {
		order = append(order, rec.Guest+rec.To)
	}
	if got := strings.Join(order, " "); got != "dbn1 webn2 xn1" {
		t.Errorf("records %q", got)
	}
}

func TestSpread(t *testing.T) {
	values := make([]float64, 200)
	for i := range values {
		values[i] = float64(200 - i)
	}
	if got := spread(values); *got != (Spread{200, 100, 198, 200}) {
		t.Errorf("%+v", got)
	}
	if spread(nil) != nil {
		t.Error("nothing has a spread")
	}
}

// The page is one well-formed document that escapes what guests are called, and
// loads nothing.
func TestPage(t *testing.T) {
	var b bytes.Buffer
	if err := New("n<1>", sample(), time.Unix(0, 0)).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{"<h1>Migrations of n&lt;1&gt;</h1>", `class="pause"`, `class="blackout"`,
		`class="failed"`, "a note", "&lt;script&gt;", `content="default-src 'none';`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, not := range []string{"<script", "script-src", "http:", "https:", "src=", "href=", "NaN", "Inf"} {
		if strings.Contains(page, not) {
			t.Errorf("the page has %q", not)
		}
	}
	d := xml.NewDecoder(&b)
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
	}
}

func TestEmpty(t *testing.T) {
	r := New("n1", nil, time.Time{})
	var table, page, text bytes.Buffer
	if err := errors.Join(r.WriteTable(&table), r.WriteHTML(&page), r.WriteJSON(&text)); err != nil {
		t.Fatal(err)
	}
	if table.String() != "no migration is on record\n" || !strings.Contains(page.String(),
		"No migration is on record") {
		t.Errorf("%q, %q", table.String(), page.String())
	}
	var doc struct {
		Schema  int
		Records []record.Record
		Summary map[string]any
	}
	if err := json.Unmarshal(text.Bytes(), &doc); err != nil || doc.Schema != Schema || doc.Records == nil ||
		len(doc.Summary) != 4 {
		t.Errorf("%s: %v", text.String(), err)
	}
}
