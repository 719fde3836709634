package lab_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab/guest/cpio"
	"github.com/vmferry/vmferry/migrate/blackout"
)

// testProbe tries what of the probe needs a machine of its own.
func testProbe(t *testing.T, b bench) {
	t.Run("unit", func(t *testing.T) { testProbeUnit(t, b) })
	t.Run("clock", func(t *testing.T) { testProbeClock(t, b) })
}

// testProbeUnit has systemd run the reflector as its unit says, and probes it.
func testProbeUnit(t *testing.T, b bench) {
	b.run(t, "shell", "node1", "systemctl", "start", "blackout.service")
	defer b.run(t, "shell", "node1", "systemctl", "stop", "blackout.service")
	out := b.run(t, "shell", "node1", "blackout", "watch", "udp://127.0.0.1:7007", "tcp://127.0.0.1:7007", "udp://[::1]:7007",
		"--for", "1s", "--max-error", "1m", "--json", "-")
	r, err := blackout.ReadReport(strings.NewReader(out))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, target := range r.Targets {
		if target.Answered == 0 || !target.Directed {
			t.Errorf("%s: %d answers, directed %v", target.Target, target.Answered, target.Directed)
		}
	}
	pid := strings.TrimSpace(b.run(t, "shell", "node1", "systemctl", "show", "--property=MainPID", "--value", "blackout.service"))
	status := b.run(t, "shell", "node1", "cat", "/proc/"+pid+"/status")
	if strings.Contains(status, "\nUid:\t0\t") || !strings.Contains(status, "\nCapBnd:\t0000000000000000\n") {
		t.Errorf("the reflector has a user or capabilities that it must not have:\n%s", status)
	}
}

// testProbeClock boots a virtual machine in which the clock is set while the probe runs.
func testProbeClock(t *testing.T, b bench) {
	initrd := filepath.Join(b.dir, "shared", "clock-initrd")
	writeClockInitrd(t, filepath.Join(b.dir, "shared", "boot", "initrd"), initrd)
	defer os.Remove(initrd)
	out := b.run(t, "shell", "node1", "timeout", "180", "qemu-system-x86_64",
		"-accel", "tcg", "-machine", "pc,hpet=off", "-cpu", "qemu64,+rdrand", "-m", "192", "-nodefaults",
		"-no-user-config", "-display", "none",
		"-serial", "stdio", "-no-reboot", "-kernel", "/shared/boot/vmlinuz", "-initrd", "/shared/"+filepath.Base(initrd),
		"-append", "console=ttyS0 quiet panic=-1")
	_, text, _ := strings.Cut(out, "report begins")
	text, _, ok := strings.Cut(text, "report ends")
	if !ok {
		t.Fatalf("the machine printed no report:\n%s", out)
	}
	r, err := blackout.ReadReport(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	checkSetClock(t, r)
}

// checkSetClock wants the report of a run of eight seconds with a reflector that was stopped for
// one, in spite of a clock that was set by an hour: a minute is room enough for an emulator.
func checkSetClock(t *testing.T, r *blackout.Report) {
	t.Helper()
	const hour, minute = 3600e3, 60e3
	if r.ClockStepMs > -hour+minute || r.ClockStepMs < -hour-minute {
		t.Errorf("the clock is said to have been set by %v ms, and was by %v", r.ClockStepMs, -hour)
	}
	if length := r.End.Sub(r.Start).Seconds(); !r.Complete || length < 8 || length > 60 {
		t.Errorf("the run is said to be complete %v, of %v s", r.Complete, length)
	}
	for _, target := range r.Targets {
		t.Logf("%s: %d of %d answered, blackout of %v ± %v ms, dark for %v ms", target.Target, target.Answered,
			target.Sent, target.BlackoutMs, target.ErrorMs, target.DarkMs)
		if target.BlackoutMs+target.ErrorMs < 1000 || target.BlackoutMs > 8000 || target.WorstErrorMs > minute {
			t.Errorf("%s: blackout of %v ms ± %v, worst error %v ms", target.Target, target.BlackoutMs, target.ErrorMs,
				target.WorstErrorMs)
		}
		if target.Lost+target.Unsettled != 0 || target.RTT.Max > 8e6 {
			t.Errorf("%s: %d lost, %d unsettled, a round trip of %v µs", target.Target, target.Lost, target.Unsettled,
				target.RTT.Max)
		}
	}
}

// writeClockInitrd makes an initramfs of that of the guests, in which process 1 is
// lab/guest/clockset: of archives one after the other, the kernel lets the last one win.
func writeClockInitrd(t *testing.T, guests, to string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "clockset")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./guest/clockset")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	body, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadFile(guests)
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, make([]byte, -len(all)&3)...) // an archive begins at a multiple of four
	own := bytes.NewBuffer(all)
	w := cpio.NewWriter(own)
	if err := w.Write(cpio.Entry{Name: "init", Mode: cpio.ModeRegular | 0o755}, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, own.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
