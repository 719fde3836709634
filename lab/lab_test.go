package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/report"
)

// bench is the program under test and where it keeps its lab.
type bench struct {
	program string
	dir     string
}

// newBench finds the program, or skips the test where a lab cannot be. In
// continuous integration a lab must be possible. The lab is down when the test has ended.
func newBench(t *testing.T) bench {
	t.Helper()
	refuse := t.Skipf
	if os.Getenv("CI") == "true" {
		refuse = t.Fatalf
	}
	if err := lab.CheckHost(); err != nil {
		refuse("no lab here: %v", err)
	}
	program := os.Getenv("VMFERRY_LAB")
	if program == "" {
		refuse("VMFERRY_LAB does not name the vmferry-lab program: run `make lab-test`")
	}
	b := bench{program: program, dir: filepath.Join(t.TempDir(), "lab")}
	b.endWhenInterrupted(t)
	t.Cleanup(func() {
		if err := b.down(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// nodes are the names of the lab's nodes, in order.
func (b bench) nodes(t *testing.T) []string {
	t.Helper()
	return slices.Sorted(maps.Keys(b.state(t).Nodes))
}

// down takes the lab down, if there is one, whatever has become of the test.
func (b bench) down() error {
	if out, err := b.command(context.Background(), "down").CombinedOutput(); err != nil {
		return fmt.Errorf("vmferry-lab down: %w\n%s", err, out)
	}
	return nil
}

// endWhenInterrupted takes the lab down when somebody ends the tests with Ctrl-C: no cleanup of a test's is called then.
func (b bench) endWhenInterrupted(t *testing.T) {
	signals, over := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	t.Cleanup(func() {
		signal.Stop(signals)
		close(over)
	})
	go func() {
		select {
		case <-over:
		case s := <-signals:
			fmt.Fprintf(os.Stderr, "%v: taking the lab down\n", s)
			if err := b.down(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			_ = os.RemoveAll(filepath.Dir(b.dir))
			os.Exit(130)
		}
	}()
}

func (b bench) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, b.program, append([]string{"--dir", b.dir}, args...)...)
}

// run runs one vmferry-lab command, which must succeed, and returns its output.
func (b bench) run(t *testing.T, args ...string) string {
	t.Helper()
	out, code := b.try(t, args...)
	if code != 0 {
		t.Fatalf("vmferry-lab %q: exit code %d\n%s", args, code, out)
	}
	return out
}

// try is run for commands that may fail: standard output and error together,
// and the exit code.
func (b bench) try(t *testing.T, args ...string) (string, int) {
	t.Helper()
	out, err := b.command(t.Context(), args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("vmferry-lab %q: %v", args, err)
	}
	if exit != nil {
		return string(out), exit.ExitCode()
	}
	return string(out), 0
}

// TestLab runs its parts on one lab of the usual shape. The last one leaves the nodes with another libvirt.
func TestLab(t *testing.T) {
	newBench(t).walk(t, nil, []part{
		{"demo", false, testDemo},
		{"ocf-tester", false, testOCFTester},
		{"ocft", false, testOCFT},
		{"pcs and crmsh", false, testOperatorsTools},
		{"operator", false, testOperator},
		{"save rung", false, testSave},
		{"agent swap", false, testAgentSwap},
		{"local disks", false, testDisks},
		{"tls", false, testTLS},
		{"refused migrations", false, testRefusedMigrations},
		{"bad input", false, testBadInput},
		{"probe", false, testProbe},
		{"outages", false, testOutages},
		{"kills", false, testKills},
		{"faults", false, testFaults},
		{"heartbeat", false, testHeartbeat},
		{"drain", false, testDrain},
		{"hostile", false, testHostile},
		{"modular libvirt", true, testModular},
	})
}

// testDemo is the main job: what make demo shows must hold. Which agent has the shorter blackouts is in the report and
// in `make bench`: a machine that does something else at the same time decides it as much as the agent does.
func testDemo(t *testing.T, b bench) {
	pacemaker := b.demo(t, "--manager", cluster.PacemakerName)
	if len(pacemaker) != 4 {
		t.Fatalf("%d scenarios ran under Pacemaker, want 4", len(pacemaker))
	}
	for _, s := range pacemaker {
		checkScenario(t, s)
	}
}

// demo runs the demo and reads its report.
func (b bench) demo(t *testing.T, flags ...string) []report.Scenario {
	t.Helper()
	return b.demoNamed(t, "report", flags...)
}

// demoNamed is demo where the report's files begin with another name.
func (b bench) demoNamed(t *testing.T, base string, flags ...string) []report.Scenario {
	t.Helper()
	out := t.TempDir()
	t.Log(b.run(t, append([]string{"demo", "--out", out}, flags...)...))
	f, err := os.Open(filepath.Join(out, base+".json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rep, err := report.ReadJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(out, base+".html")); err != nil {
		t.Error(err)
	}
	return rep.Scenarios
}

// checkScenario holds our agent to its word.
func checkScenario(t *testing.T, s report.Scenario) {
	t.Helper()
	if s.Agent != report.Ours {
		return
	}
	if !s.Passed {
		t.Errorf("%s under %s did not pass: %s", s.Name, s.Manager, strings.Join(s.Failures, "; "))
	}
	for _, g := range s.Guests {
		checkGuest(t, s, g)
	}
}

// checkGuest checks what a client and a guest must never see with our agent.
func checkGuest(t *testing.T, s report.Scenario, g report.Guest) {
	t.Helper()
	switch s.Name {
	case report.GracefulShutdown, report.MirrorDrain:
		if g.How != report.Live || !g.BootIDKept {
			t.Errorf("%s: guest %s was moved %s", s.Name, g.Guest, g.How)
		}
		if g.TCP.Resets > 0 {
			t.Errorf("%s: guest %s: %d TCP connections were reset", s.Name, g.Guest, g.TCP.Resets)
		}
		if g.PauseMS == nil {
			t.Errorf("%s: guest %s: nobody saw it pause and go on", s.Name, g.Guest)
		}
	case report.Crash, report.MirrorCrash:
		if g.How != report.Cold {
			t.Errorf("%s: guest %s was moved %s", s.Name, g.Guest, g.How)
		}
		// Where guests have a disk, they count on it.
		if counts := s.Hypervisor == cluster.QEMU.Name; counts && (g.Boots == nil || *g.Boots != 1) {
			t.Errorf("%s: guest %s booted %v times", s.Name, g.Guest, g.Boots)
		}
	}
	if g.UDP.Open || g.TCP.Open {
		t.Errorf("%s: guest %s did not answer at the end", s.Name, g.Guest)
	}
}

const agentFile = "/usr/lib/ocf/resource.d/vmferry/Domain"

// testOCFTester runs the peers' own conformance test.
func testOCFTester(t *testing.T, b bench) {
	out, code := b.try(t, "shell", "node1", "ocf-tester", "-n", "vm1",
		"-o", "config=/shared/guests/vm1.xml", "-o", "hypervisor=qemu:///system", agentFile)
	if code != 0 || !strings.Contains(out, "passed all tests") {
		t.Errorf("ocf-tester: exit code %d\n%s", code, out)
	}
	if out, code := b.try(t, "shell", "node1", "crm_resource", "--show-metadata", "ocf:vmferry:Domain"); code != 0 {
		t.Errorf("crm_resource --show-metadata: exit code %d\n%s", code, out)
	}
	// The schema of OCF 1.1, which ocf-tester does not know yet.
	file := filepath.Join(b.dir, "shared", "meta-data.xml")
	if err := os.WriteFile(file, []byte(b.run(t, "shell", "node1", agentFile, "meta-data")), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, code := b.try(t, "shell", "node1", "xmllint", "--noout", "--nonet", "--relaxng",
		"/usr/share/pacemaker/api/ocf-ra-1.1.rng", "/shared/meta-data.xml"); code != 0 {
		t.Errorf("the meta-data does not fit OCF 1.1: exit code %d\n%s", code, out)
	}
}

// compareFootprints fails the test for everything that is there afterwards
// and was not before.
func compareFootprints(t *testing.T, before, after []string) {
	t.Helper()
	for _, thing := range after {
		if !slices.Contains(before, thing) {
			t.Errorf("the lab left %s behind", thing)
		}
	}
}

// footprint lists what a lab could leave on a machine: processes of the lab's
// programs, mounts, links, cgroups. Others on this machine may have a QEMU, an nsenter or a mount of their own.
func (b bench) footprint(t *testing.T) []string {
	t.Helper()
	var things []string
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range processes {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		words := bytes.Split(text, []byte{0})
		name := filepath.Base(string(words[0]))
		cgroup, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cgroup"))
		ours := bytes.Contains(text, []byte("vmferry-lab")) || bytes.Contains(cgroup, []byte("vmferry-lab"))
		if slices.Contains([]string{"systemd-nspawn", "mmdebstrap", "vmferry-lab", "blackout"}, name) ||
			ours && slices.Contains([]string{"qemu-system-x86_64", "nsenter"}, name) {
			things = append(things, "process "+path+" "+name)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, b.dir) || strings.Contains(line, lab.DefaultCache) || strings.Contains(line, "nspawn") {
			things = append(things, "mount "+line)
		}
	}
	for _, pattern := range []string{"/sys/class/net/*", "/sys/fs/cgroup/*lab*", "/sys/fs/cgroup/unified/*lab*",
		"/run/netns/*", "/run/systemd/nspawn/*/*", lab.DefaultCache + "/*.part"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		things = append(things, paths...)
	}
	return things
}

// TestLabInterrupted interrupts `up` at many moments; nothing may stay, and
// the next `up` and `down` must work.
func TestLabInterrupted(t *testing.T) {
	b := newBench(t)
	before := b.footprint(t)
	for _, interruption := range []struct {
		signal syscall.Signal
		after  time.Duration
	}{
		{syscall.SIGINT, 50 * time.Millisecond},
		{syscall.SIGINT, 500 * time.Millisecond},
		{syscall.SIGTERM, 2 * time.Second},
		{syscall.SIGKILL, 300 * time.Millisecond},
		{syscall.SIGKILL, 3 * time.Second},
	} {
		cmd := b.command(t.Context(), "up")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(interruption.after, func() { _ = cmd.Process.Signal(interruption.signal) })
		_ = cmd.Wait()
		timer.Stop()
		if interruption.signal == syscall.SIGKILL {
			b.run(t, "down") // nobody can clean up after being killed
		}
		compareFootprints(t, before, b.footprint(t))
		if entries, err := os.ReadDir(b.dir); err == nil {
			t.Errorf("%v after %v: the lab's folder is still there with %d entries", interruption.signal,
				interruption.after, len(entries))
			b.run(t, "down")
		}
	}
}
