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
)

const millisecond = time.Millisecond

func TestAcksLook(t *testing.T) {
	type look struct {
		now, age time.Duration
		acked    uint64
		at, late time.Duration
		fresh    bool
	}
	for name, looks := range map[string][]look{
		"one in each slot": {
			{10 * millisecond, 8 * millisecond, 48, 2 * millisecond, 2 * millisecond, true},
			{20 * millisecond, 4 * millisecond, 96, 16 * millisecond, 4 * millisecond, true},
		},
		"silence": {
			{10 * millisecond, 8 * millisecond, 48, 2 * millisecond, 2 * millisecond, true},
			{20 * millisecond, 16 * millisecond, 48, 0, 0, false},
			{30 * millisecond, 28 * millisecond, 48, 0, 0, false},
		},
		"a duplicate, which acknowledges no more bytes": {
			{10 * millisecond, 20 * millisecond, 0, 0, 0, false},
			{20 * millisecond, 0, 0, 20 * millisecond, 4 * millisecond, true},
		},
		"bytes are acknowledged, and the tick makes it older than the look before": {
			{10 * millisecond, 8 * millisecond, 48, 2 * millisecond, 2 * millisecond, true},
			{14 * millisecond, 8 * millisecond, 96, 10 * millisecond, 0, true},
		},
		"never": {{10 * millisecond, time.Hour, 0, 0, 0, false}},
	} {
		t.Run(name, func(t *testing.T) {
			a := acks{tick: 4 * millisecond}
			for i, l := range looks {
				at, late, fresh := a.look(l.now, l.age, l.acked)
				if at != l.at || late != l.late || fresh != l.fresh {
					t.Errorf("look %d: at %s, late %s, fresh %v; want %+v", i, at, late, fresh, l)
				}
			}
		})
	}
}

// An acknowledgement is taken for the newest probe before it, by the definition of a blackout.
func TestAcknowledge(t *testing.T) {
	for name, c := range map[string]struct {
		acks     []int // at which millisecond each came; probes are sent at 10, 20, …
		blackout float64
		below    float64
	}{
		"all of them":                                {[]int{12, 22, 32, 42, 52, 62, 72, 82}, 0, 0},
		"the first is due at 32":                     {[]int{12, 22, 77, 82}, 45, 0},
		"not longer than error":                      {[]int{12, 22, 41, 52, 62, 72, 82}, 0, 9},
		"two for one probe":                          {[]int{12, 14, 22, 32, 36, 42, 52, 62, 72, 82}, 0, 0},
		"several at once":                            {[]int{12, 75, 76, 77, 82}, 53, 0},
		"before anything was sent, and then as ever": {[]int{3, 12, 22, 32, 42, 52, 62, 72, 82}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			k := newTracker(10*millisecond, 30*millisecond, 0, 10*millisecond)
			next := 0
			for now := range 90 {
				if now > 0 && now%10 == 0 {
					k.try(time.Duration(now)*millisecond, 0)
				}
				if next < len(c.acks) && c.acks[next] == now {
					k.acknowledge(time.Duration(now)*millisecond, 0)
					next++
				}
			}
			var got Target
			k.acknowledged(&got, calendar{}, 85*millisecond)
			if got.KernelBlackoutMs == nil || *got.KernelBlackoutMs != c.blackout || got.KernelBelowErrorMs != c.below {
				t.Errorf("%v and %v below error; want %v, %v", got.KernelBlackoutMs, got.KernelBelowErrorMs, c.blackout, c.below)
			}
		})
	}
	var none Target
	newTracker(millisecond, millisecond, 0, millisecond).acknowledged(&none, calendar{}, time.Second)
	if none.KernelBlackoutMs != nil {
		t.Errorf("a kernel that never acknowledged has a blackout of %v ms", *none.KernelBlackoutMs)
	}
}

// A silence that lasts at the end of a run counts too.
func TestAcknowledgedOpen(t *testing.T) {
	k := newTracker(10*millisecond, 30*millisecond, 0, 10*millisecond)
	for i := range 20 {
		k.try(time.Duration(10*(i+1))*millisecond, 0)
		if i < 3 {
			k.acknowledge(time.Duration(10*(i+1)+1)*millisecond, 0)
		}
	}
	var got Target
	k.acknowledged(&got, calendar{start: time.Unix(100, 0)}, 200*millisecond)
	length := got.KernelBlackoutEnd.Sub(got.KernelBlackoutStart)
	if got.KernelBlackoutMs == nil || *got.KernelBlackoutMs != 159 || length != 159*millisecond {
		t.Errorf("%v, from %s to %s", got.KernelBlackoutMs, got.KernelBlackoutStart, got.KernelBlackoutEnd)
	}
}

const stoppedVar = "BLACKOUT_TEST_REFLECTOR"

// TestReflectorProcess is no test but the process that the one below stops.
func TestReflectorProcess(t *testing.T) {
	if os.Getenv(stoppedVar) == "" {
		t.Skip("it is the child of another test")
	}
	_, tcp, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stdout.WriteString("address " + tcp.Addr().String() + "\n"); err != nil {
		t.Fatal(err)
	}
	_ = NewReflector(quiet()).ServeTCP(context.Background(), tcp)
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
	t.Fatal("the reflector's process told no address")
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
	if err := report.check(); err != nil || got.BlackoutMs < ms(stopped) {
		t.Errorf("the service was out for %v ms of %s, %v", got.BlackoutMs, stopped, err)
	}
	if got.KernelBlackoutMs == nil || *got.KernelBlackoutMs > got.BlackoutMs/4 {
		t.Errorf("the kernel was out for %v ms, its service for %v ms", got.KernelBlackoutMs, got.BlackoutMs)
	}
}
