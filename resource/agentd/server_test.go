package agentd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/agentd/socket"
	"github.com/vmferry/vmferry/resource/agentd/wire"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocflog"
	"github.com/vmferry/vmferry/resource/param"
)

// limit is for what must not take any time.
const limit = 20 * time.Second

// start runs a server until the test ends, and returns its socket and what ends it.
func start(t *testing.T, look func(context.Context, int, wire.Request) wire.Answer) (socket string, stop func()) {
	t.Helper()
	return startServer(t, &Server{Look: look})
}

// startServer is start for any server.
func startServer(t *testing.T, s *Server) (socket string, stop func()) {
	t.Helper()
	s.Socket, s.Log = filepath.Join(t.TempDir(), "run", wire.Socket), quiet()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return s.Socket, stop
}

func success(context.Context, int, wire.Request) wire.Answer {
	return wire.Answer{Schema: wire.Schema, Log: []string{"fine"}}
}

func TestServerSocket(t *testing.T) {
	socket, stop := start(t, success)
	for path, want := range map[string]os.FileMode{socket: 0o600 | os.ModeSocket, filepath.Dir(socket): 0o700 | os.ModeDir} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	if err := (&Server{Socket: socket, Look: success, Log: quiet()}).Run(t.Context(), func() {}); err == nil ||
		!strings.Contains(err.Error(), "another vmferryd") {
		t.Errorf("a second server: %v", err)
	}
	if a, err := wire.Ask(socket, wire.NewRequest("monitor", nil), limit); err != nil ||
		!reflect.DeepEqual(a.Log, []string{"fine"}) {
		t.Errorf("%+v, %v", a, err)
	}
	stop()
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestServerReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), wire.Socket)
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as when a daemon is killed
	_ = dead.Close()
	l, err := socket.Listen(path, "vmferryd")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := os.WriteFile(path, []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := socket.Listen(path, "vmferryd"); err == nil || !strings.Contains(err.Error(), "is not a socket: remove it") {
		t.Errorf("over a file: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "dear" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

func TestServerCallsOffWhenTheCallerGoes(t *testing.T) {
	begun, off := make(chan struct{}), make(chan struct{})
	socket, _ := start(t, func(ctx context.Context, _ int, _ wire.Request) wire.Answer {
		close(begun)
		<-ctx.Done()
		close(off)
		return wire.Answer{}
	})
	c := dial(t, socket, `{"schema":1,"action":"monitor"}`+"\n")
	<-begun
	_ = c.Close()
	select {
	case <-off:
	case <-time.After(limit):
		t.Error("the request was not called off")
	}
}

// However many callers hang, the next one is not left waiting, and those who hang are answered.
func TestServerBoundsItsWork(t *testing.T) {
	var begun sync.WaitGroup
	begun.Add(maxRequests)
	release := make(chan struct{})
	socket, _ := start(t, func(context.Context, int, wire.Request) wire.Answer {
		begun.Done()
		<-release
		return wire.Answer{Schema: wire.Schema}
	})
	var callers []net.Conn
	for range maxRequests {
		callers = append(callers, dial(t, socket, `{"schema":1,"action":"monitor"}`+"\n"))
	}
	begun.Wait()
	if a, err := wire.Ask(socket, wire.NewRequest("monitor", nil), limit); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one too many: %+v, %v", a, err)
	}
	close(release)
	for _, c := range callers {
		if line, err := io.ReadAll(c); err != nil || !bytes.Contains(line, []byte(`"schema":1`)) {
			t.Errorf("%q, %v", line, err)
		}
	}
}

// Migrations go to the queue, which keeps their connections, and take no monitor's place. A daemon
// without a queue sends them away.
func TestServerPassesMigrationsOn(t *testing.T) {
	const enter = `{"schema":1,"action":"enter","guest":"a"}` + "\n"
	socket, _ := start(t, success)
	line, _ := io.ReadAll(dial(t, socket, enter))
	if _, err := wire.DecodeAnswer(line); err == nil || !strings.Contains(err.Error(), `declined: read request: action "enter"`) {
		t.Errorf("without a queue: %q, %v", line, err)
	}
	var inside sync.WaitGroup
	inside.Add(maxTurns)
	socket, _ = startServer(t, &Server{Look: success,
		Turn: func(_ context.Context, conn net.Conn, in *bufio.Reader, first []byte) {
			inside.Done()
			said, err := in.ReadString('\n')
			if string(first) != enter || said != "copied\n" || err != nil {
				t.Errorf("%q, %q, %v", first, said, err)
			}
			_, _ = io.WriteString(conn, "bye\n")
		}})
	var movers []net.Conn
	for range maxTurns {
		movers = append(movers, dial(t, socket, enter+"cop"))
	}
	inside.Wait()
	line, _ = io.ReadAll(dial(t, socket, enter))
	if _, err := wire.DecodeAnswer(line); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("one too many: %q, %v", line, err)
	}
	if _, err := wire.Ask(socket, wire.NewRequest("monitor", nil), limit); err != nil {
		t.Errorf("a monitor: %v", err)
	}
	for _, c := range movers {
		_, _ = io.WriteString(c, "ied\n")
		if line, err := io.ReadAll(c); err != nil || string(line) != "bye\n" {
			t.Errorf("%q, %v", line, err)
		}
	}
}

func TestServerDeclinesNonsense(t *testing.T) {
	socket, _ := start(t, func(context.Context, int, wire.Request) wire.Answer {
		t.Error("somebody looked")
		return wire.Answer{}
	})
	for _, text := range []string{"\n", "monitor\n", `{"schema":1,"action":"stop"}` + "\n", strings.Repeat("x", wire.MaxSize+1)} {
		c := dial(t, socket, text)
		line, _ := io.ReadAll(c) // reset where the server has left something unread
		if _, err := wire.DecodeAnswer(line); err == nil {
			t.Errorf("%.30q was answered with %q", text, line)
		}
	}
}

func dial(t *testing.T, socket, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(limit))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// noProcesses is a node without guests.
type noProcesses struct{ t *testing.T }

func (noProcesses) Find(context.Context, string, string) ([]hostproc.Process, error) { return nil, nil }
func (w noProcesses) Kill(context.Context, hostproc.Process, time.Duration) error {
	w.t.Error("a monitor killed")
	return nil
}

// guestFile is a guest's config file, and the caller's environment for it.
func guestFile(t *testing.T, name string) (environ []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".xml")
	if err := os.WriteFile(path, []byte("<domain type='kvm'><name>"+name+"</name></domain>"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"OCF_RESOURCE_INSTANCE=" + name, "OCF_RESKEY_config=" + path, "OCF_RESKEY_hypervisor=" + uri,
		"OCF_RESKEY_CRM_meta_timeout=30000"}
}

func newMonitor(t *testing.T, f *fakeLibvirt) *Monitor {
	t.Helper()
	return &Monitor{Open: newPool(f).Open, Processes: noProcesses{t}, RunDir: t.TempDir(), StateDir: t.TempDir(), Log: quiet()}
}

// The daemon's answer is what the agent itself finds and says, over the socket and all. That a guest does not run, or
// that it cannot be told, is not the daemon's to say: it does not see all that the agent sees.
func TestMonitorAnswersAsTheAgent(t *testing.T) {
	for _, c := range []struct {
		name, guest    string
		down, declined bool
		extra          []string
	}{
		{"running", "vm1", false, false, nil},
		{"not there", "none", false, true, nil},
		{"libvirt is dead", "vm1", true, true, nil},
		{"a probe", "none", false, true, []string{"OCF_RESKEY_CRM_meta_interval=0"}},
		{"debugging", "vm1", false, false, []string{"HA_debug=1", "OCF_RESKEY_nonsense=1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeLibvirt{down: c.down}
			m := newMonitor(t, f)
			socket, _ := start(t, m.Look)
			environ := append(guestFile(t, c.guest), c.extra...)
			got, err := wire.Ask(socket, wire.NewRequest("monitor", environ), limit)
			if c.declined {
				if err == nil || !strings.Contains(err.Error(), "not seen to run") {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			agent := resource.Agent{
				Environ: param.ParseEnviron(environ), Open: f.dial, Processes: noProcesses{t}, RunDir: t.TempDir(),
				StateDir: t.TempDir(),
				Log:      ocflog.New(ocflog.Call{Environ: environ, Instance: c.guest, PID: os.Getpid()}, &log),
			}
			want := agent.Run(t.Context(), "monitor")
			reason := ""
			if want != nil {
				reason = want.Error()
			}
			if got.Code != ocf.CodeOf(want) || got.Code != ocf.Success || got.Reason != reason {
				t.Errorf("code %d, reason %q; the agent has %d, %q", got.Code, got.Reason, ocf.CodeOf(want), reason)
			}
			if said := strings.Join(append(got.Log, ""), "\n"); said != log.String() {
				t.Errorf("log %q, the agent's is %q", said, log.String())
			}
		})
	}
}

func TestMonitorDeclines(t *testing.T) {
	good := append(guestFile(t, "vm1"), "OCF_RESKEY_CRM_meta_interval=10000")
	for _, c := range []struct {
		name  string
		extra string
		words string
	}{
		{"a session", "OCF_RESKEY_hypervisor=qemu:///session", "not this system's own"},
		{"a peer", "OCF_RESKEY_hypervisor=qemu+tcp://node2/system", "not this system's own"},
		{"Xen", "OCF_RESKEY_hypervisor=xen:///system", "not this system's own"},
		{"monitor scripts", "OCF_RESKEY_monitor_scripts=/bin/true", "more to do"},
		{"a check", "OCF_RESKEY_check_tcp=10.0.0.1:80", "more to do"},
		{"a config to save", "OCF_RESKEY_save_config_on_stop=true", "more to do"},
		{"a snapshot to remove", "OCF_RESKEY_snapshot=/var/lib", "more to do"},
		{"no file", "OCF_RESKEY_config=/nonexistent/vm1.xml", "cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMonitor(t, &fakeLibvirt{})
			a := m.Look(t.Context(), 1, wire.NewRequest("monitor", append(good, c.extra)))
			if !strings.Contains(a.Declined, c.words) {
				t.Errorf("%+v", a)
			}
		})
	}
}

// Storage that gives no answer holds up no caller, and no second look at the resource.
func TestMonitorOfAFileThatHangs(t *testing.T) {
	request := wire.NewRequest("monitor", guestFile(t, "vm1"))
	synctest.Test(t, func(t *testing.T) {
		m := newMonitor(t, &fakeLibvirt{})
		mended := make(chan struct{})
		m.access = func(string) error { <-mended; return nil }
		for _, words := range []string{"does not respond", "still under way"} {
			began := time.Now()
			if a := m.Look(t.Context(), 1, request); !strings.Contains(a.Declined, words) || time.Since(began) > accessTime {
				t.Errorf("%+v after %v, want it declined as %q", a, time.Since(began), words)
			}
		}
		close(mended)
		synctest.Wait()
		if a := m.Look(t.Context(), 1, request); a.Declined != "" {
			t.Errorf("mended, and %+v", a)
		}
	})
}

// A resource is looked at once at a time, and a look that breaks down is no end of the daemon.
func TestMonitorOneLookAtATime(t *testing.T) {
	m := newMonitor(t, &fakeLibvirt{})
	begun, release := make(chan struct{}), make(chan struct{})
	m.Open = func(context.Context, string) (observe.Hypervisor, error) {
		close(begun)
		<-release
		panic("broken")
	}
	request := wire.NewRequest("monitor", guestFile(t, "vm1"))
	first := make(chan wire.Answer)
	go func() { first <- m.Look(t.Context(), 1, request) }()
	<-begun
	if a := m.Look(t.Context(), 1, request); !strings.Contains(a.Declined, "still under way") {
		t.Errorf("the second: %+v", a)
	}
	close(release)
	if a := <-first; a.Declined != "panic in the monitor" {
		t.Errorf("the first: %+v", a)
	}
	m.Open = newPool(&fakeLibvirt{}).Open
	if a := m.Look(t.Context(), 1, request); a.Declined != "" || a.Code != ocf.Success {
		t.Errorf("the next: %+v", a)
	}
}

// Many agents at once all hear that their guest runs.
func TestManyMonitors(t *testing.T) {
	f := &fakeLibvirt{}
	m := newMonitor(t, f)
	socket, _ := start(t, m.Look)
	var group sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		environ := guestFile(t, name)
		group.Go(func() {
			for range 20 {
				a, err := wire.Ask(socket, wire.NewRequest("monitor", environ), limit)
				if err != nil || a.Code != ocf.Success {
					t.Errorf("guest %s: %+v, %v", name, a, err)
				}
			}
		})
	}
	group.Wait()
	if _, busiest, _ := f.counts(); busiest > maxCalls {
		t.Errorf("%d calls at once", busiest)
	}
}

// Storage that hangs costs the daemon a bounded number of threads: without them it would end, and a shutdown with it.
func TestMonitorDeclinesWhileTooMuchHangs(t *testing.T) {
	for hangs, declined := range map[int]bool{mostHanging - 1: false, mostHanging: true} {
		looked := false
		m := &Monitor{hangs: func() int { return hangs }, access: func(string) error { looked = true; return os.ErrPermission }}
		m.Look(t.Context(), 1, wire.Request{Action: "monitor", Environ: []string{
			"OCF_RESOURCE_INSTANCE=vm1", "OCF_RESKEY_config=/vm1.xml", "OCF_RESKEY_hypervisor=qemu:///system"}})
		if looked == declined {
			t.Errorf("%d hang: looked at it: %t", hangs, looked)
		}
	}
}
