package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/health"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
)

const (
	uuidA = "0a7c8f5e-1111-4222-8333-444455556666"
	uuidB = "0b7c8f5e-1111-4222-8333-444455556666"
)

func TestGuests(t *testing.T) {
	store := notes.Open(t.TempDir(), t.TempDir())
	var asked []string
	list := func(_ context.Context, uris ...string) ([]hostproc.Process, error) {
		asked = uris
		return []hostproc.Process{
			{PID: 1, Name: "web", UUID: strings.ToUpper(uuidA)},
			{PID: 2, Name: "web", UUID: uuidB}, // another guest of that name
			{PID: 3, Name: "mail"},             // no UUID can be read
			{PID: 4, Name: "private"},
			{PID: 5},
			{PID: 6, Name: "web", UUID: uuidA, Helper: true},
			{PID: 7, Name: "private", UUID: uuidB, Helper: true},
			{PID: 8, Name: "mail", Helper: true}, // its QEMU has ended
		}, nil
	}
	guests := Guests(store, list)
	if all, err := guests(t.Context()); err != nil || len(all) != 0 || asked != nil {
		t.Errorf("without a note: %v, %v, asked %v", all, err, asked)
	}
	save(t, store.Identities.Save("web", notes.Identity{Name: "web", UUID: uuidA, Config: "/a.xml"}))
	save(t, store.Guests.Save("mail", notes.Guest{Guest: "mail", Resource: "mail", URI: "qemu+unix:///system"}))
	all, err := guests(t.Context())
	var pids []int
	for _, p := range all {
		pids = append(pids, p.PID)
	}
	if err != nil || !slices.Equal(pids, []int{1, 3, 6, 8}) || hostproc.CountGuests(all) != 2 {
		t.Errorf("%v, %v, %d guests", pids, err, hostproc.CountGuests(all))
	}
	if want := []string{systemURI, "qemu+unix:///system"}; !slices.Equal(asked, want) {
		t.Errorf("asked %v, want %v", asked, want)
	}
	// A note that cannot be read hides its own guest, and no other.
	save(t, os.Truncate(store.Guests.Path("mail"), 1<<30))
	if all, err := guests(t.Context()); err == nil || len(all) != 2 {
		t.Errorf("beside a note that cannot be read: %v, %v", all, err)
	}
}

func save(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// systemctl is a fake one that writes down what it is told. A stop may last for ever.
type systemctl struct {
	mu    sync.Mutex
	calls []string
	hangs bool
	fails string // the verb that fails
	stuck string // the verb that does not end by itself
}

func (s *systemctl) run(ctx context.Context, name string, args ...string) (string, error) {
	s.mu.Lock()
	s.calls = append(s.calls, name+" "+strings.Join(args, " "))
	s.mu.Unlock()
	if args[0] == "stop" && s.hangs || args[0] == s.stuck {
		<-ctx.Done()
		return "", ctx.Err()
	}
	if args[0] == s.fails {
		return "", errors.New(args[0] + " failed")
	}
	return "", nil
}

func TestRejoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &systemctl{hangs: true}
		begun := time.Now()
		if err := rejoin(t.Context(), Pacemaker, s.run, func() bool { return false }, t.TempDir()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took != stopTime {
			t.Errorf("it took %s", took)
		}
		want := []string{
			"systemctl stop pacemaker.service corosync.service",
			"systemctl kill --signal=SIGKILL corosync.service pacemaker.service",
			"systemctl reset-failed corosync.service pacemaker.service",
			"systemctl start corosync.service pacemaker.service",
		}
		if !slices.Equal(s.calls, want) {
			t.Errorf("calls %q, want %q", s.calls, want)
		}
	})
}

// Heartbeat is started again when another node is heard.
func TestRejoinHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(systemctl)
		begun := time.Now()
		heard := func() bool { return time.Since(begun) > time.Minute }
		if err := rejoin(t.Context(), Heartbeat, s.run, heard, t.TempDir()); err != nil || time.Since(begun) < time.Minute {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s = new(systemctl)
		err := rejoin(ctx, Heartbeat, s.run, func() bool { return false }, t.TempDir())
		if err == nil || slices.ContainsFunc(s.calls, func(c string) bool { return strings.Contains(c, "start") }) {
			t.Errorf("%v, %q", err, s.calls)
		}
	})
}

func TestRejoinFails(t *testing.T) {
	s := &systemctl{fails: "start"}
	if err := rejoin(t.Context(), Pacemaker, s.run, nil, t.TempDir()); err == nil || !strings.Contains(err.Error(), "start failed") {
		t.Errorf("%v", err)
	}
}

// A call of systemctl that hangs ends: the guard tries again.
func TestRejoinIsStuck(t *testing.T) {
	for _, verb := range []string{"kill", "reset-failed", "start"} {
		synctest.Test(t, func(t *testing.T) {
			begun, s := time.Now(), &systemctl{stuck: verb}
			err := rejoin(t.Context(), Pacemaker, s.run, nil, t.TempDir())
			if took := time.Since(begun); took != startTime || (err == nil) != (verb != "start") {
				t.Errorf("%s: %v after %s", verb, err, took)
			}
		})
	}
}

func TestAccess(t *testing.T) {
	var got []string
	run := func(_ context.Context, name string, args ...string) (string, error) {
		got = append([]string{name}, args...)
		return "", nil
	}
	access := Access{"/sbin/revoke", "--node={node}", "{generation}", "{id}", "{other}", "$(id)"}
	if err := access.Run(t.Context(), run, Subject{Node: "beta; rm", ID: 2, Generation: 7}); err != nil {
		t.Error(err)
	}
	if want := []string{"/sbin/revoke", "--node=beta; rm", "7", "2", "{other}", "$(id)"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	fails := func(context.Context, string, ...string) (string, error) {
		return "first\nwhy\n", errors.New("exit status 1")
	}
	err := access.Run(t.Context(), fails, Subject{Node: "beta", Generation: 7})
	if err == nil || !strings.Contains(err.Error(), "/sbin/revoke for node beta: exit status 1: why") {
		t.Errorf("%v", err)
	}
}

func TestSetHealth(t *testing.T) {
	s := new(systemctl)
	if err := SetHealth(t.Context(), s.run, health.Red); err != nil {
		t.Error(err)
	}
	if want := []string{"attrd_updater --name #health-vmferry --update red"}; !slices.Equal(s.calls, want) {
		t.Errorf("%v, want %v", s.calls, want)
	}
	s.fails = "--name"
	if err := SetHealth(t.Context(), s.run, health.Green); err == nil {
		t.Error("a failure is not reported")
	}
}

func TestSilence(t *testing.T) {
	s := new(systemctl)
	if err := silence(t.Context(), Pacemaker, s.run, t.TempDir()); err != nil {
		t.Error(err)
	}
	if want := []string{"systemctl kill --signal=SIGKILL corosync.service pacemaker.service"}; !slices.Equal(s.calls, want) {
		t.Errorf("%v, want %v", s.calls, want)
	}
}

// The daemons are killed without a program where their control group is found: none starts while the lease device hangs.
func TestSilenceKillsTheControlGroup(t *testing.T) {
	daemon := exec.Command("sleep", "60")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "heartbeat.service"), 0o755); err != nil {
		t.Fatal(err)
	}
	procs := filepath.Join(dir, "heartbeat.service", "cgroup.procs")
	if err := os.WriteFile(procs, fmt.Appendf(nil, "%d\n", daemon.Process.Pid), 0o644); err != nil {
		t.Fatal(err)
	}
	s := new(systemctl)
	if err := silence(t.Context(), Heartbeat, s.run, dir); err != nil || len(s.calls) != 0 {
		t.Errorf("%v, calls %q", err, s.calls)
	}
	err := daemon.Wait()
	if status, ok := daemon.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("the daemon: %v", err)
	}
}

// A stop that does not even begin, as the lease device hangs, delays no kill; and it must not come after the start.
func TestRejoinWithoutPrograms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, s := time.Now(), new(systemctl)
		var killed time.Duration
		run := func(ctx context.Context, name string, args ...string) (string, error) {
			if args[0] == "kill" {
				killed = time.Since(begun)
			}
			if args[0] == "stop" {
				time.Sleep(time.Minute)
			}
			return s.run(ctx, name, args...)
		}
		if err := rejoin(t.Context(), Pacemaker, run, nil, t.TempDir()); err != nil || killed != stopTime {
			t.Errorf("%v, killed after %s", err, killed)
		}
		if verbs := strings.Join(s.calls, "\n"); !strings.Contains(verbs, "stop") ||
			strings.Index(verbs, "stop") > strings.Index(verbs, "systemctl start") {
			t.Errorf("calls %q", s.calls)
		}
	})
}
