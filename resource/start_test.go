package resource

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/ocf"
)

func TestStart(t *testing.T) {
	deadLibvirt := func(w *world) { w.open = func(context.Context, string) error { return dead() } }
	refuse := func(message string) func(*world) {
		return func(w *world) {
			w.create = func(context.Context, string) error { return &libvirt.Error{Op: "create", Message: message} }
		}
	}
	for _, c := range []struct {
		name   string
		build  []func(*world)
		want   ocf.ExitCode
		reason string
		create bool
	}{
		{"cold", nil, ocf.Success, "", true},
		{"defined and off", []func(*world){state(libvirt.ShutOff, "shutdown"), func(w *world) { w.procs = nil }}, ocf.Success, "", true},
		{"running", []func(*world){(*world).boot}, ocf.Success, "", false},
		{"paused by the operator", []func(*world){state(libvirt.Paused, "user")}, ocf.Success, "", false},
		{"running, libvirt dead", []func(*world){(*world).boot, deadLibvirt}, ocf.Success, "", false},
		{"left paused by a migration", []func(*world){state(libvirt.Paused, "migration")}, ocf.Generic, "left paused by a migration", false},
		{"arriving", []func(*world){state(libvirt.Paused, "migration"), func(w *world) { w.procs[0].Incoming = true }}, ocf.Generic, "arriving", false},
		{"crashed", []func(*world){state(libvirt.Crashed, "panicked")}, ocf.Generic, "crashed", false},
		{"cannot tell", []func(*world){func(w *world) { w.find = unreadableProcesses }}, ocf.Generic, "cannot tell", false},
		{"libvirt dead", []func(*world){deadLibvirt}, ocf.Generic, "Connection refused", false},
		{"refused", []func(*world){refuse("unsupported machine type")}, ocf.Generic, "unsupported machine type", true},
		{"image locked", []func(*world){refuse("QEMU: Failed to get \"write\" lock\nIs another process using the image [/x]?")},
			ocf.Generic, "is the guest running on another node", true},
		{"does not stay up", []func(*world){func(w *world) { w.create = func(context.Context, string) error { return nil } }},
			ocf.Generic, "does not run in time", true},
		{"error, but it runs", []func(*world){func(w *world) {
			w.create = func(context.Context, string) error { w.boot(); return errors.New("end of file") }
		}}, ocf.Success, "", true},
		{"libvirt blocks in create", []func(*world){func(w *world) {
			w.create = func(ctx context.Context, _ string) error { return blocked(ctx) }
		}}, ocf.Generic, "cannot start", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				for _, f := range c.build {
					f(w)
				}
				err, took := w.run("start")
				checkExit(t, err, c.want, c.reason)
				if got := slices.Equal(w.calls, []string{"create"}); got != c.create || !c.create && len(w.calls) > 0 {
					t.Errorf("did %v, want create %v", w.calls, c.create)
				}
				if w.held() != (c.want == ocf.Success) || took >= defaults["start"] {
					t.Errorf("noted %v, took %v", w.held(), took)
				}
			})
		})
	}
}

func TestStartWaitsForLibvirt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		ready := time.Now().Add(20 * time.Second)
		w.open = func(context.Context, string) error {
			if time.Now().Before(ready) {
				return dead()
			}
			return nil
		}
		err, _ := w.run("start")
		checkExit(t, err, ocf.Success, "")
	})
}

// The note about the name comes before the guest: without it, a later stop could
// not tell "never here" from "name not known".
func TestStartNeedsItsNote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		if err := os.WriteFile(w.agent.RunDir, nil, 0o600); err != nil { // a file where the directory must be
			t.Fatal(err)
		}
		err, _ := w.run("start")
		checkExit(t, err, ocf.Generic, "cannot note")
		if len(w.calls) > 0 {
			t.Errorf("did %v", w.calls)
		}
	})
}

func TestStartAdoptsTheUUIDOfADefinition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		text := strings.Replace(guestXML, "<uuid>"+guestUUID+"</uuid>", "", 1)
		if err := os.WriteFile(w.agent.Params.Config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		w.is(libvirt.ShutOff, "shutdown")
		w.procs = nil
		w.create = func(_ context.Context, xml string) error {
			if d, err := domainxml.Parse(xml); err != nil || d.UUID != guestUUID {
				t.Errorf("started from %q (%v)", xml, err)
			}
			w.boot()
			return nil
		}
		err, _ := w.run("start")
		checkExit(t, err, ocf.Success, "")
		if after, _ := os.ReadFile(w.agent.Params.Config); string(after) != text {
			t.Errorf("the operator's file became %q", after)
		}
	})
}

// Without its config file an action continues with the name noted last, as far as
// a name is enough, and does not take "no file" for "no guest".
func TestConfigGone(t *testing.T) {
	for _, c := range []struct {
		action       string
		noted, there bool
		probe        bool
		want         ocf.ExitCode
	}{
		{"monitor", true, true, false, ocf.Success},
		{"monitor", true, true, true, ocf.Success},
		{"monitor", true, false, false, ocf.NotRunning},
		{"monitor", true, false, true, ocf.NotRunning},
		{"monitor", false, false, true, ocf.NotRunning},
		{"monitor", false, true, true, ocf.Success}, // a guest with the file's name is there
		{"monitor", false, true, false, ocf.Installed},
		{"stop", true, true, false, ocf.Success},
		{"stop", true, false, false, ocf.Success},
		{"stop", false, false, false, ocf.Success},
		{"stop", false, true, false, ocf.Generic},
		{"start", true, false, false, ocf.Installed},
		{"start", false, false, false, ocf.Installed},
		{"migrate_to", true, true, false, ocf.Success},
		{"migrate_to", false, true, false, ocf.Installed},
		{"migrate_from", true, true, false, ocf.Success},
		{"migrate_from", false, true, false, ocf.Installed},
		{"validate-all", true, true, false, ocf.Installed},
	} {
		name := c.action
		for label, on := range map[string]bool{" noted": c.noted, " there": c.there, " probe": c.probe} {
			if on {
				name += label
			}
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.action)
				if c.noted {
					checkExit(t, w.agent.Run(t.Context(), "monitor"), ocf.NotRunning, "")
				}
				if c.there {
					w.boot()
				}
				if err := os.Remove(w.agent.Params.Config); err != nil {
					t.Fatal(err)
				}
				w.agent.Probe = c.probe
				err, _ := w.run(c.action)
				checkExit(t, err, c.want, "")
				if stopped := slices.Contains(w.calls, "shutdown"); stopped != (c.action == "stop" && c.there && c.noted) {
					t.Errorf("did %v", w.calls)
				}
			})
		})
	}
}

// A guest of the file's name that another resource runs is not the one that is looked for.
func TestGuessedNameOfAnotherResource(t *testing.T) {
	for action, want := range map[string]ocf.ExitCode{"monitor": ocf.NotRunning, "stop": ocf.Success} {
		t.Run(action, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, action)
				w.boot()
				w.noted()
				w.agent.Instance, w.agent.Params.Config, w.agent.Probe = "res2", "/not/there/vm1.xml", true
				err, _ := w.run(action)
				checkExit(t, err, want, "")
				if len(w.calls) > 0 || !w.held() {
					t.Errorf("did %v, and it is noted: %t", w.calls, w.held())
				}
			})
		})
	}
}

// The note belongs to one config file: a resource that was given another one is another guest.
func TestNoteOfAnotherConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "monitor")
		checkExit(t, w.agent.Run(t.Context(), "monitor"), ocf.NotRunning, "")
		w.boot()
		w.agent.Params.Config = filepath.Join(w.dir, "elsewhere.xml")
		err, _ := w.run("monitor")
		checkExit(t, err, ocf.Installed, "elsewhere.xml")
	})
}

func TestMalformedConfigIsLikeAMissingOne(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "no XML": "vm1", "no name": "<domain/>", "cut off": "<domain><name>vm1</name>",
		"network": "<network><name>vm1</name></network>"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "start")
				if err := os.WriteFile(w.agent.Params.Config, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				for _, action := range []string{"start", "validate-all"} {
					err, _ := w.run(action)
					checkExit(t, err, ocf.Installed, "vm1.xml")
				}
			})
		})
	}
}

func TestValidate(t *testing.T) {
	w := newWorld(t, "validate-all")
	for _, c := range []struct {
		emulator string
		want     ocf.ExitCode
	}{
		{"", ocf.Success},
		{os.Args[0], ocf.Success},
		{"/no/such/qemu", ocf.Installed},
		{"qemu-system-x86_64", ocf.Installed},
		{w.dir, ocf.Installed},
		{w.agent.Params.Config, ocf.Installed},
	} {
		text := strings.Replace(guestXML, "</domain>", "<devices><emulator>"+c.emulator+"</emulator></devices></domain>", 1)
		if err := os.WriteFile(w.agent.Params.Config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		checkExit(t, w.agent.Run(t.Context(), "validate-all"), c.want, "")
	}
	if _, err := os.Stat(w.agent.RunDir); err == nil {
		t.Error("validate-all left files behind")
	}
}

func TestUnknownAction(t *testing.T) {
	w := newWorld(t, "promote")
	for _, action := range []string{"promote", "demote", "notify", "reload", "", "START"} {
		checkExit(t, w.agent.Run(t.Context(), action), ocf.Unimplemented, "unknown action")
	}
}

// Of two starts at once the second waits, and finds the guest running.
func TestStartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "start")
		booting := make(chan struct{})
		var mu sync.Mutex // the file lock orders the two, which the race detector does not see
		status, find := w.status, w.find
		w.status = func(ctx context.Context) (libvirt.Status, error) { mu.Lock(); defer mu.Unlock(); return status(ctx) }
		w.find = func(ctx context.Context) ([]hostproc.Process, error) { mu.Lock(); defer mu.Unlock(); return find(ctx) }
		w.create = func(context.Context, string) error {
			close(booting) // a second create would panic here
			time.Sleep(3 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			w.boot()
			return nil
		}
		second := make(chan error)
		go func() {
			<-booting
			second <- w.agent.Run(context.Background(), "start")
		}()
		err, _ := w.run("start")
		checkExit(t, err, ocf.Success, "")
		checkExit(t, <-second, ocf.Success, "")
	})
}
