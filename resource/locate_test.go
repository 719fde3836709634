package resource

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

func paused(reason string) func(*world) {
	return func(w *world) {
		w.target = func(context.Context) (libvirt.Status, error) {
			return libvirt.Status{State: libvirt.Paused, Reason: reason, UUID: guestUUID}, nil
		}
	}
}

// later is what the peer says of the guest from some time on.
func later(after time.Duration, then func(*world)) func(*world) {
	return func(w *world) {
		from, before := time.Now().Add(after), w.target
		then(w)
		now := w.target
		w.target = func(ctx context.Context) (libvirt.Status, error) {
			if time.Now().Before(from) {
				return before(ctx)
			}
			return now(ctx)
		}
	}
}

// The source was fenced in mid-move, and a third node starts the guest: the target has what came so far.
func TestStartWaitsForWhatIsOnItsWay(t *testing.T) {
	gone := func(w *world) {
		w.target = func(context.Context) (libvirt.Status, error) { return libvirt.Status{}, noDomain() }
	}
	never := func(*world) {}
	for _, c := range []struct {
		name   string
		first  func(*world)
		after  time.Duration
		then   func(*world)
		want   ocf.ExitCode
		reason string
	}{
		{"tidied up", paused("migration"), 30 * time.Second, gone, ocf.Success, ""},
		{"tidied up early", paused("starting-up"), 2 * time.Second, gone, ocf.Success, ""},
		{"it had all of it", paused("migration"), 5 * time.Second, at(libvirt.Running, guestUUID), ocf.Generic,
			"it is on node2 already, running"},
		{"it stays", paused("migration"), time.Hour, never, ocf.Generic, "a part of it is on node2 still, paused (migration)"},
		{"shuts down there", at(libvirt.ShuttingDown, guestUUID), 20 * time.Second, gone, ocf.Success, ""},
		{"paused by somebody", paused("user"), time.Hour, never, ocf.Generic, "it is on node2 already, paused (user)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				w.agent.Peers = func(context.Context) ([]elsewhere.Peer, error) {
					return []elsewhere.Peer{{Name: "node0", State: elsewhere.PeerFenced},
						{Name: "node2", State: elsewhere.PeerUp}}, nil
				}
				c.first(w)
				later(c.after, c.then)(w)
				err, took := w.run("start")
				checkExit(t, err, c.want, c.reason)
				if started := slices.Contains(w.calls, "create"); started != (c.want == ocf.Success) ||
					took >= defaults["start"] {
					t.Errorf("did %v in %v", w.calls, took)
				}
			})
		})
	}
}

// A move to a peer that was withdrawn while it was under way has the manager start the guest here, although it runs
// there by now.
func TestStartBringsBackWhatHasJustLeft(t *testing.T) {
	departed := func(peer string, ago time.Duration) func(*world) {
		return func(w *world) {
			d := notes.Departure{Guest: "vm1", Peer: peer, At: time.Now().Add(-ago)}
			if err := w.notes().Departures.Save("res1", d); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	noLive := func(w *world) { w.agent.Params.Ladder = nil }
	runs := at(libvirt.Running, guestUUID)
	for _, c := range []struct {
		name   string
		build  []func(*world)
		want   ocf.ExitCode
		reason string
		did    []string
	}{
		{"moved there", []func(*world){departed("node2", time.Second), runs}, ocf.Success, "", []string{"migrate"}},
		{"the agent was killed", []func(*world){pendingTo(notes.Outward, "node2"), runs}, ocf.Success, "", []string{"migrate"}},
		{"a fetch was killed", []func(*world){pendingTo(notes.Inward, "node2"), runs}, ocf.Success, "", []string{"migrate"}},
		{"is being handed over", []func(*world){departed("node2", time.Second), paused("migration"),
			later(3*time.Second, runs)}, ocf.Success, "", []string{"migrate"}},
		{"moved there, and gone", []func(*world){departed("node2", time.Second)}, ocf.Success, "", []string{"create"}},
		{"moved to another", []func(*world){departed("node3", time.Second), runs}, ocf.Generic, "it is on node2 already", nil},
		{"long ago", []func(*world){departed("node2", 10*time.Minute), runs}, ocf.Generic, "it is on node2 already", nil},
		{"the clock was set back", []func(*world){departed("node2", -time.Hour), runs}, ocf.Generic,
			"it is on node2 already", nil},
		{"started there by hand", []func(*world){runs}, ocf.Generic, "it is on node2 already", nil},
		{"paused there by hand", []func(*world){departed("node2", time.Second), paused("user")}, ocf.Generic,
			"it is on node2 already", nil},
		{"may not be moved live", []func(*world){departed("node2", time.Second), runs, noLive}, ocf.Generic,
			"it is on node2 already", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				manager(elsewhere.Peer{Name: "node2", State: elsewhere.PeerUp})(w)
				var got param.Move
				w.migrate = func(_ context.Context, m param.Move) error { got = m; w.is(libvirt.Running, "migrated"); return nil }
				for _, f := range c.build {
					f(w)
				}
				err, _ := w.run("start")
				checkExit(t, err, c.want, c.reason)
				w.did(c.did...)
				if slices.Contains(c.did, "migrate") &&
					(!got.Fetch || got.SourceURI != "qemu://node2/system" || got.TargetURI != "qemu://node1/system" ||
						got.Target != "node1") {
					t.Errorf("moved by %+v", got)
				}
				_, gone := w.notes().Departures.Load("res1")
				if c.want == ocf.Success && (w.isPending() || gone == nil) {
					t.Error("a note stays")
				}
			})
		})
	}
}

// migrate_to leaves the note by which a start brings the guest back.
func TestMoveAwayAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "migrate_to")
		w.boot()
		manager(elsewhere.Peer{Name: "node2", State: elsewhere.PeerUp})(w)
		w.migrate = func(_ context.Context, m param.Move) error {
			if m.Fetch {
				w.is(libvirt.Running, "migrated")
				return nil
			}
			w.gone()
			at(libvirt.Running, guestUUID)(w)
			return nil
		}
		for _, action := range []string{"migrate_to", "stop", "start"} {
			err, _ := w.run(action)
			checkExit(t, err, ocf.Success, "")
		}
		w.did("migrate", "migrate")
	})
}

// It set out for here while the peers were asked.
func TestStartWaitsForWhatSetOutMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		manager(elsewhere.Peer{Name: "node2", State: elsewhere.PeerUp})(w)
		at(libvirt.Running, guestUUID)(w)
		says := w.target
		w.target = func(ctx context.Context) (libvirt.Status, error) {
			if !w.there {
				w.is(libvirt.Paused, "starting-up")
				w.procs[0].Incoming = true
				arrives, status := time.Now().Add(8*time.Second), w.status
				w.status = func(ctx context.Context) (libvirt.Status, error) {
					if !time.Now().Before(arrives) {
						w.is(libvirt.Running, "migrated")
					}
					return status(ctx)
				}
			}
			return says(ctx)
		}
		err, took := w.run("start")
		checkExit(t, err, ocf.Success, "")
		if w.did(); took < 8*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// What is not proven is a warning, once for each peer; of one that left it is as expected.
func TestDroppedProofIsAWarning(t *testing.T) {
	for _, c := range []struct {
		state elsewhere.PeerState
		want  []string
	}{
		{elsewhere.PeerUp, []string{"node2"}},
		{elsewhere.PeerUnknown, []string{"node2"}},
		{elsewhere.PeerDown, nil},
		{elsewhere.PeerFenced, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "start")
			log, hook := test.NewNullLogger()
			w.agent.Log = log
			manager(elsewhere.Peer{Name: "node2", State: c.state})(w)
			w.target = func(ctx context.Context) (libvirt.Status, error) { return libvirt.Status{}, blocked(ctx) }
			err, _ := w.run("start")
			checkExit(t, err, ocf.Success, "")
			var warned []string
			for _, e := range hook.AllEntries() {
				if peer, ok := e.Data["peer"].(string); ok && e.Level == logrus.WarnLevel &&
					strings.Contains(e.Message, "not proven") {
					warned = append(warned, peer)
				}
			}
			if !reflect.DeepEqual(warned, c.want) {
				t.Errorf("state %d: warned of %v, want %v", c.state, warned, c.want)
			}
		})
	}
}

// A migration that a killed agent has left under way would carry the guest off after the start.
func TestStartCallsOffWhatLeaves(t *testing.T) {
	for _, c := range []struct {
		name string
		way  string
		left func(*world) // what becomes of it; the test's bubble has the time
		want []string
	}{
		{"it stays", notes.Outward, func(w *world) { w.abort = func(context.Context) error { return nil } }, []string{"abort"}},
		{"no job is under way", notes.Outward, nil, []string{"abort"}},
		{"it came from there", notes.Inward, nil, nil},
		{"it won the race", notes.Outward, func(w *world) {
			w.abort = func(context.Context) error { w.gone(); at(libvirt.Running, guestUUID)(w); return noDomain() }
		}, []string{"abort", "migrate"}},
		{"post-copy", notes.Outward, func(w *world) {
			w.is(libvirt.Paused, "postcopy")
			ends, status := time.Now().Add(5*time.Second), w.status
			w.status = func(ctx context.Context) (libvirt.Status, error) {
				if w.there && w.state.Reason == "postcopy" && !time.Now().Before(ends) {
					w.gone()
					at(libvirt.Running, guestUUID)(w)
				}
				return status(ctx)
			}
		}, []string{"abort", "migrate"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				w.boot()
				manager(elsewhere.Peer{Name: "node2", State: elsewhere.PeerUp})(w)
				pendingTo(c.way, "node2")(w)
				w.migrate = func(context.Context, param.Move) error { w.is(libvirt.Running, "migrated"); return nil }
				if c.left != nil {
					c.left(w)
				}
				err, _ := w.run("start")
				checkExit(t, err, ocf.Success, "")
				w.did(c.want...)
			})
		})
	}
}

// A start that was killed while it brought the guest here left a migration of which nobody sees to the end.
func TestStartGoesOnWithAFetch(t *testing.T) {
	for _, c := range []struct {
		name string
		way  string
		want ocf.ExitCode
		did  []string
	}{
		{"a fetch", notes.Inward, ocf.Success, []string{"migrate"}},
		{"no note of it", "", ocf.Generic, nil},
		{"it had left from here", notes.Outward, ocf.Generic, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				manager(elsewhere.Peer{Name: "node2", State: elsewhere.PeerUp})(w)
				at(libvirt.Running, guestUUID)(w)
				if c.way != "" {
					pendingTo(c.way, "node2")(w)
				}
				w.is(libvirt.Paused, "migration")
				w.procs[0].Incoming = true
				var got param.Move
				w.migrate = func(_ context.Context, m param.Move) error { got = m; w.is(libvirt.Running, "migrated"); return nil }
				err, _ := w.run("start")
				checkExit(t, err, c.want, "")
				w.did(c.did...)
				if c.want == ocf.Success && (!got.Adopt || !got.Fetch || got.SourceURI != "qemu://node2/system" ||
					got.UUID != guestUUID) {
					t.Errorf("moved by %+v", got)
				}
			})
		})
	}
}

// The source of such a fetch was fenced, or does not have the guest any more: libvirt here drops what came so far once
// its connection is broken, and then the guest runs nowhere.
func TestStartOutlastsADeadFetch(t *testing.T) {
	for _, c := range []struct {
		name string
		peer elsewhere.PeerState
	}{{"fenced", elsewhere.PeerFenced}, {"let go of it", elsewhere.PeerUp}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				manager(elsewhere.Peer{Name: "node2", State: c.peer})(w)
				pendingTo(notes.Inward, "node2")(w)
				w.is(libvirt.Paused, "migration")
				w.procs[0].Incoming = true
				w.migrate = func(context.Context, param.Move) error { return dead() }
				ends, status := time.Now().Add(30*time.Second), w.status
				w.status = func(ctx context.Context) (libvirt.Status, error) {
					if w.there && w.state.Reason == "migration" && !time.Now().Before(ends) {
						w.gone()
					}
					return status(ctx)
				}
				err, took := w.run("start")
				checkExit(t, err, ocf.Success, "")
				w.did("create")
				if took > 35*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}
