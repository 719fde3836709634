package torture

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A report has every column, an empty one too.
func TestReportColumns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "report.json")
	if err := (&Report{Schema: Schema, Seed: 18446744073709551615}).WriteJSON(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var columns map[string]any
	if err := json.Unmarshal(text, &columns); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"schema", "seed", "faults", "by_kind", "double_runs", "acked_lost", "guests_lost",
		"bystanders_killed", "over_bound", "recovery_s", "failures", "skipped"} {
		if value, ok := columns[name]; !ok || value == nil {
			t.Errorf("%s is %v", name, value)
		}
	}
	if !strings.Contains(string(text), `"seed": 18446744073709551615`) {
		t.Errorf("%s", text)
	}
	for _, name := range []string{"p50", "p99", "max"} {
		if _, ok := columns["recovery_s"].(map[string]any)[name]; !ok {
			t.Errorf("recovery_s has no %s", name)
		}
	}
}

func TestRecoveries(t *testing.T) {
	r := new(Report)
	for i := range 200 {
		r.recover(time.Duration(200-i) * time.Second)
	}
	r.recover(0)
	if want := (Recovery{P50: 101, P99: 198, Max: 200, N: 200}); r.RecoveryS != want {
		t.Errorf("%+v, want %+v", r.RecoveryS, want)
	}
}

func TestContinues(t *testing.T) {
	r := &Report{Schema: Schema, Seed: 3, Next: 8, Kinds: []Kind{Crash}, Guests: 2}
	for _, c := range []struct {
		name   string
		seed   uint64
		kinds  []Kind
		guests int
		faults int
		words  string
	}{
		{"the same", 3, []Kind{Crash}, 2, 20, ""},
		{"one more", 3, []Kind{Crash}, 2, 8, ""},
		{"another seed", 4, []Kind{Crash}, 2, 20, "its seed is 3"},
		{"other kinds", 3, []Kind{Hang}, 2, 20, "other kinds"},
		{"more guests", 3, []Kind{Crash}, 3, 20, "2 guests"},
		{"nothing to do", 3, []Kind{Crash}, 2, 7, "7 faults already"},
	} {
		err := r.Continues(c.seed, c.kinds, c.guests, c.faults)
		if (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := new(Report).Continues(0, nil, 0, 9); err == nil {
		t.Error("a report of another program is continued")
	}
}

func TestWriteText(t *testing.T) {
	r := &Report{Faults: 3, Planned: 4, Skipped: []Skip{{4, ClockStep, "no"}}}
	r.add(Failure{Fault: 2, Faults: []string{"2: crash of node1"}, What: GuestLost, Guest: "vm1",
		Evidence: "last answer 12:00",
		Replay:   "vmferry-lab torture --first 2"})
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(text.String(), "\n")
	for _, want := range []string{"3 of 4 faults, seed 0, 1 skipped", "guest lost: vm1: last answer 12:00",
		"  after 2: crash of node1", "  again: vmferry-lab torture --first 2"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in\n%s", want, text.String())
		}
	}
	if err := r.Err(); err == nil || err.Error() != "after 3 faults: guest lost: 1" {
		t.Errorf("%v", err)
	}
}
