package resource

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/ocf"
)

func TestMonitor(t *testing.T) {
	dieAfterwards := func(w *world) { w.open = func(context.Context, string) error { return dead() } }
	hang := func(w *world) { w.open = func(ctx context.Context, _ string) error { return blocked(ctx) } }
	arrivingProcess := func(w *world) { w.procs[0].Incoming = true }
	blind := func(w *world) { w.find = unreadableProcesses }
	for _, c := range []struct {
		name   string
		build  []func(*world)
		want   ocf.ExitCode
		reason string // part of the exit reason
		held   bool
	}{
		{"running", []func(*world){(*world).boot}, ocf.Success, "", true},
		{"not there", nil, ocf.NotRunning, "", false},
		{"libvirt dead, process there", []func(*world){(*world).boot, dieAfterwards}, ocf.Success, "", true},
		{"libvirt blocked, process there", []func(*world){(*world).boot, hang}, ocf.Success, "", true},
		{"libvirt dead, no process", []func(*world){dieAfterwards}, ocf.NotRunning, "", false},
		{"libvirt dead, processes unreadable", []func(*world){dieAfterwards, blind}, ocf.Generic, "Connection refused", false},
		{"libvirt blocked, processes unreadable", []func(*world){hang, blind}, ocf.Generic, "cannot tell", false},
		{"libvirt knows none, processes unreadable", []func(*world){blind}, ocf.Generic, "hidepid", false},
		{"lost by libvirt", []func(*world){(*world).boot, func(w *world) { w.there = false }}, ocf.Success, "", true},
		{"paused by the operator", []func(*world){state(libvirt.Paused, "user")}, ocf.Success, "", true},
		{"I/O error", []func(*world){state(libvirt.Paused, "ioerror")}, ocf.Generic, "ioerror", false},
		{"crashed", []func(*world){state(libvirt.Crashed, "panicked")}, ocf.Generic, "does not work", false},
		{"asleep", []func(*world){state(libvirt.PMSuspended, "unknown")}, ocf.Generic, "suspended", false},
		{"arriving", []func(*world){state(libvirt.Paused, "migration"), arrivingProcess}, ocf.NotRunning, "", false},
		{"arrived", []func(*world){state(libvirt.Running, "migrated"), arrivingProcess}, ocf.Success, "", true},
		{"left paused by a migration", []func(*world){state(libvirt.Paused, "migration")}, ocf.Generic,
			"left paused by a migration", false},
		{"libvirt dead, arriving process", []func(*world){(*world).boot, arrivingProcess, dieAfterwards}, ocf.Generic,
			"incoming", false},
	} {
		for _, action := range []string{"monitor", "status"} {
			t.Run(c.name+"/"+action, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, action)
					for _, f := range c.build {
						f(w)
					}
					err, took := w.run(action)
					checkExit(t, err, c.want, c.reason)
					if w.held() != c.held {
						t.Errorf("noted for the daemon: %v, want %v", w.held(), c.held)
					}
					if len(w.calls) > 0 || took >= defaults["monitor"] {
						t.Errorf("did %v, took %v", w.calls, took)
					}
				})
			})
		}
	}
}

// A probe of the guest's other node may come after the guest has left that: one of the two must say that it runs.
func TestProbeWaitsForWhatArrives(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(*world)
		want ocf.ExitCode
		took time.Duration
	}{
		{"it comes", func(w *world) { w.is(libvirt.Running, "migrated") }, ocf.Success, 5 * time.Second},
		{"it does not", func(w *world) { w.gone() }, ocf.NotRunning, 5 * time.Second},
		{"it takes long", func(*world) {}, ocf.NotRunning, 14 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "monitor")
				w.agent.Probe = true
				w.is(libvirt.Paused, "migration")
				w.procs[0].Incoming = true
				over, status := time.Now().Add(5*time.Second), w.status
				w.status = func(ctx context.Context) (libvirt.Status, error) {
					if !time.Now().Before(over) {
						c.then(w)
					}
					return status(ctx)
				}
				err, took := w.run("monitor")
				checkExit(t, err, c.want, "")
				if took < c.took || took > c.took+time.Second {
					t.Errorf("took %v, want about %v", took, c.took)
				}
			})
		})
	}
}

// A hand-over takes a moment, which must not count as a failure.
func TestMonitorWaitsForAnUnclearVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "monitor")
		w.is(libvirt.Paused, "migration")
		looks := 0
		w.status = func(context.Context) (libvirt.Status, error) {
			if looks++; looks == 3 {
				w.gone()
				return libvirt.Status{}, noDomain()
			}
			return w.state, nil
		}
		err, _ := w.run("monitor")
		checkExit(t, err, ocf.NotRunning, "")
	})
}

// Processes are looked at where they can change the verdict, and only there.
func TestMonitorLooksAtProcessesWhenItMatters(t *testing.T) {
	for _, c := range []struct {
		name   string
		action string
		build  func(*world)
		want   int // looks at the processes
	}{
		{"running", "monitor", (*world).boot, 0},
		{"running", "status", (*world).boot, 0},
		{"I/O error", "monitor", state(libvirt.Paused, "ioerror"), 0},
		{"unknown to libvirt", "monitor", func(*world) {}, 1},
		{"shut off", "monitor", state(libvirt.ShutOff, "shutdown"), 1},
		{"crashed", "monitor", state(libvirt.Crashed, "panicked"), 1},
		{"a start of what runs", "start", (*world).boot, 1},
		{"a probe of what runs", "monitor", func(w *world) { w.boot(); w.agent.Probe = true }, 1},
	} {
		t.Run(c.action+" "+c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.action)
				c.build(w)
				looks, find := 0, w.find
				w.find = func(ctx context.Context) ([]hostproc.Process, error) { looks++; return find(ctx) }
				_, _ = w.run(c.action)
				if looks != c.want {
					t.Errorf("looked %d times, want %d", looks, c.want)
				}
			})
		})
	}
}

// A libvirtd that was just started lists a guest whose QEMU ended while it was away, for a moment.
func TestWhatLibvirtHadIsNotWhatIsHere(t *testing.T) {
	for _, c := range []struct {
		name, action string
		probe        bool
		state        libvirt.State
		reason       string
		stays        bool // with what it said
		want         ocf.ExitCode
		created      bool
	}{
		{"started", "start", false, libvirt.Running, "booted", false, ocf.Success, true},
		{"started, it was broken", "start", false, libvirt.Paused, "ioerror", false, ocf.Success, true},
		{"probed", "monitor", true, libvirt.Running, "booted", false, ocf.NotRunning, false},
		{"moved", "migrate_to", false, libvirt.Running, "booted", false, ocf.Generic, false},
		{"stopped", "stop", false, libvirt.Running, "booted", false, ocf.Success, false},
		{"started, and libvirt stays with it", "start", false, libvirt.Running, "booted", true, ocf.Success, false},
		{"probed, and libvirt stays with it", "monitor", true, libvirt.Running, "booted", true, ocf.Success, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.action)
				w.agent.Probe = c.probe
				w.is(c.state, c.reason)
				w.procs = nil
				create, created := w.create, false
				w.create = func(ctx context.Context, xml string) error { created = true; return create(ctx, xml) }
				status, asked := w.status, 0
				w.status = func(ctx context.Context) (libvirt.Status, error) {
					if asked++; asked == 3 && !c.stays {
						w.gone()
					}
					return status(ctx)
				}
				err, took := w.run(c.action)
				checkExit(t, err, c.want, "")
				if created != c.created || slices.Contains(w.calls, "migrate") {
					t.Errorf("did %v", w.calls)
				}
				if least := defaults["monitor"] / 4; c.stays && took < least {
					t.Errorf("believed after %v, want %v at least", took, least)
				}
			})
		})
	}
}

func state(s libvirt.State, reason string) func(*world) {
	return func(w *world) { w.is(s, reason) }
}

func checkExit(t *testing.T, err error, want ocf.ExitCode, reason string) {
	t.Helper()
	if got := ocf.CodeOf(err); got != want {
		t.Fatalf("exit code %d (%v), want %d", got, err, want)
	}
	if want != ocf.Success && want != ocf.NotRunning && err.Error() == "" {
		t.Error("a failure without a reason")
	}
	if reason != "" && !strings.Contains(err.Error(), reason) {
		t.Errorf("reason %q lacks %q", err, reason)
	}
}
