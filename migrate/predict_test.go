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
	"github.com/vmferry/vmferry/migrate/predict"
	"github.com/vmferry/vmferry/migrate/record"
)

// known is what earlier moves taught of the link to the target.
func (p *pair) known(l history.Link) {
	p.deps.Links = filepath.Join(p.deps.Slots.Dir, history.LinksFile)
	remember(p.deps.Links, map[string]any{"schema": 1, "peers": map[string]history.Link{"node2": l}})
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
		{"there is time", 2 * time.Minute, func(*pair) {}, predict.MeasureTime, true, true},
		{"no deadline", 0, func(*pair) {}, predict.MeasureTime, true, true},
		{"the window is short", 20 * time.Second, func(*pair) {}, 0, false, true},
		{"the first pass takes no time", 0, func(p *pair) { p.known(history.Link{Bandwidth: 1 << 30}) }, 0, false,
			true},
		{"it was measured a minute ago", 0, func(p *pair) { p.Source.Guest.Dirty.Since = time.Now().Add(-time.Minute) },
			0, true, true},
		{"it was measured an hour ago", 0, func(p *pair) { p.Source.Guest.Dirty.Since = time.Now().Add(-time.Hour) },
			predict.MeasureTime, true, true},
		{"cannot measure", 0, func(p *pair) { p.Source.GaugeErr = libvirt.ErrUnsupported }, 0, false, true},
		{"nothing known of the link, and a large guest", 0,
			func(p *pair) { p.known(history.Link{}); p.Source.Guest.Resident = 1 << 30 }, predict.MeasureTime, true,
			false},
		{"nothing known of the link, and a small one", 0, func(p *pair) { p.known(history.Link{}) }, 0, false, false},
		{"what was known is broken", 0, func(p *pair) { p.deps.Links = t.TempDir() }, 0, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.Source.GaugeErr, p.Source.Guest = nil, load
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
				if step, ok := rec.LastStep("predict"); !ok || step.MS != record.Millis(c.waited) {
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
			p.Source.Guest = libvirt.Load{Memory: 100 << 20}
			p.remembered(history.Profile{UUID: guestUUID, DevicesMS: []float64{2}, HandOversMS: c.own, Moves: 3})
			rec, err := Move(t.Context(), p.req, p.deps)
			if err != nil || rec.Predicted == nil || math.Round(rec.Predicted.PauseMS) != c.want {
				t.Errorf("%v: %+v, %v; want a pause of %v ms", c.own, rec.Predicted, err, c.want)
			}
		}
	})
}

// remember writes a file of what moves have taught.
func remember(path string, doc any) {
	data, err := json.Marshal(doc)
	if err := errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o600)); err != nil {
		panic(err)
	}
}
