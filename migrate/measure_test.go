package migrate

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/qmp"
)

// known is what earlier moves taught of the link to the target.
func (p *pair) known(l Link) {
	p.deps.Links = filepath.Join(p.deps.Slots.Dir, LinksFile)
	if err := revise(p.deps.Links, func() any { return linksDoc{linksSchema, map[string]Link{"node2": l}} }); err != nil {
		panic(err)
	}
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
		{"the first pass takes no time", 0, func(p *pair) { p.known(Link{Bandwidth: 1 << 30}) }, 0, false, true},
		{"it was measured a minute ago", 0, func(p *pair) { p.source.load.Dirty.Since = time.Now().Add(-time.Minute) }, 0, true, true},
		{"it was measured an hour ago", 0, func(p *pair) { p.source.load.Dirty.Since = time.Now().Add(-time.Hour) }, measureSpan + measureSlip, true, true},
		{"cannot measure", 0, func(p *pair) { p.source.gauge = libvirt.ErrUnsupported }, 0, false, true},
		{"nothing known of the link, and a large guest", 0, func(p *pair) { p.known(Link{}); p.source.load.Resident = 1 << 30 }, measureSpan + measureSlip, true, false},
		{"nothing known of the link, and a small one", 0, func(p *pair) { p.known(Link{}) }, 0, false, false},
		{"what was known is broken", 0, func(p *pair) { p.deps.Links = t.TempDir() }, 0, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.source.gauge, p.source.load = nil, load
				p.known(Link{Bandwidth: 100 << 20})
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

// taught is the record of a move of a second over a link of 100 MiB/s.
func taught() Record {
	at := func(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }
	pause, handOver := 40.0, 20.0
	return Record{
		Outcome: Moved, To: "node2", Rung: ladder.Live, Ended: at(1700), DurationMS: 1700, Rate: 100 << 20, Transferred: 100 << 20,
		Steps: []Step{{Name: "migrate", Begin: at(0), MS: 1500}}, PauseMS: &pause, HandOverMS: &handOver,
		Blackouts: []Blackout{{Target: "udp://a:7", MS: 70, ErrorMS: 1}, {Target: "tcp://a:7", MS: 52, ErrorMS: 1}},
		Phases:    []qmp.Phase{{Name: qmp.PhaseActive, Side: qmp.Source, Received: at(200)}, {Name: qmp.PhaseResume, Side: qmp.Target, Received: at(1240)}},
	}
}

func TestLearn(t *testing.T) {
	known := Link{Bandwidth: 200 << 20, SetUpMS: 540, HandOverMS: 40, RelearnMS: 10, Moves: 3}
	for _, c := range []struct {
		name  string
		old   Link
		spoil func(r *Record)
		want  Link
		ok    bool
	}{
		{"first move", Link{}, func(*Record) {}, Link{Bandwidth: 100 << 20, SetUpMS: 460, HandOverMS: 20, RelearnMS: 30, Moves: 1}, true},
		{"one more", known, func(*Record) {}, Link{Bandwidth: 150 << 20, SetUpMS: 500, HandOverMS: 28, RelearnMS: 20, Moves: 4}, true},
		{"it sent too little to tell", known, func(r *Record) { r.Transferred = enough - 1 }, Link{Bandwidth: 200 << 20, SetUpMS: 500, HandOverMS: 28, RelearnMS: 20, Moves: 4}, true},
		{"it was bounded, and says nothing of the link", known, func(r *Record) { r.Cap = 100 << 20 }, Link{Bandwidth: 200 << 20, SetUpMS: 500, HandOverMS: 28, RelearnMS: 20, Moves: 4}, true},
		{"others had a part of it", known, func(r *Record) { r.Shared = true }, Link{Bandwidth: 200 << 20, SetUpMS: 500, HandOverMS: 28, RelearnMS: 20, Moves: 4}, true},
		{"it was bounded, and faster than ever", Link{Bandwidth: 50 << 20}, func(r *Record) { r.Cap = 100 << 20 }, Link{Bandwidth: 75 << 20, SetUpMS: 460, HandOverMS: 20, RelearnMS: 30, Moves: 1}, true},
		{"the first one, and it was bounded: the link carries more", Link{}, func(r *Record) { r.Cap = 100 << 20 },
			Link{Bandwidth: 100 << 20, AtLeast: true, SetUpMS: 460, HandOverMS: 20, RelearnMS: 30, Moves: 1}, true},
		{"the first without a bound", Link{Bandwidth: 50 << 20, AtLeast: true}, func(*Record) {},
			Link{Bandwidth: 100 << 20, SetUpMS: 460, HandOverMS: 20, RelearnMS: 30, Moves: 1}, true},
		{"nobody watched", Link{}, func(r *Record) { r.Blackouts = nil }, Link{Bandwidth: 100 << 20, SetUpMS: 460, HandOverMS: 20, Moves: 1}, true},
		{"the last copy was foreseen to take 5 of 40 ms", Link{}, func(r *Record) { r.Predicted = &Forecast{Rung: ladder.Live, LastCopyMS: 5} },
			Link{Bandwidth: 100 << 20, SetUpMS: 460, HandOverMS: 35, RelearnMS: 30, Moves: 1}, true},
		{"it was foreseen by other means", Link{}, func(r *Record) { r.Predicted = &Forecast{Rung: ladder.Converge, LastCopyMS: 5} },
			Link{Bandwidth: 100 << 20, SetUpMS: 460, HandOverMS: 20, RelearnMS: 30, Moves: 1}, true},
		{"it was quicker than foreseen", Link{}, func(r *Record) { r.Predicted = &Forecast{Rung: ladder.Live, LastCopyMS: 50} },
			Link{Bandwidth: 100 << 20, SetUpMS: 460, HandOverMS: 20, RelearnMS: 30, Moves: 1}, true},
		{"it failed", known, func(r *Record) { r.Outcome = Stayed }, known, false},
		{"the guest was there already", known, func(r *Record) { r.Rung = "" }, known, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := taught()
			c.spoil(&r)
			got, ok := c.old.learn(r)
			got.Updated, got.HandOvers, got.HandOverMS = time.Time{}, nil, math.Round(got.HandOverMS)
			if !reflect.DeepEqual(got, c.want) || ok != c.ok {
				t.Errorf("got  %+v, %v\nwant %+v", got, ok, c.want)
			}
		})
	}
}

func TestLinksFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", LinksFile)
	if links, err := ReadLinks(path); links != nil || err != nil {
		t.Errorf("no file: %v, %v", links, err)
	}
	var wg sync.WaitGroup
	for _, peer := range []string{"node2", "node3"} {
		for range 4 {
			wg.Go(func() {
				r := taught()
				r.To = peer
				if err := LearnLink(path, r); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	links, err := ReadLinks(path)
	if err != nil || len(links) != 2 || links["node2"].Moves != 4 || links["node3"].Bandwidth != 100<<20 {
		t.Errorf("%+v, %v", links, err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.json.*")); err != nil || len(left) != 1 {
		t.Errorf("besides the file and its lock there are %v, %v", left, err)
	}
}

func TestLinksFileBroken(t *testing.T) {
	path := filepath.Join(t.TempDir(), LinksFile)
	for _, text := range []string{"", "{", `{"schema":1,"peers":[]}`, `{"schema":1}`, `{"schema":2,"peers":{"a":{}}}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if links, _ := ReadLinks(path); len(links) != 0 {
			t.Errorf("%q: %v", text, links)
		}
		if err := LearnLink(path, taught()); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if links, err := ReadLinks(path); err != nil || links["node2"].Moves != 1 {
			t.Errorf("%q is not replaced: %v, %v", text, links, err)
		}
	}
	if err := LearnLink(filepath.Join(path, "x"), taught()); err == nil {
		t.Error("a file was taken for a directory")
	}
}

// remembered is what earlier moves taught of the guest.
func (p *pair) remembered(known Profile) {
	p.deps.Guests = filepath.Join(p.deps.Slots.Dir, GuestsFile)
	known.Updated = time.Now()
	if err := revise(p.deps.Guests, func() any { return guestsDoc{guestsSchema, map[string]Profile{"web": known}} }); err != nil {
		panic(err)
	}
}

const (
	mib = 1 << 20
	gib = 1 << 30
)
