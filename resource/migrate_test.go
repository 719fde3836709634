package resource

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

func at(s libvirt.State, uuid string) func(*world) {
	return func(w *world) {
		w.target = func(context.Context) (libvirt.Status, error) { return libvirt.Status{State: s, UUID: uuid}, nil }
	}
}

func TestMigrateTo(t *testing.T) {
	failing := func(w *world) {
		w.migrate = func(context.Context, param.Move) error { return errors.New("no route to host") }
	}
	lostAnswer := func(w *world) {
		w.migrate = func(context.Context, param.Move) error { w.gone(); return errors.New("connection reset") }
	}
	const other = "99999999-2222-3333-4444-555555555555"
	for _, c := range []struct {
		name   string
		build  []func(*world)
		want   ocf.ExitCode
		reason string
		moves  bool
		held   bool
	}{
		{"running", []func(*world){(*world).boot}, ocf.Success, "", true, false},
		{"fails", []func(*world){(*world).boot, failing}, ocf.Generic, "no route to host", true, true},
		{"answer lost, runs at the target", []func(*world){(*world).boot, lostAnswer, at(libvirt.Running, guestUUID)},
			ocf.Success, "", true, false},
		{"answer lost, not seen anywhere", []func(*world){(*world).boot, lostAnswer}, ocf.Generic, "connection reset",
			true, true},
		{"answer lost, paused at the target", []func(*world){(*world).boot, lostAnswer, at(libvirt.Paused, guestUUID)},
			ocf.Generic, "connection reset", true, true},
		{"not here", nil, ocf.Generic, "not active", false, false},
		{"moved already", []func(*world){at(libvirt.Running, guestUUID)}, ocf.Success, "", false, false},
		{"another guest of that name at the target", []func(*world){at(libvirt.Running, other)}, ocf.Generic,
			"another guest", false, false},
		{"off at the target", []func(*world){at(libvirt.ShutOff, guestUUID)}, ocf.Generic, "shut off", false, false},
		{"no target", []func(*world){(*world).boot, func(w *world) { w.agent.Target = "" }}, ocf.Args, "target", false, false},
		{"I/O error", []func(*world){state(libvirt.Paused, "ioerror")}, ocf.Generic, "ioerror", false, false},
		{"hangs until its time is over", []func(*world){(*world).boot, func(w *world) {
			w.migrate = func(ctx context.Context, _ param.Move) error { return blocked(ctx) }
		}}, ocf.Generic, "deadline", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "migrate_to")
				for _, f := range c.build {
					f(w)
				}
				err, took := w.run("migrate_to")
				checkExit(t, err, c.want, c.reason)
				if (len(w.calls) > 0) != c.moves || w.held() != c.held || took >= defaults["migrate_to"] {
					t.Errorf("did %v, noted %v, took %v", w.calls, w.held(), took)
				}
			})
		})
	}
}

func TestMigrateToPassesTheParameters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "migrate_to")
		w.boot()
		p := &w.agent.Params
		p.Transport, p.Suffix, p.Speed, p.Downtime = "tcp", "-mig", 100, 50*time.Millisecond
		var got param.Move
		w.migrate = func(_ context.Context, m param.Move) error { got = m; w.gone(); return nil }
		err, _ := w.run("migrate_to")
		checkExit(t, err, ocf.Success, "")
		want := param.Move{Relay: true, Request: migrate.Request{
			Guest: "vm1", UUID: guestUUID, SourceURI: "qemu:///system", Target: "node2",
			TargetURI: "qemu+tcp://node2-mig/system", MigrateURI: "tcp://node2-mig", Bandwidth: 100,
			DowntimeLimit: 50 * time.Millisecond,
			Disks:         preflight.DisksShared, Memory: preflight.MemoryWarn, Rest: migrate.RestTime}}
		if got.Others == nil || got.Others() {
			t.Error("others wait")
		}
		got.Others = nil // which cannot be compared
		if !reflect.DeepEqual(got, want) {
			t.Errorf("moved with %+v, want %+v", got, want)
		}
	})
}

// Where other guests wait to leave the node, none keeps them waiting; those that stay do not count.
func TestMigrateToAmongOthers(t *testing.T) {
	stays := func(w *world) {
		if err := w.notes().Guests.Save("res2", notes.Guest{Guest: "vm2", Resource: "res2", URI: "qemu:///system"}); err != nil {
			t.Fatal(err)
		}
	}
	left := func(resource, guest string, ago time.Duration) func(*world) {
		return func(w *world) {
			d := notes.Departure{Guest: guest, Peer: "node2", At: time.Now().Add(-ago), Stopped: true}
			if err := w.notes().Departures.Save(resource, d); err != nil {
				t.Fatal(err)
			}
		}
	}
	leaving := func(w *world) { w.agent.Leaving = func(context.Context) (bool, error) { return true, nil } }
	for name, c := range map[string]struct {
		before, meanwhile func(*world) // the call, and its migration
		want              bool
	}{
		"alone":                       {want: false},
		"another stays here":          {before: stays, want: false},
		"another is on its way":       {before: intends("vm2"), want: true},
		"another comes to leave, too": {meanwhile: intends("vm2"), want: true},
		"another has just left":       {before: left("res2", "vm2", time.Second), want: true},
		"another left long ago":       {before: left("res2", "vm2", time.Minute), want: false},
		"it has just left itself":     {before: left("res1", "vm1", time.Second), want: false},
		"the node is emptied":         {before: func(w *world) { stays(w); leaving(w) }, want: true},
		"the node is empty then":      {before: leaving, want: false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "migrate_to")
				w.boot()
				if c.before != nil {
					c.before(w)
				}
				among := false
				w.migrate = func(_ context.Context, m param.Move) error {
					if c.meanwhile != nil {
						c.meanwhile(w)
					}
					among = m.Others()
					w.gone()
					return nil
				}
				err, _ := w.run("migrate_to")
				checkExit(t, err, ocf.Success, "")
				if among != c.want {
					t.Errorf("among others: %v", among)
				}
			})
		})
	}
}

func TestMigrateFrom(t *testing.T) {
	for _, c := range []struct {
		name    string
		arrives time.Duration // when the guest is resumed here; 0: never
		want    ocf.ExitCode
	}{
		{"at once", time.Nanosecond, ocf.Success},
		{"in time", 40 * time.Second, ocf.Success},
		{"too late", 2 * time.Minute, ocf.Generic},
		{"never", 0, ocf.Generic},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "migrate_from")
				w.is(libvirt.Paused, "migration")
				w.procs[0].Incoming = true
				arrival := time.Now().Add(c.arrives)
				w.status = func(context.Context) (libvirt.Status, error) {
					if c.arrives > 0 && !time.Now().Before(arrival) {
						w.state.State, w.state.Reason = libvirt.Running, "migrated"
					}
					return w.state, nil
				}
				err, took := w.run("migrate_from")
				checkExit(t, err, c.want, "")
				if w.held() != (c.want == ocf.Success) || took >= defaults["migrate_from"] {
					t.Errorf("noted %v, took %v", w.held(), took)
				}
			})
		})
	}
}
