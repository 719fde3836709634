package history

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/qmp"
	"github.com/vmferry/vmferry/migrate/record"
)

// passed is the record of a move over a link of 20 MiB/s whose passes took so many milliseconds.
func passed(ms ...int) record.Record {
	at := time.Now()
	r := taught()
	r.Guest, r.UUID, r.Used, r.Ended = "web", guestUUID, 200*mib, at
	r.Rate, r.Cap, r.Phases = 21*mib, 20*mib, nil
	for i, took := range append(ms, 0) {
		r.Phases = append(r.Phases, qmp.Phase{Name: qmp.PhasePass, Side: qmp.Source, Pass: i + 1, Stamp: at})
		at = at.Add(time.Duration(took) * time.Millisecond)
	}
	r.Phases = append(r.Phases, qmp.Phase{Name: qmp.PhaseStop, Side: qmp.Source, Stamp: at})
	r.Phases = append(r.Phases, qmp.Phase{Name: qmp.PhaseDevice, Side: qmp.Source,
		Stamp: at.Add(10 * time.Millisecond)})
	r.Phases = append(r.Phases, qmp.Phase{Name: qmp.PhaseCompleted, Side: qmp.Source,
		Stamp: at.Add(18 * time.Millisecond)})
	return r
}

func TestProfileLearns(t *testing.T) {
	rate := uint64(7 * mib)
	half := 0.25
	old := Profile{UUID: guestUUID, WorkingSet: 32 * mib, Touched: 0.5, DirtyRate: 9 * mib, Moves: 3}
	for _, c := range []struct {
		name  string
		old   Profile
		rec   record.Record
		spoil func(*record.Record)
		want  Profile
		ok    bool
	}{
		{"passes of 100, 32, 10 and 4 MiB", Profile{}, passed(5000, 1600, 500, 200), func(*record.Record) {},
			Profile{UUID: guestUUID, WorkingSet: 32 * mib, Touched: 0.5, DirtyRate: 6553600, Moves: 1}, true},
		{"the same set each time, and the last pass cut short by a raised limit", Profile{},
			passed(5000, 1600, 1600, 1400, 300), func(*record.Record) {},
			Profile{UUID: guestUUID, WorkingSet: 32 * mib, Touched: 0.5, DirtyRate: 20 * mib, Moves: 1}, true},
		{"an idle guest: one pass", Profile{}, passed(5000, 2), func(*record.Record) {},
			Profile{UUID: guestUUID, Touched: 0.5, Moves: 1}, true},
		{"the rate by a measurement", Profile{}, passed(5000, 2), func(r *record.Record) { r.DirtyRate = &rate },
			Profile{UUID: guestUUID, Touched: 0.5, DirtyRate: rate, Moves: 1}, true},
		{"it was aborted: its passes count", Profile{}, passed(5000, 1600),
			func(r *record.Record) { r.Outcome, r.Rung = record.Stayed, "" },
			Profile{UUID: guestUUID, WorkingSet: 32 * mib, DirtyRate: 6710886, Moves: 1}, true},
		{"it was slowed down: the second pass alone counts", old, passed(5000, 1600, 400),
			func(r *record.Record) { r.Throttle = 20 },
			Profile{UUID: guestUUID, WorkingSet: 32 * mib, Touched: 0.5, DirtyRate: 9 * mib, Moves: 4}, true},
		{"with XBZRLE: the same, and what it sent", old, passed(5000, 1600, 200),
			func(r *record.Record) { r.Compressed, r.Compression, r.Delta = true, "xbzrle", &half },
			Profile{UUID: guestUUID, WorkingSet: 32 * mib, Touched: 0.5, DirtyRate: 9 * mib, Delta: 0.25, Moves: 4},
			true},
		{"with zstd: by how much it shrank", old, passed(5000, 2),
			func(r *record.Record) { r.Compressed, r.Compression, r.Pages = true, "zstd", 300*mib },
			Profile{UUID: guestUUID, WorkingSet: 32 * mib, Touched: 0.5, DirtyRate: 9 * mib, Shrink: 3, Moves: 4},
			true},
		{"others had a part of the link", old, passed(5000, 1600),
			func(r *record.Record) { r.Shared, r.DirtyRate = true, &rate },
			Profile{UUID: guestUUID, WorkingSet: 32 * mib, Touched: 0.5, DirtyRate: rate, Moves: 4}, true},
		{"no events", old, passed(), func(r *record.Record) { r.Phases = nil }, old, false},
		{"it was busy, and is idle now: 2 ms and a burst", old, passed(5000, 2), func(*record.Record) {},
			Profile{UUID: guestUUID, WorkingSet: 2139095, Touched: 0.5, DirtyRate: 427819, Moves: 4}, true},
		{"it was busy, and a measurement found nothing", old, passed(5000, 2),
			func(r *record.Record) { r.DirtyRate = new(uint64) },
			Profile{UUID: guestUUID, WorkingSet: 32 * mib, Touched: 0.5, Moves: 4}, true},
		{"it was slowed down: short passes say nothing", old, passed(5000, 2),
			func(r *record.Record) { r.Throttle = 20 },
			Profile{UUID: guestUUID, WorkingSet: 32 * mib, Touched: 0.5, DirtyRate: 9 * mib, Moves: 4}, true},
		{"it writes more than it did", Profile{UUID: guestUUID, DirtyRate: mib, Moves: 3}, passed(5000, 1600),
			func(*record.Record) {},
			Profile{UUID: guestUUID, WorkingSet: 32 * mib, Touched: 0.5, DirtyRate: 6710886, Moves: 4}, true},
		{"it writes less than it did", Profile{UUID: guestUUID, WorkingSet: 90 * mib, DirtyRate: 300 * mib, Moves: 3},
			passed(5000, 1600), func(*record.Record) {},
			Profile{UUID: guestUUID, WorkingSet: 32 * mib, Touched: 0.5, DirtyRate: 6710886, Moves: 4}, true},
		{"the first passes had a pace of 20 MiB/s, and the others the whole link", Profile{},
			passed(5000, 1600, 100, 100), func(r *record.Record) {
				r.Pace, r.Cap, r.Rate = 20*mib, 0, 1000*mib
			}, Profile{UUID: guestUUID, WorkingSet: 32 * mib, Touched: 0.5, DirtyRate: 6710886, Moves: 1}, true},
		{"XBZRLE was no use, many moves ago", Profile{Delta: 0.6}, passed(5000, 2), func(*record.Record) {},
			Profile{UUID: guestUUID, Touched: 0.5, Delta: 0.6 * 0.9, Moves: 1}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.spoil(&c.rec)
			got, ok := c.old.learn(c.rec)
			got.Updated, got.HandOversMS = time.Time{}, nil
			if !reflect.DeepEqual(got, c.want) || ok != c.ok {
				t.Errorf("\n got %+v, %v\nwant %+v, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

// What a pause holds beyond its last copy is the hand-over, and the device state where there was next to no last copy.
func TestPauseIsParted(t *testing.T) {
	for _, c := range []struct {
		name                   string
		lastCopy               uint64
		limit                  float64 // milliseconds
		device, handOver, rate float64 // milliseconds, and MiB/s
	}{
		{"nothing to copy", 0, 2, 8, 32, 0},
		{"16 MiB", 16 * mib, 500, 0, 32, 2000},
	} {
		r := passed(5000, 2)
		r.DowntimeLimitsMS = []float64{2, c.limit}
		r.Predicted = &record.Forecast{Rung: r.Rung, LastCopy: c.lastCopy}
		device, known := device(&r)
		if known != (c.device > 0) || known && device != c.device {
			t.Errorf("%s: device state %v, %v", c.name, device, known)
		}
		if got, ok := r.HandOver(); !ok || got != c.handOver {
			t.Errorf("%s: hand-over %v, %v", c.name, got, ok)
		}
		if got, ok := r.LastCopyRate(); ok != (c.rate > 0) || ok && got != c.rate*mib {
			t.Errorf("%s: last copy at %v, %v", c.name, got, ok)
		}
	}
}

func TestGuestsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", GuestsFile)
	if guests, err := ReadGuests(path); guests != nil || err != nil {
		t.Errorf("no file: %v, %v", guests, err)
	}
	for range 2 {
		if err := LearnGuest(path, passed(5000, 1600)); err != nil {
			t.Fatal(err)
		}
	}
	other := passed(5000, 800)
	other.UUID = strings.Repeat("9", 8) + guestUUID[8:]
	guests, err := ReadGuests(path)
	if err != nil || guests["web"].Moves != 2 || guests["web"].WorkingSet != 32*mib {
		t.Errorf("%+v, %v", guests, err)
	}
	if p := guests["web"].Of(other.UUID); p.Moves > 0 {
		t.Errorf("another guest of its name has %+v", p)
	}
	if err := LearnGuest(path, other); err != nil {
		t.Fatal(err)
	}
	if guests, err = ReadGuests(path); err != nil || guests["web"].Moves != 1 || guests["web"].WorkingSet != 16*mib {
		t.Errorf("the guest that has its name now: %+v, %v", guests, err)
	}
}

// Entries that no move can have taught, and those that are old, say nothing.
func TestGuestsFileHostile(t *testing.T) {
	now := time.Now()
	text := func(p Profile) string { data, _ := json.Marshal(p); return string(data) }
	good := Profile{WorkingSet: mib, Touched: 1, Moves: 1, Updated: now}
	with := func(change func(*Profile)) string { p := good; change(&p); return text(p) }
	for _, c := range []struct {
		name, entry string
		want        bool
	}{
		{"good", text(good), true},
		{"../../etc/passwd\x00\n", text(good), true},
		{"", text(good), false},
		{"old", with(func(p *Profile) { p.Updated = now.Add(-guestsAge) }), false},
		{"of the future", with(func(p *Profile) { p.Updated = now.Add(2 * clockSlip) }), false},
		{"more than all", with(func(p *Profile) { p.Touched = 1.5 }), false},
		{"negative", with(func(p *Profile) { p.DevicesMS = []float64{-1} }), false},
		{"an hour of hand-over", with(func(p *Profile) { p.HandOversMS = []float64{1, 3.6e6} }), false},
		{"an hour of device state", with(func(p *Profile) { p.DevicesMS = []float64{3.6e6} }), false},
		{"huge", with(func(p *Profile) { p.WorkingSet = math.MaxUint64 }), false},
		{"grows when it is compressed", with(func(p *Profile) { p.Shrink = 0.5 }), false},
	} {
		path := filepath.Join(t.TempDir(), GuestsFile)
		name, _ := json.Marshal(c.name)
		if err := os.WriteFile(path, fmt.Appendf(nil, `{"schema":1,"guests":{%s:%s}}`, name, c.entry),
			0o600); err != nil {
			t.Fatal(err)
		}
		guests, err := ReadGuests(path)
		if _, ok := guests[c.name]; err != nil || ok != c.want {
			t.Errorf("%q: %+v, %v", c.name, guests, err)
		}
	}
}

func TestGuestsFileBounded(t *testing.T) {
	guests, now := map[string]Profile{}, time.Now()
	for i := range 10 {
		guests[fmt.Sprint(i)] = Profile{Updated: now.Add(-time.Duration(i) * time.Hour)}
	}
	if youngest(guests, 3); len(guests) != 3 || guests["0"].Updated != now || guests["2"].Updated.IsZero() {
		t.Errorf("%+v", guests)
	}
}

// FuzzReadGuests: whatever is in the file, nobody gets a value that no move can have taught.
func FuzzReadGuests(f *testing.F) {
	f.Add([]byte(`{"schema":1,"guests":{"web":{"uuid":"x","working_set":1,"touched":0.5,` +
		`"updated":"2026-01-01T00:00:00Z","moves":1}}}`))
	f.Add([]byte(`{"schema":1,"guests":{"":{"touched":-1e308}}}`))
	f.Add([]byte(`{"schema":1,"guests":null}`))
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	path := filepath.Join(f.TempDir(), GuestsFile)
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		read, err := read(path)
		guests := valid(read.Guests, now)
		if err != nil && len(guests) > 0 {
			t.Errorf("%v, and %v", guests, err)
		}
		for name, p := range guests {
			if name == "" || !p.valid(now) || !(p.Touched >= 0 && p.Touched <= 1) || p.WorkingSet > 1<<50 ||
				p.DirtyRate > 1<<50 {
				t.Errorf("%q: %+v", name, p)
			}
		}
	})
}

func TestMedian(t *testing.T) {
	var seen []float64
	for _, c := range []struct{ value, want float64 }{{90, 90}, {10, 30}, {20, 20}, {20, 20}, {80, 20}, {5, 20},
		{5, 20}, {5, 5}} {
		if seen = latest(seen, c.value); Median(seen) != c.want || len(seen) > recent {
			t.Errorf("of %v: %v, want %v", seen, Median(seen), c.want)
		}
	}
	if Median(nil) != 0 {
		t.Error("of nothing")
	}
}

const (
	mib       = 1 << 20
	guestUUID = "11111111-2222-3333-4444-555555555555"
)
