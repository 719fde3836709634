package resource

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

// savingWorld is a node whose guest may be saved to w.dir, and on which that works.
func savingWorld(t *testing.T, action string) *world {
	w := newWorld(t, action)
	w.agent.Params.Ladder = []ladder.Rung{ladder.Live, ladder.Save, ladder.Shutdown, ladder.Destroy}
	w.agent.Params.SaveDir = w.dir
	w.save = func(context.Context, string) error { w.write(saveFile, wholeState); w.gone(); return nil }
	w.abort = func(context.Context) error { w.boot(); return nil }
	return w
}

// savedIn has libvirt at work on saving the guest, for so long.
func (w *world) savedIn(d time.Duration) {
	w.is(libvirt.Paused, "save")
	end, status := time.Now().Add(d), w.status
	w.status = func(ctx context.Context) (libvirt.Status, error) {
		if w.there && !time.Now().Before(end) {
			w.write(saveFile, wholeState)
			w.gone()
		}
		return status(ctx)
	}
}

var (
	wholeState   = savedQEMU(guestXML)
	partialState = strings.Replace(wholeState, "Save", "Part", 1)
)

// savedQEMU is a file that libvirt's driver for QEMU saved a guest to, as its qemu_saveimage.h has it.
func savedQEMU(text string) string {
	head := append([]uint32{2, uint32(len(text) + 1)}, make([]uint32, 17)...)
	raw, err := binary.Append([]byte("LibvirtQemudSave"), binary.LittleEndian, head)
	if err != nil {
		panic(err)
	}
	return string(raw) + text + "\x00the guest's memory"
}

// savedXen is one of its driver for Xen, as its libxl_conf.h has it.
func savedXen(text string) string {
	head := append([]uint32{2, uint32(len(text) + 1)}, make([]uint32, 10)...)
	raw, err := binary.Append([]byte("libvirt-xml\n \x00 \r"), binary.LittleEndian, head)
	if err != nil {
		panic(err)
	}
	return string(raw) + text + "\x00the guest's memory"
}

// strandedNote is that of a migration which failed so long ago.
func strandedNote(guest string, age time.Duration) func(*world) {
	return func(w *world) {
		note := notes.Failure{Guest: guest, Peer: "node2", Why: "no room", At: time.Now().Add(-age)}
		if err := w.notes().Failures.Save("res1", note); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A stop saves the guest only where it takes it off the node because it could not be moved.
func TestWhichStopSaves(t *testing.T) {
	leaving := func(is bool, err error) func(*world) {
		return func(w *world) { w.agent.Leaving = func(context.Context) (bool, error) { return is, err } }
	}
	peer := func(s libvirt.Status, err error) func(*world) {
		return func(w *world) { w.target = func(context.Context) (libvirt.Status, error) { return s, err } }
	}
	pending := pendingTo(notes.Outward, "node2")
	plain := func(w *world) { w.agent.Params.Ladder, w.agent.Params.SaveDir = defaultLadder, "" }
	for _, c := range []struct {
		name  string
		build []func(*world)
		calls string
		means ladder.Rung // of the record, "" for none
	}{
		{"somebody's wish", nil, "shutdown", ""},
		{"a migration has failed", []func(*world){strandedNote("vm1", time.Minute)}, "save", ladder.Save},
		{"long ago", []func(*world){strandedNote("vm1", time.Hour)}, "shutdown", ""},
		{"of another guest", []func(*world){strandedNote("vm0", time.Minute)}, "shutdown", ""},
		{"save is no rung of it", []func(*world){strandedNote("vm1", 0),
			func(w *world) { w.agent.Params.Ladder = defaultLadder }}, "shutdown", ladder.Shutdown},
		{"no directory", []func(*world){strandedNote("vm1", 0), func(w *world) { w.agent.Params.SaveDir = "" }},
			"shutdown", ladder.Shutdown},
		{"it could not be restored there", []func(*world){func(w *world) {
			note := notes.Failure{Guest: "vm1", Peer: "node2", Why: "its processor lacks features",
				Check: preflight.CheckCPU, At: time.Now()}
			if err := w.notes().Failures.Save("res1", note); err != nil {
				w.t.Fatal(err)
			}
		}}, "shutdown", ladder.Shutdown},
		{"force_stop", []func(*world){strandedNote("vm1", 0), func(w *world) { w.agent.Params.ForceStop = true }},
			"destroy", ladder.Destroy},
		{"the node is emptied", []func(*world){leaving(true, nil)}, "save", ladder.Save},
		{"the node is emptied, and save is no rung", []func(*world){leaving(true, nil), plain}, "shutdown", ladder.Shutdown},
		{"the node is emptied, and the guest is ended by force",
			[]func(*world){leaving(true, nil), func(w *world) { w.agent.Params.ForceStop = true }},
			"destroy", ladder.Destroy},
		{"the node is not emptied, and save is no rung", []func(*world){leaving(false, nil), plain}, "shutdown", ""},
		{"the node is not", []func(*world){leaving(false, nil)}, "shutdown", ""},
		{"nobody can tell", []func(*world){leaving(true, errors.New("not connected"))}, "shutdown", ""},
		{"the manager hangs", []func(*world){func(w *world) {
			w.agent.Leaving = func(ctx context.Context) (bool, error) { return true, blocked(ctx) }
		}}, "shutdown", ""},
		{"the agent was killed in a migration", []func(*world){pending}, "abort save", ladder.Save},
		{"long ago killed", []func(*world){func(w *world) {
			i := notes.Intent{Way: notes.Outward, Guest: "vm1", UUID: guestUUID, Peer: "node2",
				Began: time.Now().Add(-2 * time.Hour)}
			if err := w.notes().Intents.Save("res1", i); err != nil {
				w.t.Fatal(err)
			}
		}}, "abort shutdown", ""},
		{"and the target has a part of it",
			[]func(*world){pending, peer(libvirt.Status{State: libvirt.Paused, UUID: guestUUID}, nil)},
			"abort shutdown", ladder.Shutdown},
		{"and the target has another of its name",
			[]func(*world){pending, peer(libvirt.Status{State: libvirt.Running,
				UUID: "99999999-2222-3333-4444-555555555555"}, nil)}, "abort save", ladder.Save},
		{"and the target is silent", []func(*world){pending, peer(libvirt.Status{}, dead())}, "abort shutdown", ladder.Shutdown},
		{"paused by a person", []func(*world){strandedNote("vm1", 0), state(libvirt.Paused, "user")}, "save", ladder.Save},
		{"paused by an I/O error", []func(*world){strandedNote("vm1", 0), state(libvirt.Paused, "ioerror")}, "destroy",
			ladder.Destroy},
		{"saved by an agent that was killed", []func(*world){strandedNote("vm1", 0), func(w *world) {
			w.savedIn(5 * time.Second)
		}}, "", ladder.Save},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := savingWorld(t, "stop")
				w.boot()
				w.abort = func(context.Context) error { return nil }
				var records []record.Record
				w.agent.Record = func(r record.Record) { records = append(records, r) }
				for _, f := range c.build {
					f(w)
				}
				err, took := w.run("stop")
				checkExit(t, err, ocf.Success, "")
				if got := strings.Join(w.calls, " "); got != c.calls || took > 20*time.Second {
					t.Errorf("did %q, want %q, in %v", got, c.calls, took)
				}
				var means ladder.Rung
				if len(records) > 0 {
					means = records[0].Rung
				}
				if means != c.means || len(records) > 1 || means != "" &&
					(records[0].Outcome != record.Ended || records[0].Error == "") {
					t.Errorf("recorded %+v, want %q", records, c.means)
				}
				if _, err := w.notes().Failures.Load("res1"); err == nil {
					t.Error("the note is still there")
				}
			})
		})
	}
}

// The manager is asked for the record while the guest shuts down: the stop takes no longer for it than the manager may
// take to answer.
func TestRecordCostsAStopNoTime(t *testing.T) {
	slow := func(d time.Duration) func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			select {
			case <-time.After(d):
				return true, nil
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
	}
	for _, c := range []struct {
		name           string
		guest, manager time.Duration // which each takes
		timeout        time.Duration
		least, most    time.Duration // of the stop
		recorded       bool
	}{
		{"the guest is slower", 6 * time.Second, 3 * time.Second, time.Minute, 6 * time.Second, 7 * time.Second, true},
		{"the manager is slower", 0, 3 * time.Second, time.Minute, 3 * time.Second, 4 * time.Second, true},
		{"the manager hangs", 0, time.Hour, time.Minute, leavingTime, leavingTime + time.Second, false},
		{"the manager hangs and the stop has little time", 0, time.Hour, 6 * time.Second, 2 * time.Second,
			4 * time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "stop")
				w.boot()
				w.agent.Timeout = c.timeout
				began, asked := time.Now(), time.Duration(-1)
				status := w.status
				w.shutdown = func(context.Context, string) error { asked = time.Since(began); return nil }
				w.status = func(ctx context.Context) (libvirt.Status, error) {
					if asked >= 0 && time.Since(began) >= asked+c.guest {
						w.gone()
					}
					return status(ctx)
				}
				w.agent.Leaving = slow(c.manager)
				recorded := 0
				w.agent.Record = func(record.Record) { recorded++ }
				err, took := w.run("stop")
				checkExit(t, err, ocf.Success, "")
				if took < c.least || took > c.most || asked > time.Second || (recorded == 1) != c.recorded {
					t.Errorf("took %v, asked the guest after %v, %d records", took, asked, recorded)
				}
			})
		})
	}
}

// A migrate_to that fails leaves the note, one that succeeds takes it away, and so does a start.
func TestStrandedNote(t *testing.T) {
	fails := func(w *world) {
		w.migrate = func(context.Context, param.Move) error { return errors.New("no room there") }
	}
	refused := func(w *world) {
		w.migrate = func(context.Context, param.Move) error { return &preflight.Refusal{Check: preflight.CheckCPU} }
	}
	neverLive := func(w *world) { w.agent.Params.Ladder = []ladder.Rung{ladder.Save, ladder.Shutdown, ladder.Destroy} }
	for _, c := range []struct {
		name, action string
		build        []func(*world)
		noted        string
	}{
		{"moved", "migrate_to", []func(*world){(*world).boot, strandedNote("vm1", 0)}, ""},
		{"failed", "migrate_to", []func(*world){(*world).boot, fails}, "no room there"},
		{"refused", "migrate_to", []func(*world){(*world).boot, refused}, "pre-flight cpu"},
		{"not to be moved live", "migrate_to", []func(*world){(*world).boot, neverLive}, "does not name live"},
		{"started", "start", []func(*world){strandedNote("vm1", 0)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := savingWorld(t, c.action)
				for _, f := range c.build {
					f(w)
				}
				if err, _ := w.run(c.action); (err == nil) != (c.noted == "") {
					t.Errorf("%s: %v", c.action, err)
				}
				note, err := w.notes().Failures.Load("res1")
				if (err == nil) != (c.noted != "") || !strings.Contains(note.Why, c.noted) ||
					(note.Check == preflight.CheckCPU) != (c.name == "refused") {
					t.Errorf("noted %+v, %v, want %q", note, err, c.noted)
				}
			})
		})
	}
}

// Whether a stop saves the guest, before anybody is asked.
func TestDecideSave(t *testing.T) {
	usual := param.Params{SaveDir: "/saves", Ladder: []ladder.Rung{ladder.Live, ladder.Save}}
	with := func(change func(*param.Params)) param.Params { p := usual; change(&p); return p }
	for _, c := range []struct {
		name   string
		p      param.Params
		check  string // of the pre-flight, that refused the migration
		want   saveWhen
		reason string
	}{
		{"a place and the rung", usual, "", saveOnLeaving, ""},
		{"no place", with(func(p *param.Params) { p.SaveDir = "" }), "", saveNever, ""},
		{"not on the ladder", with(func(p *param.Params) { p.Ladder = []ladder.Rung{ladder.Live} }), "", saveNever, ""},
		{"snapshot", with(func(p *param.Params) { p.Snapshot, p.Ladder = "/s", nil }), "", saveAlways, ""},
		{"force_stop", with(func(p *param.Params) { p.Snapshot, p.ForceStop = "/s", true }), "", saveNever, ""},
		{"the target has another CPU", usual, preflight.CheckCPU, saveNever, "node2 could not restore it: no avx"},
		{"the target has another CPU, with snapshot", with(func(p *param.Params) { p.Snapshot = "/s" }),
			preflight.CheckCPU, saveAlways, ""},
		{"the target has no room", usual, preflight.CheckMemory, saveOnLeaving, ""},
	} {
		when, reason := decideSave(c.p, notes.Failure{Peer: "node2", Check: c.check, Why: "no avx"})
		if when != c.want || reason != c.reason {
			t.Errorf("%s: %v, %q", c.name, when, reason)
		}
	}
}
