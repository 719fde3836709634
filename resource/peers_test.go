package resource

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

// pendingTo leaves the note of a migration that was begun and has no known end.
func pendingTo(way, peer string) func(*world) {
	return func(w *world) {
		i := notes.Intent{Way: way, Guest: "vm1", UUID: guestUUID, Peer: peer, Began: time.Now()}
		if err := w.notes().Intents.Save("res1", i); err != nil {
			w.t.Fatal(err)
		}
	}
}

// isPending reports whether such a note is there.
func (w *world) isPending() bool {
	_, err := w.notes().Intents.Load("res1")
	return err == nil
}

func manager(peers ...elsewhere.Peer) func(*world) {
	return func(w *world) {
		w.agent.Peers = func(context.Context) ([]elsewhere.Peer, error) { return peers, nil }
	}
}

func runnable(nodes ...string) func(*world) {
	return func(w *world) {
		w.agent.Runnable = func(_ context.Context, resource string) ([]string, error) {
			if resource != "res1" {
				w.t.Errorf("asked for resource %q", resource)
			}
			return nodes, nil
		}
	}
}

// A guest that may be elsewhere is not started, and the reason says where it is.
func TestStartAsksThePeers(t *testing.T) {
	deaf := func(w *world) {
		w.open = func(_ context.Context, uri string) error {
			if uri == "qemu:///system" {
				return nil
			}
			return dead()
		}
	}
	hangs := func(w *world) {
		w.target = func(ctx context.Context) (libvirt.Status, error) { return libvirt.Status{}, blocked(ctx) }
	}
	silent := func(w *world) {
		w.agent.Peers = func(context.Context) ([]elsewhere.Peer, error) { return nil, errors.New("crm_mon: not connected") }
	}
	up, down, lost, fenced := elsewhere.Peer{Name: "node2", State: elsewhere.PeerUp},
		elsewhere.Peer{Name: "node2", State: elsewhere.PeerDown},
		elsewhere.Peer{Name: "node2", State: elsewhere.PeerUnknown},
		elsewhere.Peer{Name: "node2", State: elsewhere.PeerFenced}
	const other = "99999999-2222-3333-4444-555555555555"
	for _, c := range []struct {
		name   string
		build  []func(*world)
		want   ocf.ExitCode
		reason string
	}{
		{"no manager", nil, ocf.Success, ""},
		{"peer has none", []func(*world){manager(up)}, ocf.Success, ""},
		{"peer runs it", []func(*world){manager(up), at(libvirt.Running, guestUUID)}, ocf.Generic, "it is on node2 already"},
		{"peer has it paused", []func(*world){manager(up), at(libvirt.Paused, guestUUID)}, ocf.Generic, "it is on node2 already"},
		{"lost peer runs it", []func(*world){manager(lost), at(libvirt.Running, guestUUID)}, ocf.Generic,
			"it is on node2 already"},
		{"peer has it defined", []func(*world){manager(up), at(libvirt.ShutOff, guestUUID)}, ocf.Success, ""},
		{"peer runs another of that name", []func(*world){manager(up), at(libvirt.Running, other)}, ocf.Success, ""},
		{"peer gives no answer", []func(*world){manager(up), deaf}, ocf.Success, ""},
		{"peer hangs", []func(*world){manager(up), hangs, func(w *world) {
			began := time.Now()
			w.create = func(context.Context, string) error {
				if waited := time.Since(began); waited > 2*time.Second {
					w.t.Errorf("clients waited %v for a peer that need not answer", waited)
				}
				w.boot()
				return nil
			}
		}}, ocf.Success, ""},
		{"peer was fenced", []func(*world){manager(fenced), at(libvirt.Running, guestUUID)}, ocf.Success, ""},
		{"peer left, and runs it", []func(*world){manager(down), at(libvirt.Running, guestUUID)}, ocf.Generic,
			"it is on node2 already"},
		{"peer left, and is off", []func(*world){manager(down), deaf}, ocf.Success, ""},
		{"peer left, and hangs", []func(*world){manager(down), hangs}, ocf.Success, ""},
		{"peer may not run it", []func(*world){manager(up), runnable("node1", "node3"), at(libvirt.Running, guestUUID)},
			ocf.Success, ""},
		{"peer may run it", []func(*world){manager(up), runnable("node1", "node2"), at(libvirt.Running, guestUUID)},
			ocf.Generic, "it is on node2 already"},
		{"nobody knows who may", []func(*world){manager(up), func(w *world) {
			w.agent.Runnable = func(context.Context, string) ([]string, error) {
				return nil, errors.New("cibadmin: not connected")
			}
		}, at(libvirt.Running, guestUUID)}, ocf.Generic, "it is on node2 already"},
		{"our own name among the peers",
			[]func(*world){manager(elsewhere.Peer{Name: "node1", State: elsewhere.PeerUp}),
				at(libvirt.Running, guestUUID)}, ocf.Success, ""},

		{"pending, peer has none", []func(*world){pendingTo(notes.Outward, "node2"), manager(up)}, ocf.Success, ""},
		{"pending, peer may not run it, and has it paused",
			[]func(*world){pendingTo(notes.Outward, "node2"), manager(up), runnable("node1"),
				at(libvirt.Paused, guestUUID)}, ocf.Generic, "it is on node2 already"},
		{"pending, peer gives no answer", []func(*world){pendingTo(notes.Outward, "node2"), manager(up), deaf},
			ocf.Generic, "its outcome is unknown"},
		{"pending, peer hangs", []func(*world){pendingTo(notes.Inward, "node2"), manager(up), hangs}, ocf.Generic,
			"its outcome is unknown"},
		{"pending, peer was fenced", []func(*world){pendingTo(notes.Outward, "node2"), manager(fenced), deaf}, ocf.Success, ""},
		{"pending, peer left", []func(*world){pendingTo(notes.Outward, "node2"), manager(down), deaf}, ocf.Success, ""},
		{"pending, peer was taken out of the cluster",
			[]func(*world){pendingTo(notes.Outward, "node2"),
				manager(elsewhere.Peer{Name: "node3", State: elsewhere.PeerUp}), deaf}, ocf.Success, ""},
		{"pending, no manager, peer gives no answer", []func(*world){pendingTo(notes.Outward, "node2"), deaf},
			ocf.Generic, "its outcome is unknown"},
		{"pending, manager silent, peer gives no answer",
			[]func(*world){pendingTo(notes.Outward, "node2"), silent, deaf}, ocf.Generic, "remove "},
		{"pending, manager silent, peer has none", []func(*world){pendingTo(notes.Outward, "node2"), silent}, ocf.Success, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				for _, f := range c.build {
					f(w)
				}
				wasPending := w.isPending()
				err, took := w.run("start")
				checkExit(t, err, c.want, c.reason)
				if took > callLimit+time.Second {
					t.Errorf("took %v", took)
				}
				if started := slices.Contains(w.calls, "create"); started != (c.want == ocf.Success) {
					t.Errorf("did %v", w.calls)
				}
				if w.isPending() != (wasPending && c.want != ocf.Success) {
					t.Errorf("note about the migration: %v before, %v now", wasPending, w.isPending())
				}
			})
		})
	}
}

// The note is there while it is not known where the guest is, and gone when it is known.
func TestNoteOfAMigration(t *testing.T) {
	ends := func(err error) func(*world) {
		return func(w *world) { w.migrate = func(context.Context, param.Move) error { return err } }
	}
	for _, c := range []struct {
		name, action string
		build        []func(*world)
		want         ocf.ExitCode
		pending      bool
	}{
		{"moved", "migrate_to", []func(*world){(*world).boot}, ocf.Success, false},
		{"stayed", "migrate_to", []func(*world){(*world).boot, ends(errors.New("no route to host"))}, ocf.Generic, false},
		{"nobody can tell", "migrate_to", []func(*world){(*world).boot, ends(migrate.ErrUnknown)}, ocf.Generic, true},
		{"moved before", "migrate_to",
			[]func(*world){pendingTo(notes.Outward, "node2"), at(libvirt.Running, guestUUID)}, ocf.Success, false},
		{"arrived", "migrate_from", []func(*world){(*world).boot}, ocf.Success, false},
		{"did not arrive", "migrate_from", nil, ocf.Generic, true},
		{"stopped here", "stop", []func(*world){pendingTo(notes.Outward, "node2")}, ocf.Success, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.action)
				for _, f := range c.build {
					f(w)
				}
				err, _ := w.run(c.action)
				checkExit(t, err, c.want, "")
				if w.isPending() != c.pending {
					t.Errorf("pending %v, want %v", w.isPending(), c.pending)
				}
			})
		})
	}
}

// A migration is never begun that the next call could not know of.
func TestMigrationNeedsItsNote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "migrate_to")
		w.boot()
		w.agent.StateDir = w.agent.Params.Config // a file where the directory must be
		err, _ := w.run("migrate_to")
		checkExit(t, err, ocf.Generic, "cannot be noted")
		if len(w.calls) > 0 {
			t.Errorf("did %v", w.calls)
		}
	})
}

func TestMigrationToTheSameNodeIsAdopted(t *testing.T) {
	for peer, want := range map[string]bool{"node2": true, "node3": false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "migrate_to")
			w.boot()
			pendingTo(notes.Outward, peer)(w)
			var got param.Move
			w.migrate = func(_ context.Context, m param.Move) error { got = m; w.gone(); return nil }
			err, _ := w.run("migrate_to")
			checkExit(t, err, ocf.Success, "")
			if got.Adopt != want {
				t.Errorf("begun to %s, adopted %v", peer, got.Adopt)
			}
		})
	}
}

// A stop calls off the migration that a killed agent left, and no other.
func TestStopCallsOffAMigration(t *testing.T) {
	for _, c := range []struct {
		name  string
		build []func(*world)
		want  []string
	}{
		{"ours", []func(*world){(*world).boot, pendingTo(notes.Outward, "node2")}, []string{"abort", "shutdown"}},
		{"none noted", []func(*world){(*world).boot}, []string{"shutdown"}},
		{"it came from there", []func(*world){(*world).boot, pendingTo(notes.Inward, "node2")}, []string{"shutdown"}},
		{"it won the race", []func(*world){(*world).boot, pendingTo(notes.Outward, "node2"), func(w *world) {
			w.abort = func(context.Context) error { w.gone(); return noDomain() }
		}}, []string{"abort"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "stop")
				for _, f := range c.build {
					f(w)
				}
				err, _ := w.run("stop")
				checkExit(t, err, ocf.Success, "")
				if !slices.Equal(w.calls, c.want) {
					t.Errorf("did %v, want %v", w.calls, c.want)
				}
			})
		})
	}
}

// Every step that is promised to those who interrupt is passed by some run, and no other.
func TestSteps(t *testing.T) {
	for _, action := range []string{"start", "stop", "monitor", "migrate_to", "migrate_from"} {
		synctest.Test(t, func(t *testing.T) {
			passed := map[string]bool{}
			for _, stubborn := range []bool{false, true} {
				w := newWorld(t, action)
				if action != "start" {
					w.boot()
				}
				if !stubborn {
					w.agent.Params.Snapshot = w.dir
					w.save = func(context.Context, string) error { return errors.New("no space left") }
					w.abort = func(context.Context) error { return nil }
					w.restore = func(context.Context, string, string) error { w.boot(); return nil }
					w.write(saveFile, wholeState)
				}
				if stubborn { // asked to shut down it does not, and libvirt cannot destroy it
					w.shutdown = func(context.Context, string) error { return nil }
					w.destroy = func(context.Context) error { return dead() }
				}
				w.agent.Step = func(step string) { passed[step] = true }
				err, _ := w.run(action)
				checkExit(t, err, ocf.Success, "")
			}
			if action == "start" {
				w := newMirrorWorld(t, action, own1(mirror.Replica, mirror.Point{Epoch: 1, Generation: 1}))
				w.agent.Step = func(step string) { passed[step] = true }
				err, _ := w.run(action)
				checkExit(t, err, ocf.Success, "")
			}
			for _, step := range Steps(action) {
				if !passed[step] {
					t.Errorf("%s never passes %q", action, step)
				}
				delete(passed, step)
			}
			if len(passed) > 0 {
				t.Errorf("%s passes %v, which Steps does not name", action, passed)
			}
		})
	}
}

// A manager that never looks where a guest runs gets it moved here, and not an error.
func TestStartFetches(t *testing.T) {
	arrives := func(w *world) {
		w.migrate = func(_ context.Context, m param.Move) error {
			if !m.Fetch || m.SourceURI != "qemu://node2/system" || m.TargetURI != "qemu://node1/system" || m.UUID != guestUUID {
				w.t.Errorf("moved by %+v", m)
			}
			w.is(libvirt.Running, "migrated")
			return nil
		}
	}
	fails := func(w *world) {
		w.migrate = func(context.Context, param.Move) error { return errors.New("no route to host") }
	}
	for _, c := range []struct {
		name    string
		build   []func(*world)
		want    ocf.ExitCode
		reason  string
		moves   bool
		pending bool
	}{
		{"runs there", []func(*world){at(libvirt.Running, guestUUID), arrives}, ocf.Success, "", true, false},
		{"paused there", []func(*world){at(libvirt.Paused, guestUUID)}, ocf.Generic, "it is on node2 already", false, false},
		{"runs nowhere", nil, ocf.Success, "", false, false},
		{"in a half-made move there", []func(*world){paused("starting-up")}, ocf.Generic, "a part of it is on node2",
			false, false},
		{"cannot be moved", []func(*world){at(libvirt.Running, guestUUID), fails}, ocf.Generic, "could not be fetched",
			true, true},
		{"own name unknown", []func(*world){at(libvirt.Running, guestUUID), func(w *world) { w.agent.Node = "" }},
			ocf.Generic, "own name is not known", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				w.agent.Fetch = true
				manager(elsewhere.Peer{Name: "node2", State: elsewhere.PeerUp})(w)
				for _, f := range c.build {
					f(w)
				}
				err, _ := w.run("start")
				checkExit(t, err, c.want, c.reason)
				if slices.Contains(w.calls, "migrate") != c.moves || w.isPending() != c.pending {
					t.Errorf("did %v, pending %v", w.calls, w.isPending())
				}
			})
		})
	}
}
