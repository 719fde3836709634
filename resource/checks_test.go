package resource

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

func TestMonitorScripts(t *testing.T) {
	for _, c := range []struct {
		name   string
		build  func(*world)
		want   ocf.ExitCode
		reason string
		ran    string
	}{
		{"all succeed", nil, ocf.Success, "", "/a b"},
		{"the first fails", func(w *world) {
			w.program = func(context.Context, string) (string, error) { return fails("trying\nno answer\n") }
		}, ocf.Generic, "no answer", "/a"},
		{"the second hangs", func(w *world) {
			w.program = func(ctx context.Context, line string) (string, error) {
				if line == "b" {
					return "waiting", blocked(ctx)
				}
				return "", nil
			}
		}, ocf.Generic, `"b" timed out: waiting`, "/a b"},
		{"a probe asks where the guest is", func(w *world) { w.agent.Probe = true }, ocf.Success, "", ""},
		{"paused by a person", state(libvirt.Paused, "user"), ocf.Success, "", ""},
		{"paused by an I/O error", state(libvirt.Paused, "ioerror"), ocf.Generic, "ioerror", ""},
		{"not running", (*world).gone, ocf.NotRunning, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, "monitor")
				w.boot()
				w.agent.Params.Scripts = []string{"/a", "b"}
				if c.build != nil {
					c.build(w)
				}
				err, took := w.run("monitor")
				checkExit(t, err, c.want, c.reason)
				if ran := strings.Join(w.calls, " "); ran != c.ran || took >= defaults["monitor"] {
					t.Errorf("ran %q, want %q; took %v", ran, c.ran, took)
				}
			})
		})
	}
}

// A start, and an arrival, are complete when the scripts succeed.
func TestScriptsHoldUpAStart(t *testing.T) {
	for action, comes := range map[string]func(*world){"start": (*world).gone, "migrate_from": (*world).boot} {
		for _, boots := range []time.Duration{20 * time.Second, time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, action)
				comes(w)
				w.agent.Params.Scripts = []string{"/a"}
				ready := time.Now().Add(boots)
				w.program = func(context.Context, string) (string, error) {
					if time.Now().Before(ready) {
						return fails("not yet")
					}
					return "", nil
				}
				want := map[bool]ocf.ExitCode{true: ocf.Success, false: ocf.Generic}[boots < time.Minute]
				err, took := w.run(action)
				checkExit(t, err, want, map[ocf.ExitCode]string{ocf.Generic: "not yet"}[want])
				if took >= defaults[action] || want == ocf.Success && took < boots || !w.held() {
					t.Errorf("%s took %v, noted %v", action, took, w.held())
				}
			})
		}
	}
}

// echo answers datagrams on loopback from the nth on.
func echo(t *testing.T, nth int) string {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 64)
		for n := 1; ; n++ {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n >= nth {
				_, _ = conn.WriteTo(buf[:size], from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func TestChecks(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	const (
		closed = "127.0.0.1:1" // not of the ports that are given to whoever asks for a free one
		quick  = 100 * time.Millisecond
	)
	for _, c := range []struct {
		name   string
		checks param.Checks
		ping   error
		want   ocf.ExitCode
		reason string
	}{
		{"TCP", param.Checks{TCP: []string{listener.Addr().String()}}, nil, ocf.Success, ""},
		{"TCP refused", param.Checks{TCP: []string{listener.Addr().String(), closed}}, nil, ocf.Generic, "check_tcp: " + closed},
		{"UDP", param.Checks{UDP: []string{echo(t, 1)}}, nil, ocf.Success, ""},
		{"UDP, the first is lost", param.Checks{UDP: []string{echo(t, 2)}, Timeout: 3 * time.Second}, nil, ocf.Success, ""},
		{"UDP refused", param.Checks{UDP: []string{closed}}, nil, ocf.Generic, "check_udp"},
		{"UDP, silence", param.Checks{UDP: []string{echo(t, 1000)}, Timeout: quick}, nil, ocf.Generic, "check_udp"},
		{"agent", param.Checks{Agent: true}, nil, ocf.Success, ""},
		{"agent does not answer", param.Checks{Agent: true}, errors.New("guest agent is not responding"), ocf.Generic,
			"check_agent"},
		{"libvirt does not answer", param.Checks{Agent: true}, dead(), ocf.Success, ""},
		{"young", param.Checks{TCP: []string{closed}, Grace: time.Hour}, nil, ocf.Success, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "monitor")
			w.boot()
			if c.checks.Timeout == 0 {
				c.checks.Timeout = time.Second
			}
			w.agent.Params.Checks = c.checks
			w.ping = func(context.Context) error { return c.ping }
			err, _ := w.run("monitor")
			checkExit(t, err, c.want, c.reason)
		})
	}
}

// The time of grace counts from the guest's start or arrival, and not from the last monitor.
func TestGrace(t *testing.T) {
	w := newWorld(t, "monitor")
	w.boot()
	w.agent.Params.Checks = param.Checks{Agent: true, Timeout: time.Second, Grace: time.Minute}
	w.ping = func(context.Context) error { return errors.New("not responding") }
	for _, c := range []struct {
		age  time.Duration
		want ocf.ExitCode
	}{{0, ocf.Success}, {50 * time.Second, ocf.Success}, {70 * time.Second, ocf.Generic}, {-time.Hour, ocf.Generic}} {
		if c.age != 0 {
			w.aged(c.age)
		}
		err, _ := w.run("monitor")
		checkExit(t, err, c.want, "")
	}
}

func TestValidateNames(t *testing.T) {
	none := "/no/such/file"
	for _, c := range []struct {
		name   string
		set    func(*param.Params)
		want   ocf.ExitCode
		reason string
	}{
		{"nothing", func(*param.Params) {}, ocf.Success, ""},
		{"script", func(p *param.Params) { p.Scripts = []string{"/bin/sh", "sh"} }, ocf.Success, ""},
		{"no such script", func(p *param.Params) { p.Scripts = []string{none} }, ocf.Installed, none},
		{"a script that is a directory", func(p *param.Params) { p.Scripts = []string{"/"} }, ocf.Installed, "monitor_scripts"},
		{"snapshot", func(p *param.Params) { p.Snapshot = "/" }, ocf.Success, ""},
		{"no directory for it", func(p *param.Params) { p.Snapshot = none }, ocf.Installed, none},
		{"no backing file", func(p *param.Params) { p.Overlay.Backing = none }, ocf.Installed, none},
		{"memory management", func(p *param.Params) { p.MemManagement = true }, ocf.Success, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "validate-all")
			c.set(&w.agent.Params)
			err, _ := w.run("validate-all")
			checkExit(t, err, c.want, c.reason)
			w.did()
		})
	}
}

// An Agent that cannot run programs says so where a monitor needs them, and judges alone where not.
func TestMonitorWithoutPrograms(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*world)
		more bool
	}{
		"nothing to do":       {func(*world) {}, false},
		"told before":         {func(w *world) { w.agent.Pacemaker, w.agent.Params.Utilization = true, nil }, false},
		"utilization":         {func(w *world) { w.agent.Pacemaker = true; w.noted(); w.aged(time.Minute) }, true},
		"utilization, as yet": {func(w *world) { w.agent.Pacemaker = true; w.noted() }, false},
		"scripts":             {func(w *world) { w.agent.Params.Scripts = []string{"/a"} }, true},
		"scripts, of a probe": {func(w *world) { w.agent.Params.Scripts, w.agent.Probe = []string{"/a"}, true }, false},
		"checks":              {func(w *world) { w.agent.Params.Checks.UDP = []string{"a:1"} }, true},
		"saved state":         {func(w *world) { w.agent.Params.Snapshot = w.dir }, true},
		"started by hand":     {func(w *world) { w.agent.Params.SaveDir = w.dir }, true},
		"its save_dir":        {func(w *world) { w.agent.Params.SaveDir = w.dir; w.noted() }, false},
		"saved configuration": {func(w *world) { w.agent.Params.SaveConfig = true }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "monitor")
			w.boot()
			w.info = libvirt.Info{CPUs: 1, MaxMemory: 1 << 20}
			w.agent.Command = nil
			c.set(w)
			err, _ := w.run("monitor")
			if errors.Is(err, ErrMore) != c.more || !c.more && err != nil {
				t.Errorf("monitor: %v", err)
			}
			w.did()
			w.gone()
			err, _ = w.run("monitor")
			checkExit(t, err, ocf.NotRunning, "")
		})
	}
}
