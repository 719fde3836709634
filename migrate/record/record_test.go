package record

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

func TestAddXBZRLE(t *testing.T) {
	for _, c := range []struct {
		name       string
		stats      libvirt.XBZRLEStats
		hit, delta float64 // -1 for none
	}{
		{"without XBZRLE", libvirt.XBZRLEStats{Page: 4096}, -1, -1},
		{"three pages of four were in the cache, and a quarter of each was sent",
			libvirt.XBZRLEStats{Pages: 75, Misses: 25, Bytes: 75 * 1024, Page: 4096}, 0.75, 0.25},
		{"a half of them as a whole", libvirt.XBZRLEStats{Pages: 100, Overflows: 50, Bytes: 50 * 4096, Page: 4096}, 1,
			0.5},
		{"a third of them as a whole, of the others a tenth",
			libvirt.XBZRLEStats{Pages: 30, Overflows: 10, Bytes: 12 * 4096, Page: 4096}, 1, 0.4},
		{"all of them", libvirt.XBZRLEStats{Pages: 50, Overflows: 50, Bytes: 50 * 4096, Misses: 50, Page: 4096}, 0.5,
			1},
		{"the second pass alone", libvirt.XBZRLEStats{Misses: 50, Page: 4096}, 0, -1},
	} {
		var r Record
		r.AddXBZRLE(c.stats)
		value := func(v *float64) float64 {
			if v == nil {
				return -1
			}
			return *v
		}
		if value(r.HitRate) != c.hit || value(r.Delta) != c.delta {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, value(r.HitRate), value(r.Delta), c.hit, c.delta)
		}
	}
}

func TestJudgeBudget(t *testing.T) {
	yes, no := true, false
	ms := func(v float64) *float64 { return &v }
	seen := func(values ...float64) (all []Blackout) {
		for _, v := range values {
			all = append(all, Blackout{"udp://192.0.2.7:7", v, 1})
		}
		return all
	}
	for _, c := range []struct {
		name  string
		rec   Record
		seen  []Blackout
		want  *bool
		total int
	}{
		{"no budget", Record{Outcome: Moved}, seen(500), nil, 1},
		{"nobody watched, a short pause", Record{Outcome: Moved, BudgetMS: 250, PauseMS: ms(40)}, nil, nil, 0},
		{"nobody watched, a long pause", Record{Outcome: Moved, BudgetMS: 250, PauseMS: ms(300)}, nil, &no, 0},
		{"kept", Record{Outcome: Moved, BudgetMS: 250, PauseMS: ms(40)}, seen(100, 250), &yes, 2},
		{"one of two broke it", Record{Outcome: Moved, BudgetMS: 250, PauseMS: ms(40)}, seen(100, 251), &no, 2},
		{"added to what was known", Record{Outcome: Moved, BudgetMS: 250, Blackouts: seen(300)}, seen(100), &no, 2},
		{"not moved", Record{Outcome: Stayed, BudgetMS: 250}, seen(10), nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.rec.Judge(c.seen)
			c.rec.Judge(nil)
			if got := c.rec.BudgetKept; (got == nil) != (c.want == nil) || got != nil && *got != *c.want ||
				len(c.rec.Blackouts) != c.total {
				t.Errorf("kept %v of %+v", got, c.rec)
			}
		})
	}
}

// TestRecordNames holds the names that other programs read.
func TestRecordNames(t *testing.T) {
	line, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"schema", "guest", "from", "to", "started", "ended", "outcome", "verified", "steps",
		"pause_ms", "downtime_limits_ms",
		"means", "predicted", "used", "dirty_rate", "rate"} {
		if _, ok := m[name]; !ok {
			t.Errorf("%q is missing in %s", name, line)
		}
	}
}

// sample is a record with something in each of its parts.
func sample() Record {
	pause := 35.5
	return Record{Schema: Schema, Guest: "a", Outcome: Moved, Started: time.Unix(1, 0).UTC(),
		Ended:   time.Unix(2, 0).UTC(),
		PauseMS: &pause, DowntimeLimitsMS: []float64{30, 60}, Rung: ladder.Live, Used: 7, DirtyRate: new(uint64),
		Rate:      9,
		Predicted: &Forecast{Rung: ladder.Live, DurationMS: 900, PauseMS: 30, Kept: true},
		Steps:     []Step{{Name: "slot", Begin: time.Unix(1, 0).UTC(), MS: 1}}}
}
