package history

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/qmp"
	"github.com/vmferry/vmferry/migrate/record"
)

// taught is the record of a move of a second over a link of 100 MiB/s.
func taught() record.Record {
	at := func(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }
	pause, handOver := 40.0, 20.0
	return record.Record{
		Outcome: record.Moved, To: "node2", Rung: ladder.Live, Ended: at(1700), DurationMS: 1700, Rate: 100 << 20,
		Transferred: 100 << 20,
		Steps:       []record.Step{{Name: "migrate", Begin: at(0), MS: 1500}}, PauseMS: &pause, HandOverMS: &handOver,
		Blackouts: []record.Blackout{{Target: "udp://a:7", MS: 70, ErrorMS: 1},
			{Target: "tcp://a:7", MS: 52, ErrorMS: 1}},
		Phases: []qmp.Phase{{Name: qmp.PhaseActive, Side: qmp.Source, Received: at(200)},
			{Name: qmp.PhaseResume, Side: qmp.Target, Received: at(1240)}},
	}
}

func TestLearn(t *testing.T) {
	known := Link{Bandwidth: 200 << 20, SetUpMS: 540, HandOverMS: 40, RelearnMS: 10, Moves: 3}
	for _, c := range []struct {
		name  string
		old   Link
		spoil func(r *record.Record)
		want  Link
		ok    bool
	}{
		{"first move", Link{}, func(*record.Record) {},
			Link{Bandwidth: 100 << 20, SetUpMS: 460, HandOverMS: 20, RelearnMS: 30, Moves: 1}, true},
		{"one more", known, func(*record.Record) {},
			Link{Bandwidth: 150 << 20, SetUpMS: 500, HandOverMS: 28, RelearnMS: 20, Moves: 4}, true},
		{"it sent too little to tell", known, func(r *record.Record) { r.Transferred = enough - 1 },
			Link{Bandwidth: 200 << 20, SetUpMS: 500, HandOverMS: 28, RelearnMS: 20, Moves: 4}, true},
		{"it was bounded, and says nothing of the link", known, func(r *record.Record) { r.Cap = 100 << 20 },
			Link{Bandwidth: 200 << 20, SetUpMS: 500, HandOverMS: 28, RelearnMS: 20, Moves: 4}, true},
		{"others had a part of it", known, func(r *record.Record) { r.Shared = true },
			Link{Bandwidth: 200 << 20, SetUpMS: 500, HandOverMS: 28, RelearnMS: 20, Moves: 4}, true},
		{"it was bounded, and faster than ever", Link{Bandwidth: 50 << 20},
			func(r *record.Record) { r.Cap = 100 << 20 },
			Link{Bandwidth: 75 << 20, SetUpMS: 460, HandOverMS: 20, RelearnMS: 30, Moves: 1}, true},
		{"the first one, and it was bounded: the link carries more", Link{},
			func(r *record.Record) { r.Cap = 100 << 20 },
			Link{Bandwidth: 100 << 20, AtLeast: true, SetUpMS: 460, HandOverMS: 20, RelearnMS: 30, Moves: 1}, true},
		{"the first without a bound", Link{Bandwidth: 50 << 20, AtLeast: true}, func(*record.Record) {},
			Link{Bandwidth: 100 << 20, SetUpMS: 460, HandOverMS: 20, RelearnMS: 30, Moves: 1}, true},
		{"nobody watched", Link{}, func(r *record.Record) { r.Blackouts = nil },
			Link{Bandwidth: 100 << 20, SetUpMS: 460, HandOverMS: 20, Moves: 1}, true},
		{"the last copy was foreseen to take 5 of 40 ms", Link{},
			func(r *record.Record) { r.Predicted = &record.Forecast{Rung: ladder.Live, LastCopyMS: 5} },
			Link{Bandwidth: 100 << 20, SetUpMS: 460, HandOverMS: 35, RelearnMS: 30, Moves: 1}, true},
		{"it was foreseen by other means", Link{},
			func(r *record.Record) { r.Predicted = &record.Forecast{Rung: ladder.Converge, LastCopyMS: 5} },
			Link{Bandwidth: 100 << 20, SetUpMS: 460, HandOverMS: 20, RelearnMS: 30, Moves: 1}, true},
		{"it was quicker than foreseen", Link{},
			func(r *record.Record) { r.Predicted = &record.Forecast{Rung: ladder.Live, LastCopyMS: 50} },
			Link{Bandwidth: 100 << 20, SetUpMS: 460, HandOverMS: 20, RelearnMS: 30, Moves: 1}, true},
		{"it failed", known, func(r *record.Record) { r.Outcome = record.Stayed }, known, false},
		{"the guest was there already", known, func(r *record.Record) { r.Rung = "" }, known, false},
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
