package hostproc

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary plays QEMU when this is set: it ends on SIGKILL alone when it is "stubborn" and
// on SIGTERM else.
const roleVar = "WITNESS_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		pretend(role)
		return
	}
	os.Exit(m.Run())
}

func pretend(role string) {
	switch role {
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "locked": // as libvirt starts QEMU, with its pid file open and locked
		if err := unix.FcntlFlock(3, unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Len: 1}); err != nil {
			panic(err)
		}
	case "reader": // what anybody may do who may read the file
		if err := unix.FcntlFlock(3, unix.F_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Len: 1}); err != nil {
			panic(err)
		}
	case "root": // as a set-user-ID program may become to all appearances
		if err := syscall.Setreuid(0, 0); err != nil {
			panic(err)
		}
	}
	_, _ = os.Stdout.WriteString("ready\n")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends, however it ends
}

// startGuest starts a child whose command line is that of a guest's QEMU, and a host on which libvirt notes it.
func startGuest(t *testing.T, role, name string) (*exec.Cmd, Host) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Args = []string{"/usr/bin/qemu-system-x86_64", "-name", "guest=" + name + ",debug-threads=on", "-uuid", uuidA}
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	h := Host{Run: private(t)}
	pid := []byte(strconv.Itoa(cmd.Process.Pid))
	if err := os.WriteFile(filepath.Join(h.Run, name+".pid"), pid, 0o644); err != nil {
		t.Fatal(err)
	}
	return cmd, h
}

func findOne(t *testing.T, h Host, name string) Process {
	t.Helper()
	// Other processes of the machine may make the list incomplete: only the find counts.
	found, err := h.Find(context.Background(), name, "")
	if len(found) != 1 {
		t.Fatalf("found %+v, %v, want one process", found, err)
	}
	return found[0]
}

func TestKillRealProcess(t *testing.T) {
	for _, c := range []struct {
		role  string
		grace time.Duration
		want  syscall.Signal
	}{
		{"polite", time.Minute, syscall.SIGTERM},
		{"stubborn", 50 * time.Millisecond, syscall.SIGKILL},
	} {
		t.Run(c.role, func(t *testing.T) {
			name := "witness-test-" + c.role
			cmd, h := startGuest(t, c.role, name)
			p := findOne(t, h, name)
			if p.PID != cmd.Process.Pid || p.UUID != uuidA || p.Incoming || p.StartTime == 0 {
				t.Fatalf("found %+v, want process %d", p, cmd.Process.Pid)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := (Host{}).Kill(ctx, p, c.grace); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != c.want {
				t.Errorf("ended by %v, want %v", got, c.want)
			}
			if err := (Host{}).Kill(ctx, p, c.grace); err != nil {
				t.Errorf("kill of an ended process: %v", err)
			}
		})
	}
}

func TestZombieIsGone(t *testing.T) {
	const name = "witness-test-zombie"
	cmd, h := startGuest(t, "polite", name)
	p := findOne(t, h, name)
	if err := (Host{}).Kill(context.Background(), p, time.Minute); err != nil {
		t.Fatal(err)
	}
	found, _ := h.Find(context.Background(), name, "") // not reaped yet
	if len(found) != 0 {
		t.Errorf("zombie %d found as %+v", cmd.Process.Pid, found)
	}
}

func TestKillSparesAnotherProcessOfThatNumber(t *testing.T) {
	const name = "witness-test-spared"
	_, h := startGuest(t, "polite", name)
	p := findOne(t, h, name)
	older := p
	older.StartTime--
	if err := (Host{}).Kill(context.Background(), older, time.Minute); err != nil {
		t.Fatal(err)
	}
	if again := findOne(t, h, name); again != p {
		t.Errorf("process %+v became %+v", p, again)
	}
}

func TestKillWithoutProofIsAnError(t *testing.T) {
	const name = "witness-test-noproof"
	_, h := startGuest(t, "stubborn", name)
	p := findOne(t, h, name)
	fd, err := Host{}.open(t.Context(), p)
	if err != nil || fd == nil {
		t.Fatalf("open: %v, %v", fd, err)
	}
	defer func() { _ = fd.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 2 { // an old deadline must not stand for a later wait
		if err := waitExit(ctx, fd); !errors.Is(err, context.Canceled) {
			t.Errorf("waitExit = %v, want the context's error", err)
		}
	}
}
