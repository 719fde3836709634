package breakdown

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/report"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// events reads "100 a STOP, 150 b RESUME".
func events(t *testing.T, text string) []Event {
	t.Helper()
	var all []Event
	for one := range strings.SplitSeq(text, ", ") {
		var e Event
		var ms int
		words := strings.SplitN(one, " ", 3)
		if _, err := fmt.Sscan(words[0], &ms); err != nil {
			t.Fatal(err)
		}
		e.Time, e.Node, e.Name = at(ms), words[1], words[2]
		all = append(all, e)
	}
	return all
}

func outage(from, to int) report.Outage {
	return report.Outage{Start: at(from), End: at(to), Ms: float64(to - from), ErrorMs: 1}
}

func TestSplit(t *testing.T) {
	tests := map[string]struct {
		events  string
		outages []report.Outage
		want    string // before pause hand-over relearn unheard
	}{
		"all events": {
			"100 a MIGRATION pre-switchover, 100 a STOP, 130 a MIGRATION completed, 150 b RESUME, 160 b announce, 400 b announce",
			[]report.Outage{outage(95, 200)}, "5 50 20 50 40",
		},
		"only STOP and RESUME": {"100 a vm1 STOP, 150 b vm1 RESUME", []report.Outage{outage(101, 180)},
			"0 49 - 30 -"},
		"shorter than the pause": {"100 a STOP, 150 b RESUME", []report.Outage{outage(110, 140)}, "0 30 - 0 -"},
		"just before the pause":  {"100 a STOP, 150 b RESUME", []report.Outage{outage(90, 100)}, "10 0 - 0 -"},
		"another one is longer": {"100 a STOP, 150 b RESUME", []report.Outage{outage(0, 90), outage(99, 160)},
			"1 50 - 10 -"},
		"a resume at home first": {"50 a STOP, 60 a RESUME, 100 a STOP, 150 b RESUME",
			[]report.Outage{outage(100, 160)}, "0 50 - 10 -"},
		"it stayed":      {"100 a STOP, 150 a RESUME", []report.Outage{outage(100, 160)}, "0 50 - 10 -"},
		"nobody noticed": {"100 a STOP, 150 b RESUME", []report.Outage{outage(300, 360)}, ""},
	}
	for name, tt := range tests {
		r := &report.Report{Targets: []report.Target{{Target: "udp://x:1", Outages: tt.outages}}}
		parts, err := Split(r, events(t, tt.events))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := ""
		for _, p := range parts {
			short := func(v *float64) string { return strings.TrimSuffix(orDash(v), ".0") }
			got += fmt.Sprintf("%v %v %s %v %s", p.BeforeMs, p.PauseMs, short(p.HandOverMs), p.RelearnMs,
				short(p.UnheardMs))
			if p.BeforeMs+p.PauseMs+p.RelearnMs != p.BlackoutMs {
				t.Errorf("%s: %+v does not add up", name, p)
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestSplitWithoutAMove(t *testing.T) {
	for _, text := range []string{"1 a STOP", "1 a RESUME, 2 a STOP", "1 a START"} {
		if parts, err := Split(&report.Report{}, events(t, text)); err == nil {
			t.Errorf("%s: %+v", text, parts)
		}
	}
}

func TestReadEvents(t *testing.T) {
	const text = `[{"time":"2026-01-02T03:04:06Z","node":"b","event":"RESUME","more":1},{"time":"2026-01-02T03:04:05Z","node":"a","event":"STOP"}]`
	got, err := ReadEvents(strings.NewReader(text), time.Second)
	if err != nil || len(got) != 2 || got[0].Name != "STOP" || !got[0].Time.Equal(at(1000)) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "{}", "[{}]", `[{"time":"soon","event":"STOP"}]`,
		`[{"time":"2026-01-02T03:04:06Z"}]`} {
		if got, err := ReadEvents(strings.NewReader(bad), 0); err == nil {
			t.Errorf("%s is read as %+v", bad, got)
		}
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add([]byte(`[{"time":"2026-01-02T03:04:06Z","node":"b","event":"RESUME"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, err := ReadEvents(bytes.NewReader(data), 0)
		if err != nil {
			return
		}
		r := &report.Report{Targets: []report.Target{{Outages: []report.Outage{outage(0, 100)}}}}
		parts, _ := Split(r, events)
		var b bytes.Buffer
		if err := WriteTable(&b, parts); err != nil {
			t.Error(err)
		}
	})
}

func TestWriteTable(t *testing.T) {
	hand := 20.0
	var b bytes.Buffer
	err := WriteTable(&b, []Parts{{Target: "udp://x:1", From: "a", To: "b", BlackoutMs: 105, ErrorMs: 1, BeforeMs: 5,
		PauseMs: 50, HandOverMs: &hand, RelearnMs: 50, Open: true}})
	if err != nil || !strings.Contains(b.String(),
		"udp://x:1  a → b  105.0 (open)  ±1.0   5.0     50.0   20.0       50.0     -") {
		t.Errorf("%v\n%s", err, b.String())
	}
	b.Reset()
	if err := WriteTable(&b, nil); err != nil || !strings.Contains(b.String(), "no target had an outage") {
		t.Errorf("%v\n%s", err, b.String())
	}
}
