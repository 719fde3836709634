package resource

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

// xenWorld is a node with Xen, whose processes can do more than QEMU's.
type xenWorld struct {
	*world
	ask func(ctx context.Context) error // the guest to shut down, without libvirt
}

func newXenWorld(t *testing.T, action string) *xenWorld {
	w := &xenWorld{world: newWorld(t, action)}
	w.agent.Params.Hypervisor = xenURI
	w.agent.Processes = w
	w.free = 1 << 40
	w.ask = func(context.Context) error { w.gone(); return nil }
	return w
}

// sees gives the guest a domain that Xen says this of.
func (w *xenWorld) sees(c hostproc.Condition) {
	w.procs = []hostproc.Process{{PID: 3, Name: "vm1", UUID: guestUUID, Domain: true, Condition: c}}
}

// after does something once, at the first question to libvirt after d.
func (w *xenWorld) after(d time.Duration, do func()) {
	began, ask := time.Now(), w.status
	w.status = func(ctx context.Context) (libvirt.Status, error) {
		if do != nil && time.Since(began) >= d {
			do()
			do = nil
		}
		return ask(ctx)
	}
}

// Shutdown implements observe.Shutdowner.
func (w *xenWorld) Shutdown(ctx context.Context, p hostproc.Process, mode string) error {
	w.note("ask " + p.String() + mode)
	return w.ask(ctx)
}

// Halted implements observe.Resumer.
func (w *xenWorld) Halted(context.Context, string, string) (bool, error) {
	return len(w.procs) == 1 && w.procs[0].Condition == hostproc.Halted, nil
}

// Wake implements observe.Resumer.
func (w *xenWorld) Wake(context.Context, string, string) error {
	w.note("wake")
	w.sees(hostproc.Alive)
	return nil
}

// Xen is believed before libvirt, which says what it did last.
func TestMonitorBelievesXen(t *testing.T) {
	dies := func(w *xenWorld) { w.open = func(context.Context, string) error { return dead() } }
	for _, c := range []struct {
		name   string
		build  func(*xenWorld)
		want   ocf.ExitCode
		reason string
	}{
		{"runs", func(w *xenWorld) { w.boot(); w.sees(hostproc.Alive) }, ocf.Success, ""},
		{"paused for a switchover", func(w *xenWorld) { w.boot(); w.sees(hostproc.Halted) }, ocf.Generic,
			"Xen domain 3 is paused for a switchover"},
		{"crashed", func(w *xenWorld) { w.boot(); w.sees(hostproc.Broken) }, ocf.Generic, "crashed"},
		{"dying for ever", func(w *xenWorld) { w.sees(hostproc.Ending) }, ocf.Generic, "Xen domain 3 is ending"},
		{"cannot be told", func(w *xenWorld) { w.find = unreadableProcesses }, ocf.Generic,
			"whether a Xen domain of it is here is unknown"},
		{"not here", func(*xenWorld) {}, ocf.NotRunning, ""},
		{"without libvirt", func(w *xenWorld) { w.sees(hostproc.Alive); dies(w) }, ocf.Success, ""},
		{"not here, without libvirt", dies, ocf.NotRunning, ""},
		{"half of it, without libvirt",
			func(w *xenWorld) { w.sees(hostproc.Alive); w.procs[0].Incoming = true; dies(w) }, ocf.Generic, "incoming"},
		{"arriving", func(w *xenWorld) {
			w.is(libvirt.Paused,
				"user")
			w.sees(hostproc.Alive)
			w.procs[0].Incoming = true
		}, ocf.NotRunning, ""},
		{"paused by somebody", func(w *xenWorld) {
			w.is(libvirt.Paused, "user")
			w.noted()
			w.sees(hostproc.Alive)
			w.procs[0].Incoming = true
		}, ocf.Success, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newXenWorld(t, "monitor")
				c.build(w)
				err, _ := w.run("monitor")
				checkExit(t, err, c.want, c.reason)
			})
		})
	}
}

// A guest that reboots is gone for a moment, and nobody may take that for its end.
func TestReboot(t *testing.T) {
	listed := func(w *xenWorld) { w.is(libvirt.ShutOff, "shutdown"); w.procs = nil }
	absent := func(w *xenWorld) { w.gone() }
	for _, c := range []struct {
		name   string
		action string
		noted  bool
		away   func(*xenWorld)
		back   time.Duration // 0 for never
		want   ocf.ExitCode
		least  time.Duration
		most   time.Duration
	}{
		{"back at once", "monitor", true, absent, 2 * time.Second, ocf.Success, 2 * time.Second, 3 * time.Second},
		{"gone", "monitor", true, absent, 0, ocf.NotRunning, 5 * time.Second, 6 * time.Second},
		{"not seen before", "monitor", false, absent, 2 * time.Second, ocf.NotRunning, 0, 0},
		{"libvirt is at work on it", "monitor", false, listed, 9 * time.Second, ocf.Success, 9 * time.Second, 10 * time.Second},
		{"libvirt is at work for ever", "monitor", false, listed, 0, ocf.NotRunning, 14 * time.Second, 16 * time.Second},
		{"libvirt has not heard of its end", "monitor", false, func(w *xenWorld) { w.boot(); w.procs = nil }, 0,
			ocf.NotRunning, 14 * time.Second, 16 * time.Second},
		{"started in the midst of it", "start", true, absent, 2 * time.Second, ocf.Success, 2 * time.Second, 4 * time.Second},
		{"stopped in the midst of it", "stop", true, absent, 2 * time.Second, ocf.Success, 2 * time.Second, 4 * time.Second},
		{"stopped for the second time", "stop", false, absent, 0, ocf.Success, 0, 0},
		{"moved in the midst of it", "migrate_to", true, absent, 2 * time.Second, ocf.Success, 2 * time.Second, 4 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newXenWorld(t, c.action)
				w.agent.Timeout = 30 * time.Second
				if c.noted {
					w.noted()
				}
				c.away(w)
				if c.back > 0 {
					w.after(c.back, func() { w.boot(); w.sees(hostproc.Alive) })
				}
				err, took := w.run(c.action)
				checkExit(t, err, c.want, "")
				if took < c.least || took > c.most {
					t.Errorf("took %v, want %v to %v", took, c.least, c.most)
				}
				if slices.Contains(w.calls, "create") {
					t.Error("made a second time")
				}
				if c.action == "stop" && slices.Contains(w.calls, "shutdown") != (c.back > 0) {
					t.Errorf("did %q", w.calls)
				}
			})
		})
	}
}

func TestStopOfXen(t *testing.T) {
	dies := func(w *xenWorld) { w.open = func(context.Context, string) error { return dead() } }
	for _, c := range []struct {
		name  string
		build func(*xenWorld)
		want  ocf.ExitCode
		calls []string
	}{
		{"by libvirt", func(w *xenWorld) { w.boot(); w.sees(hostproc.Alive) }, ocf.Success, []string{"shutdown"}},
		{"by libvirt, of a guest that is paused for a switchover",
			func(w *xenWorld) { w.boot(); w.sees(hostproc.Halted) }, ocf.Success, []string{"destroy"}},
		{"without libvirt", func(w *xenWorld) { w.sees(hostproc.Alive); dies(w) }, ocf.Success, []string{"ask Xen domain 3"}},
		{"without libvirt, by the button",
			func(w *xenWorld) { w.sees(hostproc.Alive); dies(w); w.agent.Params.ShutdownMode = "acpi" }, ocf.Success,
			[]string{"ask Xen domain 3acpi"}},
		{"without libvirt, of a deaf guest", func(w *xenWorld) { w.sees(hostproc.Alive); dies(w); w.ask = blocked },
			ocf.Success, []string{"ask Xen domain 3", "kill"}},
		{"without libvirt, of a guest that is paused for a switchover",
			func(w *xenWorld) { w.sees(hostproc.Halted); dies(w) }, ocf.Success, []string{"kill"}},
		{"of another guest of its name",
			func(w *xenWorld) { w.sees(hostproc.Alive); w.procs[0].UUID = "other"; dies(w) }, ocf.Success, nil},
		{"of what libvirt does not know", func(w *xenWorld) { w.sees(hostproc.Alive); w.procs[0].Incoming = true },
			ocf.Success, []string{"kill"}},
		{"that switches itself off", func(w *xenWorld) {
			w.boot()
			w.sees(hostproc.Ending)
			w.after(4*time.Second, w.gone)
		}, ocf.Success, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newXenWorld(t, "stop")
				c.build(w)
				err, took := w.run("stop")
				checkExit(t, err, c.want, "")
				w.did(c.calls...)
				if took > defaults["stop"] {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// abortable is a xenWorld that can abort a migration without libvirt.
type abortable struct {
	*xenWorld
	err error
}

// Abort implements observe.MigrationAborter.
func (w abortable) Abort(_ context.Context, guest, uuid string) error {
	w.note("abort " + guest + " " + uuid)
	return w.err
}

// A migration that an agent which was killed has left is aborted without libvirt, and an abort that libvirt's driver has
// not is never asked for.
func TestStopCallsOffOfXen(t *testing.T) {
	for _, c := range []struct {
		name  string
		sees  func(*xenWorld) observe.Processes
		calls []string
	}{
		{"without libvirt", func(w *xenWorld) observe.Processes { return abortable{w, nil} },
			[]string{"abort vm1 " + guestUUID, "shutdown"}},
		{"none is under way", func(w *xenWorld) observe.Processes { return abortable{w, errors.New("none")} },
			[]string{"abort vm1 " + guestUUID, "shutdown"}},
		{"by nobody", func(w *xenWorld) observe.Processes { return w }, []string{"shutdown"}},
	} {
		t.Run(c.name, func(t *testing.T) { stopWithMigration(t, c.sees, c.calls) })
	}
}

func stopWithMigration(t *testing.T, sees func(*xenWorld) observe.Processes, calls []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newXenWorld(t, "stop")
		w.boot()
		w.sees(hostproc.Alive)
		w.agent.Processes = sees(w)
		i := notes.Intent{Way: notes.Outward, Guest: "vm1", UUID: guestUUID, Peer: "node2", Began: time.Now()}
		if err := w.notes().Intents.Save("res1", i); err != nil {
			t.Fatal(err)
		}
		err, _ := w.run("stop")
		checkExit(t, err, ocf.Success, "")
		w.did(calls...)
	})
}

const xenXML = "<domain type='xen'>\n  <name>vm1</name>\n  <uuid>" + guestUUID +
	"</uuid>\n  <memory unit='MiB'>256</memory>\n</domain>\n"

func TestStartNeedsMemoryOfXen(t *testing.T) {
	for _, c := range []struct {
		free   uint64
		want   ocf.ExitCode
		reason string
	}{
		{261 << 20, ocf.Success, ""},
		{200 << 20, ocf.Generic, "the node has 200 MiB of memory free, and the guest needs 261 MiB"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newXenWorld(t, "start")
			w.write("vm1.xml", xenXML)
			w.free = c.free
			err, _ := w.run("start")
			checkExit(t, err, c.want, c.reason)
			if slices.Contains(w.calls, "create") != (c.want == ocf.Success) {
				t.Errorf("did %q", w.calls)
			}
		})
	}
}

// libvirt marks no saved state of Xen's that is not whole, so that only the agent's own name for it says so.
func TestSaveOfXen(t *testing.T) {
	for _, c := range []struct {
		name  string
		save  func(w *xenWorld, path string) error
		calls []string
		kept  bool
	}{
		{"saved", func(w *xenWorld, _ string) error { w.gone(); return nil }, []string{"save"}, true},
		{"refused, and left standing still",
			func(w *xenWorld, _ string) error { w.sees(hostproc.Halted); return errors.New("no space left") },
			[]string{"save", "wake", "shutdown"}, false},
		{"the answer got lost", func(w *xenWorld, _ string) error { w.gone(); return dead() }, []string{"save"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newXenWorld(t, "stop")
				w.boot()
				w.sees(hostproc.Alive)
				w.agent.Params.Snapshot = w.dir
				w.save = func(_ context.Context, path string) error {
					if !strings.HasSuffix(path, ".saving") {
						t.Errorf("saved to %q", path)
					}
					if err := os.WriteFile(path, []byte(savedXen(xenXML)), 0o600); err != nil {
						t.Fatal(err)
					}
					return c.save(w, path)
				}
				err, _ := w.run("stop")
				checkExit(t, err, ocf.Success, "")
				w.did(c.calls...)
				if _, err := os.Stat(filepath.Join(w.dir, saveFile)); (err == nil) != c.kept {
					t.Errorf("saved state: %v", err)
				}
			})
		})
	}
}

// Where no file is named, the Xen agent looks for its default one; a stop of what was taken out of the
// configuration has no parameters at all, and goes by the notes.
func TestDefaultFileOfXen(t *testing.T) {
	if p := param.ParseEnviron([]string{reskey + "hypervisor=" + xenURI}); p.Params.XMFile != defaultXMFile ||
		len(p.Problems) > 0 {
		t.Errorf("file %q, problems %v", p.Params.XMFile, p.Problems)
	}
	for _, vars := range [][]string{{"LIBVIRT_DEFAULT_URI=" + xenURI, "OCF_RESOURCE_INSTANCE=res1"},
		{reskey + "hypervisor=qemu:///system"}} {
		if p := param.ParseEnviron(vars); p.Params.File() != "" {
			t.Errorf("%q: file %q", vars, p.Params.File())
		}
	}
	if p := param.ParseEnviron([]string{reskey + "hypervisor=" + xenURI, reskey + "config=/a.xml"}); p.Params.XMFile != "" {
		t.Errorf("file %q beside config", p.Params.XMFile)
	}
	w := newXenWorld(t, "start")
	w.agent.Environ = param.ParseEnviron([]string{"OCF_RESOURCE_INSTANCE=res1", reskey + "hypervisor=" + xenURI})
	err, _ := w.run("start")
	checkExit(t, err, ocf.Installed, "does not exist on this node")
}
