package resource

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
)

func TestAnnounce(t *testing.T) {
	fails := func(w *world) { w.create = func(context.Context, string) error { return noDomain() } }
	arrived := func(w *world) { w.is(libvirt.Running, "migrated") }
	byDaemon := func(w *world) {
		if err := w.notes().Announced.Save("res1", notes.Announced{At: hostproc.Uptime()}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, action, announce string
		build                  func(*world)
		want                   bool
	}{
		{"started", "start", "", nil, true},
		{"arrived", "migrate_from", "192.0.2.7", arrived, true},
		{"started, and the daemon announced it", "start", "", byDaemon, true}, // but could not teach the bridge
		{"arrived, and the daemon announced it", "migrate_from", "", func(w *world) { arrived(w); byDaemon(w) }, false},
		{"off", "start", "off", nil, false},
		{"was here already", "start", "", (*world).boot, false},
		{"does not start", "start", "", fails, false},
		{"a monitor", "monitor", "", (*world).boot, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.action)
				w.agent.Params.Announce = c.announce
				if c.build != nil {
					c.build(w)
				}
				var got []notes.Expected
				w.agent.Announce = func(ctx context.Context, e notes.Expected) {
					if _, bounded := ctx.Deadline(); !bounded {
						t.Error("an announcement without an end")
					}
					time.Sleep(200 * time.Millisecond)
					got = append(got, e)
				}
				_, took := w.run(c.action)
				want := notes.Expected{Guest: "vm1", Resource: "res1", URI: "qemu:///system", Announce: c.announce}
				if c.want != slices.Equal(got, []notes.Expected{want}) || !c.want && len(got) > 0 {
					t.Errorf("announced %+v", got)
				}
				if c.want && took < 200*time.Millisecond {
					t.Errorf("the action ended after %v, in the middle of the announcement", took)
				}
			})
		})
	}
}

// What the daemon announced after the guest's process began is not announced again, and what it announced before is.
func TestDaemonAnnounced(t *testing.T) {
	w := newWorld(t, "migrate_from")
	now := hostproc.Uptime()
	began := func(before time.Duration) hostproc.Process {
		return hostproc.Process{StartTime: uint64((now - before) / (10 * time.Millisecond))}
	}
	if err := w.notes().Announced.Save("res1", notes.Announced{At: hostproc.Uptime()}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		instance  string
		processes []hostproc.Process
		want      bool
	}{
		"it runs since then":    {"res1", []hostproc.Process{began(time.Minute)}, true},
		"it began later":        {"res1", []hostproc.Process{began(-time.Second)}, false},
		"one of two is later":   {"res1", []hostproc.Process{began(time.Minute), began(-time.Second)}, false},
		"nobody knows when":     {"res1", []hostproc.Process{{Domain: true}}, false},
		"libvirt alone knows":   {"res1", nil, false},
		"another was announced": {"res2", []hostproc.Process{began(time.Minute)}, false},
	} {
		n := announcer{notes: w.notes(), expected: notes.Expected{Resource: c.instance}}
		if got := n.isAnnounced(c.processes); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A network that cannot be reached does not keep an action from its end.
func TestAnnounceIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		w.agent.Announce = func(ctx context.Context, _ notes.Expected) { _ = blocked(ctx) }
		err, took := w.run("start")
		checkExit(t, err, ocf.Success, "")
		if took > announceTime+time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A probe on a node that the guest has never been on leaves the note, and a later one renews it.
func TestExpect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "monitor")
		for _, setting := range []string{"", "192.0.2.7", "192.0.2.7"} {
			w.agent.Params.Announce = setting
			err, _ := w.run("monitor")
			checkExit(t, err, ocf.NotRunning, "")
			got, rerr := w.notes().Expected.All()
			want := []notes.Expected{{Guest: "vm1", Resource: "res1", URI: "qemu:///system", Announce: setting}}
			if rerr != nil || !slices.Equal(got, want) {
				t.Errorf("noted %+v, %v, want %+v", got, rerr, want)
			}
		}
		err, _ := w.run("stop")
		checkExit(t, err, ocf.Success, "")
		if got, rerr := w.notes().Expected.All(); rerr != nil || len(got) != 1 {
			t.Errorf("after a stop: %+v, %v", got, rerr)
		}
	})
}

// Where notes cannot be written guests are started all the same.
func TestExpectWithoutAPlaceForNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "monitor")
		w.agent.RunDir = filepath.Join(w.dir, "vm1.xml") // a file
		err, _ := w.run("monitor")
		checkExit(t, err, ocf.NotRunning, "")
	})
}
