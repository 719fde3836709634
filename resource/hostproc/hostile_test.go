package hostproc

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const nobody = 65534

// needRoot skips a test that only root can do, but for where all of them are to run.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") != "true" {
		t.Skip("needs root, to start processes of other users")
	}
}

// hostile starts a copy of this program under a name and with arguments that anybody may choose.
func hostile(t *testing.T, role string, mode os.FileMode, shape *syscall.SysProcAttr, args ...string) *exec.Cmd {
	t.Helper()
	return hostileWith(t, nil, role, mode, shape, args...)
}

// hostileWith gives the process a file as its descriptor 3.
func hostileWith(t *testing.T, file3 *os.File, role string, mode os.FileMode, shape *syscall.SysProcAttr,
	args ...string) *exec.Cmd {
	t.Helper()
	dir, err := os.MkdirTemp("", "witness")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "qemu-x")
	raw, err := os.ReadFile(exe)
	if err = errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(file, raw, 0o700), os.Chmod(file, mode)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file)
	cmd.Args = append([]string{"/usr/bin/qemu-system-x86_64"}, args...)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.SysProcAttr = shape
	if file3 != nil {
		cmd.ExtraFiles = []*os.File{file3}
	}
	stdin, err := cmd.StdinPipe()
	stdout, oerr := cmd.StdoutPipe()
	if err = errors.Join(err, oerr); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	return cmd
}

// private is a directory that nobody else may write, whatever the umask is.
func private(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// asNobody is a user without rights.
func asNobody() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

// This plays what has to begin on the program's first thread, which is where variables are set.
var _ = playEarly()

// playEarly makes the first thread end and another one live on: the process is a zombie whose threads run, and has no
// command line.
func playEarly() bool {
	if os.Getenv(roleVar) != "headless" {
		return false
	}
	stays := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(stays)
		_, _ = os.Stdout.WriteString("ready\n")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	<-stays
	_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	return true
}

// isHeadless waits until the first thread of a process has ended.
func isHeadless(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		stat, err := Host{}.stat(pid)
		if err != nil {
			t.Fatal(err)
		}
		if stat.state == 'Z' && stat.threads > 1 {
			return
		}
	}
}

// guestLine is what libvirt would give to the QEMU of a guest.
var guestLine = []string{"-name", "guest=witness-hostile,debug-threads=on", "-S", "-uuid", uuidA}

// A process that is not libvirt's says nothing about guests: neither that one runs, nor that this cannot be told. The
// processes of this test are real.
func TestHostileProcesses(t *testing.T) {
	needRoot(t)
	container := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	for _, c := range []struct {
		name, role string
		mode       os.FileMode
		shape      *syscall.SysProcAttr
		args       []string
	}{
		{"a user's whose first thread has ended", "headless", 0o755, asNobody(), nil},
		{"a container's whose first thread has ended", "headless", 0o755, container, nil},
		{"a user's with a guest's command line", "polite", 0o755, asNobody(), guestLine},
		{"a container's with a guest's command line", "polite", 0o755, container, guestLine},
		{"a user's by a set-user-ID program", "polite", 0o755 | os.ModeSetuid, asNobody(), guestLine},
		{"a user's by a set-user-ID program that becomes root", "root", 0o755 | os.ModeSetuid, asNobody(), guestLine},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := hostile(t, c.role, c.mode, c.shape, c.args...)
			if c.role == "headless" {
				isHeadless(t, cmd.Process.Pid)
			}
			found, err := Host{Run: t.TempDir(), System: true}.Find(t.Context(), "witness-hostile", uuidA)
			if len(found) != 0 || err != nil {
				t.Errorf("found %+v, %v", found, err)
			}
		})
	}
}

// A guest of which the owner is any user is libvirt's where libvirt noted it.
func TestGuestOfAnotherUser(t *testing.T) {
	needRoot(t)
	cmd := hostile(t, "polite", 0o755, asNobody(), guestLine...)
	h := Host{Run: private(t), System: true}
	pid := cmd.Process.Pid
	if err := os.WriteFile(filepath.Join(h.Run, "witness-hostile.pid"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
		t.Fatal(err)
	}
	found, err := h.Find(t.Context(), "witness-hostile", uuidA)
	if len(found) != 1 || found[0].PID != pid || err != nil {
		t.Errorf("found %+v, %v", found, err)
	}
}

// Any process may get the number of a guest that has ended while the guest's pid file stays. QEMU holds the write lock of
// its own file, whatever the clock says; a user who may only read the file cannot get that lock.
func TestLockOfPIDFile(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		role  string
		flags int
		found int
	}{
		{"locked", os.O_RDWR, 1},
		{"reader", os.O_RDONLY, 0},
		{"polite", os.O_RDONLY, 0},
	} {
		t.Run(c.role, func(t *testing.T) {
			h := Host{Run: private(t), System: true}
			path := filepath.Join(h.Run, "witness-hostile.pid")
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			file, err := os.OpenFile(path, c.flags, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = file.Close() }()
			cmd := hostileWith(t, file, c.role, 0o755, asNobody(), guestLine...)
			// Long before the process began, as it seems after the clock was set forward.
			old := time.Unix(1e9, 0)
			err = errors.Join(os.WriteFile(path, []byte(strconv.Itoa(cmd.Process.Pid)), 0o644), os.Chtimes(path, old, old))
			if err != nil {
				t.Fatal(err)
			}
			if found, err := h.Find(t.Context(), "witness-hostile", uuidA); len(found) != c.found || err != nil {
				t.Errorf("found %v, %v, want %d", found, err, c.found)
			}
		})
	}
}
