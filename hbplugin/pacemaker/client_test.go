package pacemaker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/hostproc/hostproctest"
)

// programs is a fake of Pacemaker's command line: what is run, and what it
// answers.
type programs struct {
	answer map[string]string
	fail   map[string]error
	ran    []string
}

func (p *programs) run(_ context.Context, program string, args ...string) (string, error) {
	p.ran = append(p.ran, strings.Join(append([]string{program}, args...), " "))
	return p.answer[program], p.fail[program]
}

// proc makes a procfs of these processes, with numbers from 100 on.
func proc(t *testing.T, processes ...hostproctest.Process) string {
	t.Helper()
	dir := t.TempDir()
	for i, p := range append(processes, hostproctest.Process{Comm: "systemd"}) {
		p.PID = 100 + i
		if i == len(processes) {
			p.PID = 1
		}
		if err := p.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "sys"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

var alive = hostproctest.Process{Comm: "pacemakerd"}

func client(t *testing.T, p *programs) *Client {
	return &Client{Agents: bothAgents, Run: p.run, Proc: proc(t, alive)}
}

func TestDaemonAlive(t *testing.T) {
	const session = "0::/user.slice/user-1000.slice/session-2.scope\n"
	etc := t.TempDir()
	if err := os.WriteFile(filepath.Join(etc, "passwd"), []byte("root:x:0:0::/:\nhacluster:x:189:189::/:\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		processes []hostproctest.Process
		want      bool
	}{
		{"nothing runs", nil, false},
		{"others run", []hostproctest.Process{{Comm: "systemd"}}, false},
		{"pacemakerd", []hostproctest.Process{alive}, true},
		{"as a service", []hostproctest.Process{{Comm: "pacemaker-execd",
			Cgroup: "0::/system.slice/pacemaker.service\n"}}, true},
		{"a daemon without its parent", []hostproctest.Process{{Comm: "pacemaker-contr", State: 'R', User: 189}}, true},
		{"from a shell", []hostproctest.Process{{Comm: "pacemakerd", Cgroup: session, Exe: "/usr/sbin/pacemakerd"}},
			true},
		{"a zombie", []hostproctest.Process{{Comm: "pacemakerd", State: 'Z'}}, false},
		{"in a container", []hostproctest.Process{{Comm: "pacemaker-remot", Nested: true}}, false},
		{"in a container of the node's PID namespace",
			[]hostproctest.Process{{Comm: "pacemaker-remot", Cgroup: "0::/system.slice/docker-01.scope\n"}}, false},
		{"a user's that is called so", []hostproctest.Process{{Comm: "pacemaker-x", User: 65534}}, false},
		{"a user's that is called so, among the daemons",
			[]hostproctest.Process{{Comm: "pacemaker-x", User: 65534}, alive}, true},
		{"a user's by a set-user-ID program",
			[]hostproctest.Process{{Comm: "pacemaker-x", Cgroup: session, Exe: "/usr/bin/sudo"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := daemonAlive(t.Context(), hostproc.Host{Proc: proc(t, tt.processes...), Etc: etc})
			if err != nil || got != tt.want {
				t.Errorf("%t, %v; want %t", got, err, tt.want)
			}
		})
	}
}

// A real process of a user without rights is called like Pacemaker's.
func TestDaemonOfNobody(t *testing.T) {
	if os.Geteuid() != 0 && os.Getenv("CI") != "true" {
		t.Skip("needs root, to start a process of another user")
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(sleep)
	dir, derr := os.MkdirTemp("", "pacemaker")
	if err = errors.Join(err, derr); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := filepath.Join(dir, "pacemaker-x")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, raw, 0o755),
		os.Chmod(program, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "600")
	cmd.Args[0] = "sleep" // by which one of many tools in a file knows what to be
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil || !strings.Contains(string(stat), "(pacemaker-x)") {
		t.Fatalf("the process is %q, %v", stat, err)
	}
	if got, err := (hostproc.Host{}).IsDaemon(t.Context(), cmd.Process.Pid, isDaemon, 0); got || err != nil {
		t.Errorf("%t, %v", got, err)
	}
}

func TestProcessesCannotBeRead(t *testing.T) {
	if _, err := daemonAlive(t.Context(), hostproc.Host{Proc: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("no procfs, and yet an answer")
	}
	h := hostproc.Host{Proc: proc(t)}
	stat := filepath.Join(h.Proc, "7", "stat")
	if err := os.MkdirAll(stat, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := daemonAlive(t.Context(), h); err == nil {
		t.Error("a process could not be read, and yet an answer")
	}
	if err := os.Remove(stat); err != nil {
		t.Fatal(err)
	}
	if got, err := daemonAlive(t.Context(), h); got || err != nil {
		t.Errorf("a process that ended: %t, %v", got, err)
	}
	if err := os.RemoveAll(filepath.Join(h.Proc, "1")); err != nil {
		t.Fatal(err)
	}
	if _, err := daemonAlive(t.Context(), h); !errors.Is(err,
		hostproc.ErrIncomplete) { // as with the mount options hidepid=2,gid=100
		t.Errorf("processes are hidden: %v", err)
	}
}

func TestViewWithoutPacemaker(t *testing.T) {
	p := &programs{}
	c := client(t, p)
	c.Proc = proc(t)
	v, err := c.View(t.Context())
	if err != nil || v.Running || len(p.ran) > 0 {
		t.Errorf("%+v, %v, ran %q", v, err, p.ran)
	}
}

func TestView(t *testing.T) {
	p := &programs{answer: map[string]string{"crm_node": "n1\n", "crm_mon": text(t, "migrating.xml")}}
	c := client(t, p)
	for range 2 {
		v, err := c.View(t.Context())
		if err != nil || !v.Running || !v.Standby || len(v.Guests) != 3 {
			t.Errorf("%+v, %v", v, err)
		}
	}
	mon := "crm_mon --output-as=xml --exclude=all --include=nodes,resources -1"
	want := "crm_node --name; " + mon + "; " + mon
	if got := strings.Join(p.ran, "; "); got != want {
		t.Errorf("ran %q, want %q", got, want)
	}
}

func TestViewFails(t *testing.T) {
	refused := errors.New("refused")
	for _, tt := range []struct {
		name   string
		answer map[string]string
		fail   map[string]error
		want   string
	}{
		{"no node name", nil, map[string]error{"crm_node": refused}, "refused"},
		{"empty node name", map[string]string{"crm_node": "\n"}, nil, `"" is not a node name`},
		{"chatter for a node name", map[string]string{"crm_node": "a warning\nn1\n"}, nil, "is not a node name"},
		{"no status", map[string]string{"crm_node": "n1"}, map[string]error{"crm_mon": refused}, "refused"},
		{"empty status", map[string]string{"crm_node": "n1"}, nil, "cut short"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := client(t, &programs{answer: tt.answer, fail: tt.fail}).View(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestStandbyIsTransient(t *testing.T) {
	p := &programs{}
	c := &Client{Node: "n1", Run: p.run}
	if err := errors.Join(c.Standby(t.Context()), c.Unstandby(t.Context())); err != nil {
		t.Fatal(err)
	}
	head := "crm_attribute --node n1 --name standby --lifetime reboot "
	if got, want := strings.Join(p.ran, "; "), head+"--update on; "+head+"--delete"; got != want {
		t.Errorf("ran %q, want %q", got, want)
	}
}

func TestStandbyFails(t *testing.T) {
	refused := errors.New("refused")
	c := &Client{Node: "n1", Run: (&programs{fail: map[string]error{"crm_attribute": refused}}).run}
	if err := c.Standby(t.Context()); !errors.Is(err, refused) {
		t.Errorf("crm_attribute: %v", err)
	}
	c = &Client{Run: (&programs{fail: map[string]error{"crm_node": refused}}).run}
	if err := c.Unstandby(t.Context()); !errors.Is(err, refused) {
		t.Errorf("crm_node: %v", err)
	}
}

func TestExec(t *testing.T) {
	out, err := Exec(t.Context(), "echo", "a b", "c")
	if err != nil || string(out) != "a b c\n" {
		t.Errorf("%q, %v", out, err)
	}
	_, err = Exec(t.Context(), "ls", "/does/not/exist")
	if err == nil || !strings.Contains(err.Error(), "ls /does/not/exist: exit status 2: ls: cannot access") {
		t.Errorf("error %v", err)
	}
	if _, err = Exec(t.Context(), "crm_no_such_program"); err == nil {
		t.Error("a program that is not there ran")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = Exec(ctx, "sleep", "60")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program without end: %v", err)
	}
}

var _ hbplugin.Manager = &Client{}

// Where processes are hidden, as by hidepid, that no daemon is seen proves nothing.
func TestHiddenProcesses(t *testing.T) {
	if got, err := daemonAlive(t.Context(), hostproc.Host{Proc: t.TempDir(), Etc: t.TempDir()}); got || err == nil {
		t.Errorf("%v, %v", got, err)
	}
}
