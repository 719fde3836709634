package resource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/ocf"
)

func unreadableProcesses(context.Context) ([]hostproc.Process, error) {
	return nil, fmt.Errorf("%w: hidepid", hostproc.ErrIncomplete)
}

func TestStop(t *testing.T) {
	deaf := func(w *world) { w.shutdown = func(context.Context, string) error { return nil } }
	deadLibvirt := func(w *world) { w.open = func(context.Context, string) error { return dead() } }
	hung := func(w *world) { w.open = func(ctx context.Context, _ string) error { return blocked(ctx) } }
	hungDestroy := func(w *world) { w.destroy = blocked }
	immortal := func(w *world) {
		w.kill = func(ctx context.Context, _ hostproc.Process, _ time.Duration) error { return blocked(ctx) }
	}
	for _, c := range []struct {
		name  string
		build []func(*world)
		want  ocf.ExitCode
		calls []string
		least time.Duration // how long it takes at the usual timeout, at least
		most  time.Duration // and at most
	}{
		{"not there", nil, ocf.Success, nil, 0, 0},
		{"graceful", []func(*world){(*world).boot}, ocf.Success, []string{"shutdown"}, 0, time.Second},
		{"deaf guest", []func(*world){(*world).boot, deaf}, ocf.Success,
			[]string{"shutdown", "shutdown", "shutdown", "shutdown", "shutdown", "destroy"}, 71 * time.Second, 73 * time.Second},
		{"forced", []func(*world){(*world).boot, func(w *world) { w.agent.Params.ForceStop = true }}, ocf.Success,
			[]string{"destroy"}, 0, time.Second},
		{"paused", []func(*world){state(libvirt.Paused, "user")}, ocf.Success, []string{"destroy"}, 0, time.Second},
		{"I/O error", []func(*world){state(libvirt.Paused, "ioerror")}, ocf.Success, []string{"destroy"}, 0, time.Second},
		{"asleep", []func(*world){state(libvirt.PMSuspended, "unknown")}, ocf.Success, []string{"destroy"}, 0, time.Second},
		{"crashed", []func(*world){state(libvirt.Crashed, "panicked")}, ocf.Success, []string{"destroy"}, 0, time.Second},
		{"arriving", []func(*world){state(libvirt.Paused, "migration"), func(w *world) { w.procs[0].Incoming = true }},
			ocf.Success, []string{"destroy"}, 0, time.Second},
		{"shutdown fails", []func(*world){(*world).boot, func(w *world) {
			w.shutdown = func(context.Context, string) error { return errors.New("agent not connected") }
		}}, ocf.Success, []string{"shutdown", "shutdown", "shutdown", "destroy"}, time.Second, 3 * time.Second},
		{"libvirt dead", []func(*world){(*world).boot, deadLibvirt}, ocf.Success, []string{"kill"}, libvirtPatience,
			libvirtPatience + time.Second},
		{"libvirt dead, no process", []func(*world){deadLibvirt}, ocf.Success, nil, 0, 0},
		{"libvirt blocked", []func(*world){(*world).boot, hung}, ocf.Success, []string{"kill"}, 0, 60 * time.Second},
		{"destroy hangs", []func(*world){state(libvirt.Paused, "user"), hungDestroy}, ocf.Success,
			[]string{"destroy", "kill"}, 0, 85 * time.Second},
		{"lost by libvirt", []func(*world){(*world).boot, func(w *world) { w.there = false }}, ocf.Success,
			[]string{"destroy", "kill"}, 0, 2 * time.Second},
		{"destroyed meanwhile", []func(*world){state(libvirt.Paused, "user"), func(w *world) {
			w.destroy = func(context.Context) error { w.gone(); return noDomain() }
		}}, ocf.Success, []string{"destroy"}, 0, time.Second},
		{"cannot be killed", []func(*world){(*world).boot, deadLibvirt, immortal}, ocf.Generic, []string{"kill"}, 0,
			90 * time.Second},
		{"no proof", []func(*world){func(w *world) { w.find = unreadableProcesses }}, ocf.Generic, []string{"destroy"},
			0, 90 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "stop")
				w.noted()
				for _, f := range c.build {
					f(w)
				}
				err, took := w.run("stop")
				checkExit(t, err, c.want, "")
				if !slices.Equal(w.calls, c.calls) {
					t.Errorf("did %v, want %v", w.calls, c.calls)
				}
				if took < c.least || took > c.most {
					t.Errorf("took %v, want %v to %v", took, c.least, c.most)
				}
				if w.held() != (c.want != ocf.Success) {
					t.Errorf("noted for the daemon: %v after exit code %d", w.held(), ocf.CodeOf(err))
				}
			})
		})
	}
}

// However short the timeout and whatever hangs, the stop ends inside it and
// still gets to the kill.
func TestStopFitsAnyTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{3 * time.Second, 10 * time.Second, 20 * time.Second, 90 * time.Second,
		10 * time.Minute} {
		for name, fault := range map[string]func(*world){
			"libvirt blocked": func(w *world) { w.open = func(ctx context.Context, _ string) error { return blocked(ctx) } },
			"status blocked": func(w *world) {
				w.status = func(ctx context.Context) (libvirt.Status, error) { return libvirt.Status{}, blocked(ctx) }
				w.destroy = blocked
			},
			"shutdown blocked": func(w *world) {
				w.shutdown = func(ctx context.Context, _ string) error { return blocked(ctx) }
				w.destroy = blocked
			},
			"deaf and stuck": func(w *world) {
				w.shutdown = func(context.Context,
					string) error {
					return nil
				}
				w.destroy = blocked
			},
		} {
			t.Run(name+" "+timeout.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, "stop")
					w.boot()
					fault(w)
					w.agent.Timeout = timeout
					err, took := w.run("stop")
					checkExit(t, err, ocf.Success, "")
					if took >= timeout || !slices.Contains(w.calls, "kill") {
						t.Errorf("took %v of %v, did %v", took, timeout, w.calls)
					}
				})
			})
		}
	}
}

func TestStopPassesTheMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "stop")
		w.boot()
		w.agent.Params.ShutdownMode = "agent"
		got := ""
		w.shutdown = func(_ context.Context, mode string) error { got = mode; w.gone(); return nil }
		err, _ := w.run("stop")
		checkExit(t, err, ocf.Success, "")
		if got != "agent" {
			t.Errorf("mode %q, want agent", got)
		}
	})
}

func TestStopGivesARestartedLibvirtItsChance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "stop")
		w.boot()
		back := time.Now().Add(5 * time.Second)
		w.open = func(context.Context, string) error {
			if time.Now().Before(back) {
				return dead()
			}
			return nil
		}
		err, _ := w.run("stop")
		checkExit(t, err, ocf.Success, "")
		if !slices.Equal(w.calls, []string{"shutdown"}) {
			t.Errorf("did %v, want a graceful shutdown", w.calls)
		}
	})
}

// A guest in post-copy needs what is here of it, and leaves by itself.
func TestStopLetsAPostCopyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "stop")
		w.boot()
		w.is(libvirt.Paused, "postcopy")
		end, status := time.Now().Add(9*time.Second), w.status
		w.status = func(ctx context.Context) (libvirt.Status, error) {
			if !time.Now().Before(end) {
				w.gone()
			}
			return status(ctx)
		}
		err, _ := w.run("stop")
		checkExit(t, err, ocf.Success, "")
		if len(w.calls) != 0 {
			t.Errorf("did %v to a guest that was about to leave", w.calls)
		}
	})
}

func TestBudget(t *testing.T) {
	for _, timeout := range []time.Duration{time.Millisecond, time.Second, 20 * time.Second, 90 * time.Second, time.Hour} {
		b := newBudget(timeout)
		ordered := 0 < b.graceful && b.graceful < b.destroy && b.destroy < b.end && b.end < timeout &&
			0 < b.call && 0 < b.stable && b.stable < b.end && 0 < b.migrate && b.migrate < b.end
		if !ordered {
			t.Errorf("budget of %v is %+v", timeout, b)
		}
	}
	if b := newBudget(90 * time.Second); b.end-b.graceful != ladder.DestroyTime {
		t.Errorf("stop keeps %v for the destroy, want %v", b.end-b.graceful, ladder.DestroyTime)
	}
}
