package resource

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestOnTheirWay(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct{ got, want bool }{
		"a migration under way":               {intent{Way: outward, Began: now.Add(-time.Minute)}.leaves(now), true},
		"one to here":                         {intent{Way: inward, Began: now.Add(-time.Minute)}.leaves(now), false},
		"one that was interrupted long ago":   {intent{Way: outward, Began: now.Add(-time.Hour)}.leaves(now), false},
		"of a clock that was set":             {intent{Way: outward, Began: now.Add(time.Hour)}.leaves(now), false},
		"moved, and not stopped yet":          {departure{At: now.Add(-time.Second)}.isHandedOver(now), true},
		"moved and stopped":                   {departure{At: now.Add(-time.Second), Stopped: true}.isHandedOver(now), false},
		"moved long ago, and never stopped":   {departure{At: now.Add(-time.Minute)}.isHandedOver(now), false},
		"moved in a time that is yet to come": {departure{At: now.Add(time.Minute)}.isHandedOver(now), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v", name, c.got)
		}
	}
}

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
		{"another has moved, and is not known there", true, departs("vm2"), arrived("vm2"), arrives, arrives + othersQuiet + 2*time.Second},
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
				checkExit(t, err, Generic, "ladder does not name live")
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
		before := departure{Guest: "vm1", Peer: "node2", At: time.Now()}
		if err := stateDir(w.agent.RunDir).save(departuresDir, "res1", before); err != nil {
			t.Fatal(err)
		}
		if err, _ := w.run("stop"); err != nil {
			t.Fatal(err)
		}
		var d departure
		err := stateDir(w.agent.RunDir).load(departuresDir, "res1", &d)
		if err != nil || !d.Stopped || d.Guest != "vm1" || d.Peer != "node2" {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

func intends(guest string) func(*world) {
	return func(w *world) {
		i := intent{Way: outward, Guest: guest, Peer: "node2", Began: time.Now()}
		if err := stateDir(w.agent.StateDir).save(intentsDir, guest, i); err != nil {
			panic(err)
		}
	}
}

func departs(guest string) func(*world) {
	return func(w *world) {
		d := departure{Guest: guest, Peer: "node2", At: time.Now()}
		if err := stateDir(w.agent.RunDir).save(departuresDir, guest, d); err != nil {
			panic(err)
		}
	}
}

func arrived(guest string) func(*world) {
	return func(w *world) {
		_ = stateDir(w.agent.StateDir).remove(intentsDir, guest)
		d := departure{Guest: guest, Peer: "node2", At: time.Now(), Stopped: true}
		if err := stateDir(w.agent.RunDir).save(departuresDir, guest, d); err != nil {
			panic(err)
		}
	}
}
