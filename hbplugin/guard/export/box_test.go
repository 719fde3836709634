package export

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain plays the process of a node's unit, where the environment says so: it becomes a server that says "serving"
// and then does nothing but hold what it was given.
func TestMain(m *testing.M) {
	dir := os.Getenv("SERVE")
	if dir == "" {
		os.Exit(m.Run())
	}
	err := box(dir, nil).Serve(context.Background(), "alpha", func([]string) error {
		fmt.Println("serving")
		select {}
	})
	fmt.Println(err)
	os.Exit(1)
}

func box(dir string, run func(ctx context.Context, name string, args ...string) (string, error)) Box {
	disk := filepath.Join(dir, "disk.raw")
	return Box{
		Config: Config{Nodes: map[string]netip.AddrPort{"alpha": netip.MustParseAddrPort("127.0.0.1:10809")},
			Disks: map[string]string{"web": disk}},
		StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), Run: run,
	}
}

// systemd is a fake one with one unit.
type systemd struct {
	t     *testing.T
	dir   string
	mu    sync.Mutex
	calls []string
	unit  *exec.Cmd
	deaf  bool  // a stop does not kill
	err   error // of each call
}

func newSystemd(t *testing.T) (*systemd, Box) {
	t.Helper()
	s := &systemd{t: t, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(s.dir, "disk.raw"), make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	return s, box(s.dir, s.run)
}

func (s *systemd) run(_ context.Context, program string, args ...string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, strings.Join(append([]string{program}, args...), " "))
	switch {
	case s.err != nil:
		return "Failed to connect to bus\n", s.err
	case args[0] == "start" && s.unit == nil:
		if line := s.serve(); line != "serving" {
			return line + "\n", errors.New("exit status 1")
		}
	case args[0] == "stop" && !s.deaf:
		s.kill()
	}
	return "", nil
}

// serve starts the unit's process, and returns the first line that it writes.
func (s *systemd) serve() string {
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "SERVE="+s.dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	if line = strings.TrimSpace(line); line == "serving" {
		s.unit = cmd
	} else {
		_ = cmd.Wait()
	}
	return line
}

func (s *systemd) kill() {
	if s.unit != nil {
		_ = s.unit.Process.Kill()
		_ = s.unit.Wait()
		s.unit = nil
	}
}

func check(t *testing.T, what string, err error, want string) {
	t.Helper()
	if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

func TestBox(t *testing.T) {
	s, b := newSystemd(t)
	ctx := t.Context()
	check(t, "a node that was never admitted", b.Admitted("alpha"), "access is closed")
	check(t, "another node", b.Admit(ctx, "gamma", 1), `there is no node "gamma"`)
	check(t, "another node", b.Revoke(ctx, "gamma", 1), `there is no node "gamma"`)
	check(t, "admit 1", b.Admit(ctx, "alpha", 1), "")
	check(t, "admit 1 again", b.Admit(ctx, "alpha", 1), "")
	check(t, "admitted", b.Admitted("alpha"), "")
	if st := b.Status(); len(st) != 1 || !st[0].Serving || !st[0].State.Open() || st[0].Err != nil {
		t.Errorf("status %+v", st)
	}
	check(t, "revoke 1", b.Revoke(ctx, "alpha", 1), "")
	check(t, "revoke 1 again", b.Revoke(ctx, "alpha", 1), "")
	check(t, "a late admission", b.Admit(ctx, "alpha", 1), "generation 1 was revoked")
	check(t, "revoked", b.Admitted("alpha"), "access is closed")
	if st := b.Status(); st[0].Serving || st[0].State != (State{1, 1}) {
		t.Errorf("status %+v", st)
	}
	check(t, "admit 2", b.Admit(ctx, "alpha", 2), "")
	check(t, "a late revocation", b.Revoke(ctx, "alpha", 1), "the newer generation 2 is admitted")
	if st := b.Status(); !st[0].Serving {
		t.Errorf("status %+v", st)
	}
	check(t, "reset", b.Reset(ctx, "alpha"), "")
	if st := b.Status(); st[0].Serving || st[0].State != (State{}) {
		t.Errorf("status %+v", st)
	}
	start, stop := "systemctl start vmferry-export@alpha.service", "systemctl stop vmferry-export@alpha.service"
	if want := []string{start, start, stop, stop, start, stop}; !slices.Equal(s.calls, want) {
		t.Errorf("calls %q", s.calls)
	}
}

// A process that does not end is no proof, and stays revoked: what systemd starts again does not serve.
func TestRevokeWaits(t *testing.T) {
	s, b := newSystemd(t)
	check(t, "admit", b.Admit(t.Context(), "alpha", 1), "")
	s.deaf = true
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errors.New("too late"))
	defer cancel()
	check(t, "revoke", b.Revoke(ctx, "alpha", 1), "wait for the end of the process of node alpha: ")
	if st := b.Status(); !st[0].Serving || st[0].State.Open() {
		t.Errorf("status %+v", st)
	}
	proven := make(chan error, 1)
	go func() { proven <- b.Revoke(t.Context(), "alpha", 1) }()
	s.mu.Lock()
	s.kill()
	s.mu.Unlock()
	check(t, "revoke after its end", <-proven, "")
	if line := s.serve(); !strings.Contains(line, "access is closed") {
		t.Errorf("started again: %s", line)
	}
}

// A server that has read the old state is ended by a revocation; one that has not refuses to serve.
func TestRevokeAgainstStarts(t *testing.T) {
	s, b := newSystemd(t)
	for generation := uint64(1); generation <= 10; generation++ {
		done := make(chan error, 1)
		go func() { done <- b.Admit(t.Context(), "alpha", generation) }()
		for {
			err := b.Revoke(t.Context(), "alpha", generation)
			if err != nil {
				t.Fatal(err)
			}
			if st := b.Status()[0]; st.Serving || st.State.Open() {
				t.Fatalf("generation %d: %+v", generation, st)
			}
			select {
			case <-done: // with or without an error
			default:
				continue
			}
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unit != nil {
		t.Error("a server was left")
	}
}

func TestSystemctlFails(t *testing.T) {
	s, b := newSystemd(t)
	check(t, "admit", b.Admit(t.Context(), "alpha", 1), "")
	s.err = errors.New("exit status 1")
	check(t, "revoke", b.Revoke(t.Context(), "alpha", 1),
		"stop vmferry-export@alpha.service: exit status 1: Failed to connect to bus")
	if st := b.Status(); st[0].State.Open() {
		t.Errorf("status %+v", st)
	}
	check(t, "admit", b.Admit(t.Context(), "alpha", 2), "start vmferry-export@alpha.service: exit status 1: Failed")
	s.err = nil
	check(t, "reset", b.Reset(t.Context(), "alpha"), "")
	skips := b
	skips.Run = func(context.Context, string, ...string) (string, error) { return "", nil }
	check(t, "admit where the unit does not start", skips.Admit(t.Context(), "alpha", 1),
		"vmferry-export@alpha.service does not run")
}

// A state that cannot be read is neither opened nor taken as revoked, until it is reset.
func TestBadState(t *testing.T) {
	_, b := newSystemd(t)
	check(t, "admit", b.Admit(t.Context(), "alpha", 7), "")
	if err := os.WriteFile(b.stateFile("alpha"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, "admit", b.Admit(t.Context(), "alpha", 8), "type vmferry-export reset alpha")
	check(t, "revoke", b.Revoke(t.Context(), "alpha", 8), "alpha.state")
	if err := b.Admitted("alpha"); err == nil || errors.Is(err, ErrClosed) {
		t.Errorf("admitted: %v", err)
	}
	check(t, "reset", b.Reset(t.Context(), "alpha"), "")
	check(t, "admit", b.Admit(t.Context(), "alpha", 1), "")
}
