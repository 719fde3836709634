package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseCondition(t *testing.T) {
	for stat, want := range map[string][2]string{
		"17 (nsenter) T 1 17 17 0": {"nsenter", "T"},
		"17 (a) b) Z 1":            {"a) b", "Z"},
		"17 (cut) ":                {},
		"17 nothing":               {},
		") (":                      {},
		"":                         {},
	} {
		if name, state := parseCondition(stat); name != want[0] || state != want[1] {
			t.Errorf("%q: got %q, %q", stat, name, state)
		}
	}
}

// TestWake stops the child of a process called nsenter, lets the parent stop
// itself as nsenter does, kills the child, and wants the parent to continue.
func TestWake(t *testing.T) {
	if os.Getenv("WAKE_TEST") != "" {
		parent()
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	named := filepath.Join(t.TempDir(), "nsenter")
	if err := os.Symlink(self, named); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(named, "-test.run=^TestWake$")
	cmd.Env = append(os.Environ(), "WAKE_TEST=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	path := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid))
	limit := time.After(2 * time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for stopped := false; ; {
		select {
		case err := <-ended:
			if err != nil || !stopped {
				t.Errorf("the parent ended early or badly: stopped %v, %v", stopped, err)
			}
			return
		case <-limit:
			t.Fatal("the parent was not woken")
		case <-tick.C:
			if _, state := condition(path); state == "T" {
				stopped = true
				wake("/proc")
			}
		}
	}
}

// parent has a child that died and nobody reaped, stops itself, and ends well
// when it is continued.
func parent() {
	child := exec.Command("sleep", "60")
	if child.Start() != nil || child.Process.Kill() != nil {
		os.Exit(1)
	}
	// To this very thread: another might be stopped first, and this one continue to reap the child.
	runtime.LockOSThread()
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP)
	if child.Wait() == nil {
		os.Exit(2) // it was killed, and must say so
	}
	os.Exit(0)
}
