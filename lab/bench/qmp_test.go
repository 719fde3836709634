package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/scenario"
)

// fakeQEMU does for each command what is in on, and ends at one that is not.
type fakeQEMU struct {
	*qmp
	far io.Writer
	on  map[string]func(arguments string)
}

func newFakeQEMU(t *testing.T) *fakeQEMU {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	f := &fakeQEMU{far: far, on: map[string]func(string){}}
	for _, command := range []string{"qmp_capabilities", "migrate-set-capabilities", "migrate-set-parameters",
		"migrate-incoming", "stop"} {
		f.on[command] = func(string) { f.done() }
	}
	go func() {
		defer far.Close()
		f.say(`{"QMP":{"version":{},"capabilities":[]}}`)
		for in := bufio.NewScanner(far); in.Scan(); {
			var command struct {
				Execute   string
				Arguments json.RawMessage
			}
			if json.Unmarshal(in.Bytes(), &command) != nil || f.on[command.Execute] == nil {
				return
			}
			f.on[command.Execute](string(command.Arguments))
		}
	}()
	m, err := newQMP(t.Context(), near)
	if err != nil {
		t.Fatal(err)
	}
	f.qmp = m
	return f
}

func (f *fakeQEMU) say(line string) { fmt.Fprintln(f.far, line) }
func (f *fakeQEMU) done()           { f.say(`{"return":{}}`) }

// tell sends an event of a microsecond.
func (f *fakeQEMU) tell(name, status string, micros int) {
	f.say(fmt.Sprintf(`{"event":%q,"data":{"status":%q},"timestamp":{"seconds":1000,"microseconds":%d}}`, name, status,
		micros))
}

// pair is a source and a target whose migration ends with a status.
func pair(t *testing.T, status string) (source, target *fakeQEMU) {
	source, target = newFakeQEMU(t), newFakeQEMU(t)
	source.on["migrate"] = func(string) {
		source.tell("MIGRATION", "setup", 1)
		source.done()
		source.tell("STOP", "", 5000)
		target.tell("MIGRATION", "active", 6000)
		source.tell("MIGRATION", "completed", 9000)
		target.tell("MIGRATION", status, 9500)
	}
	target.on["cont"] = func(string) {
		target.tell("RESUME", "", 12500)
		target.done()
	}
	return source, target
}

func TestTransfer(t *testing.T) {
	source, target := pair(t, "completed")
	if got, err := transfer(t.Context(), source.qmp, target.qmp); err != nil || got != 7500*time.Microsecond {
		t.Errorf("%v, %v", got, err)
	}
	// What an earlier move left in the row of events does not count.
	_, next := pair(t, "completed")
	target.on["migrate"] = func(string) {
		target.done()
		target.tell("STOP", "", 20000)
		next.tell("MIGRATION", "completed", 21000)
	}
	next.on["cont"] = func(string) { next.tell("RESUME", "", 21001); next.done() }
	target.tell("STOP", "", 13000)
	if got, err := transfer(t.Context(), target.qmp, next.qmp); err != nil || got != 1001*time.Microsecond {
		t.Errorf("on from there: %v, %v", got, err)
	}
}

func TestTransferFails(t *testing.T) {
	for _, c := range []struct {
		name, status string
		spoil        func(source, target *fakeQEMU)
		words        string
	}{
		{"a migration that fails", "failed", nil, "the bare migration failed"},
		{"a source that dies", "completed", func(s, _ *fakeQEMU) { s.on["migrate"] = nil }, `ask QEMU for "migrate"`},
		{"a target that dies", "completed", func(_, f *fakeQEMU) { f.on["cont"] = nil }, `ask QEMU for "cont"`},
		{"a refusal", "completed", func(s, _ *fakeQEMU) {
			s.on["migrate"] = func(string) { s.say(`{"error":{"class":"GenericError","desc":"busy"}}`) }
		}, `QEMU refused "migrate": busy`},
	} {
		t.Run(c.name, func(t *testing.T) {
			source, target := pair(t, c.status)
			if c.spoil != nil {
				c.spoil(source, target)
			}
			if _, err := transfer(t.Context(), source.qmp, target.qmp); err == nil ||
				!strings.Contains(err.Error(), c.words) {
				t.Errorf("%v, want %q", err, c.words)
			}
		})
	}
}

func TestQMPIsCancelled(t *testing.T) {
	f := newFakeQEMU(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.on["migrate"] = func(string) { cancel() }
	if _, err := f.execute(ctx, "migrate", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a command: %v", err)
	}
	if _, err := f.await(ctx, 0, "STOP", named("STOP")); !errors.Is(err, context.Canceled) {
		t.Errorf("an event: %v", err)
	}
}

func TestPauseForgets(t *testing.T) {
	f := newFakeQEMU(t)
	var lines []string
	f.on["human-monitor-command"] = func(arguments string) {
		lines = append(lines, arguments)
		f.say(`{"return":""}`)
	}
	f.on["stop"] = func(string) { f.tell("STOP", "", 3); f.done() }
	f.on["cont"] = func(string) { f.done(); f.tell("RESUME", "", 7) }
	stopped, at, err := f.pause(t.Context(), true)
	want := []string{`{"command-line":"savevm relearn"}`, `{"command-line":"loadvm relearn"}`,
		`{"command-line":"delvm relearn"}`}
	if took := at.Sub(stopped); err != nil || !slices.Equal(lines, want) || took != 4*time.Microsecond ||
		at.Nanosecond() != 7000 {
		t.Errorf("%q, STOP at %v, RESUME at %v, %v", lines, stopped, at, err)
	}
	f.on["human-monitor-command"] = func(string) { f.say(`{"return":"Error: no space\r\n"}`) }
	if _, _, err := f.pause(t.Context(), true); err == nil ||
		!strings.Contains(err.Error(), `answer to "savevm relearn": Error: no space`) {
		t.Errorf("a full disk: %v", err)
	}
}

func TestBareArgs(t *testing.T) {
	spec := scenario.Kind{Name: "bare", First: 50, MemoryMiB: 128}.Spec(0)
	at := bareArgs(spec, "bare0", "/shared/bare/bare0", false)
	for _, want := range []string{spec.CommandLine(), "128", "virtio-net-pci,netdev=net,romfile=,mac=52:54:00:76:6d:32",
		"unix:/shared/bare/bare0,server=on,wait=off"} {
		if !slices.Contains(at, want) {
			t.Errorf("%q is missing in %q", want, at)
		}
	}
	if in := bareArgs(spec, "bare0", "/shared/bare/bare0", true); !slices.Equal(in,
		append(at, "-S", "-incoming", "defer")) {
		t.Errorf("one that waits: %q", in)
	}
}

// TestTransferIsReal moves the firmware alone between two QEMUs, where there is QEMU.
func TestTransferIsReal(t *testing.T) {
	program, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip(err)
	}
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", disk,
		"16M").CombinedOutput(); err != nil {
		t.Skipf("qemu-img: %v: %s", err, out)
	}
	source := realQEMU(t, program, disk)
	ctx, cancel := context.WithTimeout(t.Context(), bareTime)
	defer cancel()
	stopped, resumed, err := source.pause(ctx, true)
	if err != nil || resumed.Before(stopped) || time.Since(resumed) > bareTime {
		t.Fatalf("save and load: %v, %v, %v", stopped, resumed, err)
	}
	target := realQEMU(t, program, disk, "-S", "-incoming", "defer")
	pause, err := transfer(ctx, source, target)
	if err != nil || pause <= 0 || pause > 10*time.Second {
		t.Errorf("pause %v, %v", pause, err)
	}
	t.Logf("pause %v", pause)
}

func realQEMU(t *testing.T, program, disk string, more ...string) *qmp {
	t.Helper()
	dir, err := os.MkdirTemp("", "bench-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "qmp")
	args := []string{
		"-accel", "tcg", "-machine", "pc,usb=off,hpet=off", "-m", "32", "-nodefaults", "-no-user-config", "-display",
		"none",
		"-qmp", "unix:" + socket + ",server=on,wait=off", "-drive", "file=" + disk + ",if=none,id=disk,format=qcow2",
		"-device", "virtio-blk-pci,drive=disk",
	}
	cmd := exec.CommandContext(t.Context(), program, append(args, more...)...)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	q := &bareQEMU{exited: exited}
	if err := q.connect(t.Context(), socket); err != nil {
		t.Fatal(err)
	}
	return q.qmp
}
