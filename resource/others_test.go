package resource

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
)

// A failure is told when nothing is between a migrate_to and its migrate_from: Pacemaker would stop what is.
func TestFailureWaitsForTheOthers(t *testing.T) {
	const arrives = 8 * time.Second
	for _, c := range []struct {
		name      string
		pacemaker bool
		others    func(w *world) // what other guests are doing at first
		then      func(w *world) // and after arrives
		least     time.Duration
		most      time.Duration
	}{
		{"alone", true, func(*world) {}, func(*world) {}, 0, time.Second},
		{"another is being copied", true, intends("vm2"), arrived("vm2"), arrives, arrives + othersQuiet + 2*time.Second},
		{"another has moved, and is not known there", true, departs("vm2"), arrived("vm2"), arrives,
			arrives + othersQuiet + 2*time.Second},
		{"another never arrives", true, intends("vm2"), func(*world) {}, 50 * time.Second, time.Minute},
		{"its own note", true, intends("vm1"), func(*world) {}, 0, time.Second},
		{"Heartbeat", false, intends("vm2"), func(*world) {}, 0, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "migrate_to")
				w.boot()
				w.agent.Pacemaker, w.agent.Target, w.agent.Params.Ladder = c.pacemaker, "node2", nil // not live
				c.others(w)
				time.AfterFunc(arrives, func() { c.then(w) })
				err, took := w.run("migrate_to")
				checkExit(t, err, ocf.Generic, "ladder does not name live")
				if took < c.least || took > c.most {
					t.Errorf("took %v, want %v to %v", took, c.least, c.most)
				}
			})
		})
	}
}

// A stop of a guest that has moved ends its hand-over, and leaves the note for a start that brings it back.
func TestStopConcludesAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "stop")
		before := notes.Departure{Guest: "vm1", Peer: "node2", At: time.Now()}
		if err := w.notes().Departures.Save("res1", before); err != nil {
			t.Fatal(err)
		}
		if err, _ := w.run("stop"); err != nil {
			t.Fatal(err)
		}
		d, err := w.notes().Departures.Load("res1")
		if err != nil || !d.Stopped || d.Guest != "vm1" || d.Peer != "node2" {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

func intends(guest string) func(*world) {
	return func(w *world) {
		i := notes.Intent{Way: notes.Outward, Guest: guest, Peer: "node2", Began: time.Now()}
		if err := w.notes().Intents.Save(guest, i); err != nil {
			panic(err)
		}
	}
}

func departs(guest string) func(*world) {
	return func(w *world) {
		d := notes.Departure{Guest: guest, Peer: "node2", At: time.Now()}
		if err := w.notes().Departures.Save(guest, d); err != nil {
			panic(err)
		}
	}
}

func arrived(guest string) func(*world) {
	return func(w *world) {
		_ = w.notes().Intents.Remove(guest)
		d := notes.Departure{Guest: guest, Peer: "node2", At: time.Now(), Stopped: true}
		if err := w.notes().Departures.Save(guest, d); err != nil {
			panic(err)
		}
	}
}
