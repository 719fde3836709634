package resource

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

var errBarred = errors.New("this node does not hold its lease: type vmferry guard status")

// barred has the guard let no guest run on a node, "" for this one, for so long.
func barred(node string, lasts time.Duration) func(*world) {
	return func(w *world) {
		end := time.Now().Add(lasts)
		w.agent.MayRun = func(_ context.Context, at string) error {
			if at == node && time.Now().Before(end) {
				return errBarred
			}
			return nil
		}
	}
}

func TestStartAsksTheGuard(t *testing.T) {
	for _, c := range []struct {
		name   string
		build  []func(*world)
		want   ocf.ExitCode
		reason string
		calls  []string
	}{
		{"it says yes", []func(*world){barred("", 0)}, ocf.Success, "", []string{"create"}},
		{"it says no", []func(*world){barred("", time.Hour)}, ocf.Generic, "does not hold its lease", nil},
		{"it says yes after a while", []func(*world){barred("", 20*time.Second)}, ocf.Success, "", []string{"create"}},
		{"the guest runs here", []func(*world){(*world).boot, barred("", time.Hour)}, ocf.Success, "", nil},
		{"another node is barred", []func(*world){barred("node2", time.Hour)}, ocf.Success, "", []string{"create"}},
		{"the lease is lost after the first question", []func(*world){func(w *world) {
			asked := 0
			w.agent.MayRun = func(context.Context, string) error {
				if asked++; asked > 1 {
					return errBarred
				}
				return nil
			}
		}}, ocf.Generic, "does not hold its lease", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				for _, f := range c.build {
					f(w)
				}
				err, took := w.run("start")
				checkExit(t, err, c.want, c.reason)
				if !slices.Equal(w.calls, c.calls) || took >= defaults["start"] {
					t.Errorf("did %v, want %v; took %v", w.calls, c.calls, took)
				}
			})
		})
	}
}

// What the guard says counts for the connection that was open before: the guard kills libvirt's daemon before it gives
// the lease up.
func TestTheGuardIsAskedWithAnOpenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		opened, atQuestion := 0, 0
		w.open = func(context.Context, string) error { opened++; return nil }
		w.agent.MayRun = func(context.Context, string) error { atQuestion = opened; return nil }
		w.create = func(context.Context, string) error {
			if atQuestion == 0 || opened != atQuestion {
				t.Errorf("%d connections at the last question to the guard, %d at the start", atQuestion, opened)
			}
			w.boot()
			return nil
		}
		err, _ := w.run("start")
		checkExit(t, err, ocf.Success, "")
	})
}

// A restore is a start: the saved state stays as it is.
func TestRestoreAsksTheGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		w.agent.Params.Snapshot = w.dir
		path := w.write(saveFile, wholeState)
		asked := 0
		w.agent.MayRun = func(context.Context, string) error {
			if asked++; asked > 1 {
				return errBarred
			}
			return nil
		}
		err, _ := w.run("start")
		checkExit(t, err, ocf.Generic, "does not hold its lease")
		if _, err := os.Stat(path); err != nil || len(w.calls) > 0 {
			t.Errorf("did %v, saved state: %v", w.calls, err)
		}
	})
}

func TestMigrateToAsksForTheTarget(t *testing.T) {
	for _, c := range []struct {
		name   string
		build  func(*world)
		want   ocf.ExitCode
		reason string
		moved  bool
	}{
		{"it says yes", barred("node2", 0), ocf.Success, "", true},
		{"it says no", barred("node2", time.Hour), ocf.Generic, "is not migrated to node2", false},
		{"it says yes after a while", barred("node2", 10*time.Second), ocf.Success, "", true},
		{"this node is barred, and is to be left", barred("", time.Hour), ocf.Success, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "migrate_to")
				w.boot()
				c.build(w)
				err, took := w.run("migrate_to")
				checkExit(t, err, c.want, c.reason)
				if moved := slices.Contains(w.calls, "migrate"); moved != c.moved || took >= defaults["migrate_to"] {
					t.Errorf("moved %v, took %v", moved, took)
				}
				if c.moved == w.there {
					t.Errorf("the guest is here: %v", w.there)
				}
			})
		})
	}
}

// A guest that a start fetches arrives here: the guard of this node is asked.
func TestFetchAsksTheGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		w.agent.Fetch = true
		manager(elsewhere.Peer{Name: "node2", State: elsewhere.PeerUp})(w)
		at(libvirt.Running, guestUUID)(w)
		asked := 0
		w.agent.MayRun = func(context.Context, string) error {
			if asked++; asked > 1 {
				return errBarred
			}
			return nil
		}
		w.migrate = func(context.Context, param.Move) error { w.boot(); return nil }
		err, _ := w.run("start")
		checkExit(t, err, ocf.Generic, "does not hold its lease")
		if slices.Contains(w.calls, "migrate") {
			t.Error("it was fetched all the same")
		}
	})
}
