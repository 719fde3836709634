package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// known is what earlier moves taught of the link to the target.
func (p *pair) known(l history.Link) {
	p.deps.Links = filepath.Join(p.deps.Slots.Dir, history.LinksFile)
	remember(p.deps.Links, map[string]any{"schema": 1, "peers": map[string]history.Link{"node2": l}})
}

// gauge is a Gauge whose measurement ends at a time.
type gauge struct {
	load   libvirt.Load
	ready  time.Time
	start  error
	broken error
}

func (g *gauge) StartDirtyRate(context.Context, string, time.Duration) error { return g.start }

func (g *gauge) Load(context.Context, string) (libvirt.Load, error) {
	load := g.load
	load.Dirty.Measured = !time.Now().Before(g.ready)
	return load, g.broken
}

func TestMeasure(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name     string
		slow     time.Duration // how long after its begin the measurement ends
		gauge    gauge
		measured bool
		took     time.Duration
		err      error
	}{
		{"measured", time.Second, gauge{}, true, time.Second, nil},
		{"later than it should", 1250 * time.Millisecond, gauge{}, true, 1300 * time.Millisecond, nil},
		{"cannot be measured", 0, gauge{start: libvirt.ErrUnsupported}, false, 0, nil},
		{"no answer", 0, gauge{broken: broken}, false, time.Second, broken},
		{"does not end in time", time.Hour, gauge{}, false, 3 * time.Second, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				begin := time.Now()
				c.gauge.ready = begin.Add(c.slow)
				c.gauge.load = libvirt.Load{Memory: 7, Dirty: libvirt.Dirty{Rate: 5}}
				load, err := Measure(ctx, &c.gauge, "web", time.Second)
				if !errors.Is(err, c.err) || load.Dirty.Measured != c.measured || time.Since(begin) != c.took {
					t.Errorf("%+v, %v after %v", load, err, time.Since(begin))
				}
			})
		})
	}
}

// TestPredictionInTheRecord moves a guest whose load and link are known.
func TestPredictionInTheRecord(t *testing.T) {
	load := libvirt.Load{Memory: 1 << 30, Resident: 600 << 20, Dirty: libvirt.Dirty{Measured: true, Rate: 1 << 20}}
	for _, c := range []struct {
		name    string
		window  time.Duration
		spoil   func(p *pair)
		waited  time.Duration
		dirty   bool
		predict bool
	}{
		{"there is time", 2 * time.Minute, func(*pair) {}, measureSpan + measureSlip, true, true},
		{"no deadline", 0, func(*pair) {}, measureSpan + measureSlip, true, true},
		{"the window is short", 20 * time.Second, func(*pair) {}, 0, false, true},
		{"the first pass takes no time", 0, func(p *pair) { p.known(history.Link{Bandwidth: 1 << 30}) }, 0, false, true},
		{"it was measured a minute ago", 0, func(p *pair) { p.source.load.Dirty.Since = time.Now().Add(-time.Minute) }, 0, true, true},
		{"it was measured an hour ago", 0, func(p *pair) { p.source.load.Dirty.Since = time.Now().Add(-time.Hour) }, measureSpan + measureSlip, true, true},
		{"cannot measure", 0, func(p *pair) { p.source.gauge = libvirt.ErrUnsupported }, 0, false, true},
		{"nothing known of the link, and a large guest", 0, func(p *pair) { p.known(history.Link{}); p.source.load.Resident = 1 << 30 }, measureSpan + measureSlip, true, false},
		{"nothing known of the link, and a small one", 0, func(p *pair) { p.known(history.Link{}) }, 0, false, false},
		{"what was known is broken", 0, func(p *pair) { p.deps.Links = t.TempDir() }, 0, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.source.gauge, p.source.load = nil, load
				p.known(history.Link{Bandwidth: 100 << 20})
				c.spoil(p)
				ctx := t.Context()
				if c.window > 0 {
					timed, cancel := context.WithTimeout(ctx, c.window)
					defer cancel()
					ctx = timed
				}
				rec, err := Move(ctx, p.req, p.deps)
				if err != nil {
					t.Fatal(err)
				}
				if step, ok := rec.LastStep("predict"); !ok || step.MS != millis(c.waited) {
					t.Errorf("predicting took %v ms, want %v", step.MS, c.waited)
				}
				if rec.Used < 600<<20 || (rec.DirtyRate != nil) != c.dirty || (rec.Predicted != nil) != c.predict {
					t.Errorf("used %d, dirty rate %v, predicted %+v", rec.Used, rec.DirtyRate, rec.Predicted)
				}
			})
		})
	}
}

// remembered is what earlier moves taught of the guest.
func (p *pair) remembered(known history.Profile) {
	p.deps.Guests = filepath.Join(p.deps.Slots.Dir, history.GuestsFile)
	known.Updated = time.Now()
	remember(p.deps.Guests, map[string]any{"schema": 1, "guests": map[string]history.Profile{"web": known}})
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// A guest's own hand-over goes before that of the link, which other guests taught. The last copy takes 2 ms here.
func TestOwnHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			own  []float64
			want float64
		}{{nil, 14}, {[]float64{31, 30, 90}, 35}} {
			p := newPair(t)
			p.known(history.Link{Bandwidth: 100 << 20, HandOverMS: 10})
			p.source.load = libvirt.Load{Memory: 100 << 20}
			p.remembered(history.Profile{UUID: guestUUID, DevicesMS: []float64{2}, HandOversMS: c.own, Moves: 3})
			rec, err := Move(t.Context(), p.req, p.deps)
			if err != nil || rec.Predicted == nil || math.Round(rec.Predicted.PauseMS) != c.want {
				t.Errorf("%v: %+v, %v; want a pause of %v ms", c.own, rec.Predicted, err, c.want)
			}
		}
	})
}

// TestProfileWrites weighs what a move showed against QEMU's samples.
func TestProfileWrites(t *testing.T) {
	known := history.Profile{DirtyRate: 16 * mib, WorkingSet: 32 * mib}
	for _, c := range []struct {
		name     string
		known    history.Profile
		measured uint64 // MiB/s, 0 for none
		rate     float64
		set      uint64
	}{
		{"nothing is known", history.Profile{}, 0, 0, 0},
		{"measured alone", history.Profile{}, 20, 20, 0},
		{"remembered alone", known, 0, 16, 32},
		{"measured nearly the same", known, 20, 16, 32},
		{"it writes more now", known, 30, 30, 32},
		{"it writes less now", known, 2, 2, 32},
		{"it writes more in a second than all that passes found", known, 60, 60, 0},
	} {
		rate, set := writes(c.known, libvirt.Dirty{Measured: c.measured > 0, Rate: c.measured * mib})
		if rate != c.rate*mib || set != c.set*mib {
			t.Errorf("%s: %v MiB/s of %d MiB, want %v, %d", c.name, rate/mib, set/mib, c.rate, c.set)
		}
	}
}

// remember writes a file of what moves have taught.
func remember(path string, doc any) {
	data, err := json.Marshal(doc)
	if err := errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o600)); err != nil {
		panic(err)
	}
}
