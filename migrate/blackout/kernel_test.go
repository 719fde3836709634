package blackout

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/blackout/reflector"
	"github.com/vmferry/vmferry/migrate/blackout/reflector/reflectortest"
)

const stoppedVar = "BLACKOUT_TEST_REFLECTOR"

// TestReflectorProcess is no test but the process that the one below stops.
func TestReflectorProcess(t *testing.T) {
	if os.Getenv(stoppedVar) == "" {
		t.Skip("it is the child of another test")
	}
	_, tcp, err := reflector.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stdout.WriteString("address " + tcp.Addr().String() + "\n"); err != nil {
		t.Fatal(err)
	}
	_ = reflector.New(reflectortest.Quiet(), reflector.Limits{}).ServeTCP(context.Background(), tcp)
}

// startReflectorProcess serves from a process of its own.
func startReflectorProcess(t *testing.T) (process *os.Process, addr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReflectorProcess$")
	cmd.Env = append(os.Environ(), stoppedVar+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if addr, ok := strings.CutPrefix(lines.Text(), "address "); ok {
			return cmd.Process, addr
		}
	}
	t.Fatal("the reflector's process printed no address")
	return nil, ""
}

// A program that is stopped answers nothing, and the kernel under it acknowledges what comes. The interval is longer
// than an acknowledgement may be delayed.
func TestWatchTellsTheKernelFromItsService(t *testing.T) {
	const interval, stopped = 50 * time.Millisecond, time.Second
	process, addr := startReflectorProcess(t)
	ctx, cancel := deadline(t)
	var halted, resumed bool
	var answered uint64
	report, err := Watch(ctx, Config{
		Targets: []string{"tcp://" + addr}, Interval: interval, ReconnectAfter: time.Minute, ProgressEvery: interval,
		Progress: func(state []Progress) {
			p := state[0]
			switch {
			case !halted && p.Answered >= 5:
				halted = process.Signal(unix.SIGSTOP) == nil
			case halted && !resumed && p.Silent >= stopped:
				resumed, answered = process.Signal(unix.SIGCONT) == nil, p.Answered
			case resumed && p.Answered >= answered+5:
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := report.Targets[0]
	if err := report.Check(); err != nil || got.BlackoutMs < ms(stopped) {
		t.Errorf("the service was out for %v ms of %s, %v", got.BlackoutMs, stopped, err)
	}
	if got.KernelBlackoutMs == nil || *got.KernelBlackoutMs > got.BlackoutMs/4 {
		t.Errorf("the kernel was out for %v ms, its service for %v ms", got.KernelBlackoutMs, got.BlackoutMs)
	}
}
