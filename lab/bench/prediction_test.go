package bench

import (
	"strings"
	"testing"

	"github.com/vmferry/vmferry/migrate/record"
)

func TestAccuracy(t *testing.T) {
	pause := 40.0
	steps := func(ms ...float64) (all []record.Step) {
		for _, took := range ms {
			all = append(all, record.Step{Name: "migrate", MS: took}, record.Step{Name: "verify", MS: 7})
		}
		return all
	}
	good := record.Record{Guest: "a", Steps: steps(3000), PauseMS: &pause,
		Predicted: &record.Forecast{DurationMS: 2000, PauseMS: 60}}
	for _, c := range []struct {
		name            string
		spoil           func(*record.Record)
		duration, pause float64
		err             string
	}{
		{"too short and too long", func(*record.Record) {}, 1.5, 1.5, ""},
		{"begun twice", func(r *record.Record) { r.Steps = steps(3000, 1000) }, 2, 1.5, ""},
		{"nothing was to come", func(r *record.Record) { r.Predicted = &record.Forecast{DurationMS: 3000} }, 1, 1000, ""},
		{"no prediction", func(r *record.Record) { r.Predicted = nil }, 0, 0, "no prediction"},
		{"no pause", func(r *record.Record) { r.PauseMS = nil }, 0, 0, "nothing to compare"},
	} {
		r := good
		c.spoil(&r)
		got, err := accuracyOf(r)
		if got.duration != c.duration || got.pause != c.pause || (err != nil) != (c.err != "") || err != nil &&
			!strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

func TestAccuracies(t *testing.T) {
	all := []errorFactors{{duration: 1.5, pause: 2.1}, {duration: 1.1, pause: 1}, {duration: 1.51, pause: 9},
		{duration: 1, pause: 2}}
	results := accuracies(all, []string{"calm: well"})
	for i, want := range []float64{75, 50} {
		if r := results[i]; r.Ours.P50 != want || r.N != 4 || r.Unit != "%" {
			t.Errorf("%+v, want %v", r, want)
		}
	}
	notes := strings.Join(results[0].Notes, "\n")
	for _, want := range []string{"factor of 1.5", "calm: well",
		"duration p50 1.10, p90 1.51; of the pause p50 2.00, p90 9.00; n 4"} {
		if !strings.Contains(notes, want) {
			t.Errorf("%q is not in %q", want, notes)
		}
	}
	if r := accuracies(nil, nil); r[0].Ours.P50 != 0 {
		t.Errorf("of no moves: %+v", r)
	}
}
