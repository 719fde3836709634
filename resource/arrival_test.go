package resource

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/ocf"
)

// What libvirt still has of a guest that Xen has not is put in order by the stop that follows a failed migration.
func TestStopAfterABrokenArrival(t *testing.T) {
	const restarts = "systemctl try-restart libvirtd.service; systemctl try-restart virtxend.service"
	for _, c := range []struct {
		half  bool // Xen has half of it
		busy  []string
		calls string
	}{
		{false, nil, restarts},
		{false, []string{"web"}, ""},
		{true, nil, "kill; " + restarts},
		{true, []string{"web"}, "kill"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newXenWorld(t, "stop")
			w.is(libvirt.ShutOff, "unknown")
			w.procs, w.busy = nil, c.busy
			if c.half {
				w.sees(hostproc.Alive)
				w.procs[0].Incoming = true
			}
			w.kill = func(context.Context, hostproc.Process, time.Duration) error { w.procs = nil; return nil }
			w.program = func(context.Context, string) (string, error) { w.there = false; return "", nil }
			err, _ := w.run("stop")
			checkExit(t, err, ocf.Success, "")
			if calls := strings.Join(w.calls, "; "); calls != c.calls {
				t.Errorf("did %q, want %q", calls, c.calls)
			}
		})
	}
}

// A migration to here whose source died leaves half a guest in Xen, and a libvirt that waits for the rest. A start that
// the cluster manager asks for puts both in order.
func TestStartAfterABrokenArrival(t *testing.T) {
	half := func(w *xenWorld) {
		w.is(libvirt.ShutOff, "unknown")
		w.sees(hostproc.Alive)
		w.procs[0].Incoming = true
	}
	whole := func(w *xenWorld) { half(w); w.state.State, w.state.Reason = libvirt.Paused, "unknown" }
	const restart, other = "systemctl try-restart libvirtd.service", "systemctl try-restart virtxend.service"
	for _, c := range []struct {
		name   string
		build  func(*xenWorld)
		want   ocf.ExitCode
		reason string
		calls  string
	}{
		{"half of it came", half, ocf.Success, "", "kill; " + restart + "; " + other + "; create"},
		{"all of it came", whole, ocf.Success, "", "kill; " + restart + "; " + other + "; create"},
		{"libvirt alone is left", func(w *xenWorld) { half(w); w.procs = nil }, ocf.Success, "",
			restart + "; " + other + "; create"},
		{"libvirt is at work for others", func(w *xenWorld) { half(w); w.procs = nil; w.busy = []string{"vm1", "web"} },
			ocf.Generic, "has jobs on web: when these are done, type systemctl", ""},
		{"no daemon can be started", func(w *xenWorld) {
			half(w)
			w.procs = nil
			w.program = func(context.Context, string) (string, error) { return fails("Unit not found") }
		}, ocf.Generic, "cannot be restarted", restart + "; " + other},
		{"a peer has it", func(w *xenWorld) {
			half(w)
			w.agent.Params.Transport = "tcp"
			w.agent.Peers = func(context.Context) ([]elsewhere.Peer, error) {
				return []elsewhere.Peer{{Name: "node2", State: elsewhere.PeerUp}}, nil
			}
			w.target = func(context.Context) (libvirt.Status, error) {
				return libvirt.Status{State: libvirt.Running, Reason: "booted", UUID: guestUUID}, nil
			}
		}, ocf.Generic, "incoming migration", ""},
		{"somebody paused it here", func(w *xenWorld) { whole(w); w.noted() }, ocf.Success, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newXenWorld(t, "start")
				w.agent.Timeout = 2 * time.Minute
				w.kill = func(context.Context, hostproc.Process, time.Duration) error { w.procs = nil; return nil }
				c.build(w)
				if w.program == nil {
					w.program = func(_ context.Context, line string) (string, error) {
						if line == restart {
							w.there = false
						}
						return "", nil
					}
				}
				err, _ := w.run("start")
				checkExit(t, err, c.want, c.reason)
				if calls := strings.Join(w.calls, "; "); calls != c.calls {
					t.Errorf("did %q, want %q", calls, c.calls)
				}
			})
		})
	}
}
