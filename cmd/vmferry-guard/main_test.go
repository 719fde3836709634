package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/guard/host"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

// asGuardVariable has the test binary stand for the guard: it prints what a program that it runs is like.
const asGuardVariable = "VMFERRY_TEST_AS_GUARD"

func TestMain(m *testing.M) {
	if os.Getenv(asGuardVariable) != "" {
		os.Exit(runLikeGuard())
	}
	os.Exit(m.Run())
}

// runLikeGuard prints a program's score and policy, and how many of its own threads have lost their priority by that.
func runLikeGuard() int {
	if err := errors.Join(os.WriteFile("/proc/self/oom_score_adj", []byte("300"), 0), realTime()); err != nil {
		fmt.Println("unable", err)
		return 0
	}
	for range 20 {
		if _, err := programs(context.Background(), "true"); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	out, err := programs(context.Background(), "cat", "/proc/self/oom_score_adj", "/proc/self/stat")
	fields := strings.Fields(out)
	if err != nil || len(fields) < 42 {
		fmt.Println(out, err)
		return 1
	}
	tasks, err := os.ReadDir("/proc/self/task")
	lost := 0
	for _, task := range tasks {
		id, _ := strconv.Atoi(task.Name())
		if attr, err := unix.SchedGetAttr(id, 0); err == nil && attr.Policy != unix.SCHED_RR {
			lost++
		}
	}
	fmt.Println(fields[0], fields[41], lost, err)
	return 0
}

// A program that the guard runs has neither its priority nor its protection from the search for memory, and the guard's
// threads keep theirs.
func TestOrdinary(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), asGuardVariable+"=1")
	out, err := cmd.CombinedOutput()
	if strings.HasPrefix(string(out), "unable") {
		t.Skipf("no real-time priority here: %s", out)
	}
	if got := strings.TrimSpace(string(out)); err != nil || got != "0 0 0 <nil>" {
		t.Errorf("score, policy, threads without priority: %q, %v; want 0 0 0", got, err)
	}
}

func TestOrdinaryRuns(t *testing.T) {
	out, err := programs(t.Context(), "printf", "%s|", "a b", "$HOME", "--version")
	if err != nil || out != "a b|$HOME|--version|" {
		t.Errorf("%q, %v", out, err)
	}
	out, err = programs(t.Context(), "/nonexistent/program")
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/program") {
		t.Errorf("%q, %v", out, err)
	}
	var exit *exec.ExitError
	if _, err := programs(t.Context(), "false"); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v", err)
	}
}

func TestSurrenders(t *testing.T) {
	for name, test := range map[string]struct {
		guests int
		states string
		err    error
		want   bool
	}{
		"nothing runs":             {0, "inactive\ninactive\ninactive\n", nil, true},
		"failed counts as down":    {0, "failed\ninactive\nunknown\n", nil, true},
		"a guest runs":             {1, "inactive\ninactive\ninactive\n", nil, false},
		"Pacemaker runs":           {0, "active\ninactive\ninactive\n", nil, false},
		"Heartbeat is stopping":    {0, "inactive\ninactive\ndeactivating\n", nil, false},
		"systemd does not answer":  {0, "", errors.New("no answer"), false},
		"half an answer":           {0, "inactive\n", nil, false},
		"the guests are not known": {0, "inactive\ninactive\ninactive\n", errors.New("no list"), false},
	} {
		if got := surrenders(test.guests, test.states, test.err); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestLeaving(t *testing.T) {
	exit3 := exec.CommandContext(t.Context(), "false").Run()
	for name, test := range map[string]struct {
		guests    int
		states    string
		runErr    error
		surrender error
		want      string
	}{
		"orderly":         {0, "inactive\ninactive\ninactive", exit3, nil, "surrender disarm"},
		"with guests":     {2, "inactive\ninactive\ninactive", exit3, nil, ""},
		"with a manager":  {0, "active\ninactive\ninactive", nil, nil, ""},
		"no systemctl":    {0, "inactive\ninactive\ninactive", exec.ErrNotFound, nil, ""},
		"it does not end": {0, "inactive\ninactive\ninactive", exit3, errors.New("not on the device"), "surrender"},
	} {
		var done []string
		l := leaving{
			guests:    func(context.Context) (int, error) { return test.guests, nil },
			run:       func(context.Context, string, ...string) (string, error) { return test.states, test.runErr },
			surrender: func(context.Context) error { done = append(done, "surrender"); return test.surrender },
			disarm:    func() error { done = append(done, "disarm"); return nil },
		}
		log := logrus.New()
		log.SetOutput(io.Discard)
		l.end(log)
		if got := strings.Join(done, " "); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// A guard that is set up while guests run does not kill them.
func TestFirstStart(t *testing.T) {
	for name, test := range map[string]struct {
		generation uint64
		guests     int
		starts     bool
	}{
		"a new node":            {0, 0, true},
		"a new node, guests":    {0, 2, false},
		"a restart":             {3, 2, true},
		"a restart, no guests ": {3, 0, true},
	} {
		err := firstStart(test.generation, test.guests)
		if (err == nil) != test.starts || err != nil && !errors.As(err, new(misconfigured)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManagerOf(t *testing.T) {
	const haCf, corosync = "/etc/ha.d/ha.cf", "/etc/corosync/corosync.conf"
	for name, test := range map[string]struct {
		configured string
		files      []string
		want       host.Manager
	}{
		"configured":       {config.Heartbeat, []string{haCf, corosync}, host.Heartbeat},
		"Pacemaker":        {config.Pacemaker, []string{haCf}, host.Pacemaker},
		"Heartbeat alone":  {config.Auto, []string{haCf}, host.Heartbeat},
		"both are set up":  {config.Auto, []string{haCf, corosync}, host.Pacemaker},
		"nothing is there": {config.Auto, nil, host.Pacemaker},
	} {
		got := managerOf(test.configured, func(path string) bool { return slices.Contains(test.files, path) })
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The manual, the usage and the completion name every flag that there is.
func TestFlagsAreDescribed(t *testing.T) {
	manual, err := os.ReadFile("vmferry-guard.8")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"vmferry-guard.8": strings.ReplaceAll(string(manual), `\-`, "-"), "usage": usage,
		"the completion": bashCompletion()}
	new(options).flags().VisitAll(func(f *flag.Flag) {
		for what, text := range texts {
			if !strings.Contains(text, "-"+f.Name) {
				t.Errorf("%s does not mention --%s", what, f.Name)
			}
		}
	})
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"--help":               {exitOK, "usage: vmferry-guard"},
		"--version":            {exitOK, "vmferry-guard "},
		"--completion bash":    {exitOK, "complete -F _vmferry_guard vmferry-guard"},
		"--colour":             {exitUsage, "type vmferry-guard --help"},
		"start":                {exitUsage, `unexpected argument "start"`},
		"--config /none/.toml": {exitConfig, "no guard is set up on this node"},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), &out, &out); code != want.code ||
			!strings.Contains(out.String(), want.text) {
			t.Errorf("%s: exit %d, %q", args, code, &out)
		}
	}
}

// A guard that cannot start for now does not take the processor from others by trying ten times a second.
func TestStartsAgainLater(t *testing.T) {
	file := filepath.Join(t.TempDir(), "guard.toml")
	if err := os.WriteFile(file, []byte("device = '/nonexistent/lease'\nnode = 'alpha'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	begun := time.Now()
	code := run(t.Context(), []string{"--config", file}, &out, &out)
	if took := time.Since(begun); code != exitError || took < time.Second || !strings.Contains(out.String(), "/nonexistent/lease") {
		t.Errorf("exit %d after %s: %s", code, took, &out)
	}
}

// The times of the manual are those of the code.
func TestManualHasTheTimes(t *testing.T) {
	manual, err := os.ReadFile("vmferry-guard.8")
	if err != nil {
		t.Fatal(err)
	}
	times := timing.Default
	row := func(name string, m timing.Manager) string {
		trusted, revoked := times.Bounds(m, 0, false), times.Bounds(m, 0, true)
		fed := times.Bounds(m, timing.Reset(times.Watchdog()), false)
		return fmt.Sprintf(".It %s Ta %.1f Ta %.1f Ta %.1f Ta %.1f\n", name, trusted.Crash.Seconds(),
			revoked.Crash.Seconds(), fed.Crash.Seconds(), trusted.Split.Seconds())
	}
	least := func(watchdog time.Duration, revoke bool) float64 {
		return math.Ceil(times.Bounds(timing.Manager{}, watchdog, revoke).FenceTimeout.Seconds())
	}
	for _, want := range []string{
		row("Pacemaker, token 1 s", timing.Pacemaker(time.Second, 0, 0)),
		row("Pacemaker, token 3 s", timing.Pacemaker(3*time.Second, 0, 0)),
		row("Heartbeat, deadtime 10 s", timing.Heartbeat(10*time.Second, 0)),
		fmt.Sprintf(".It least stonith-timeout Ta %g Ta %g Ta %g Ta\n", least(0, false), least(0, true),
			least(timing.Reset(times.Watchdog()), false)),
		fmt.Sprintf("\n%g seconds are enough", least(timing.Reset(times.Watchdog()), true)),
		fmt.Sprintf("expires after %.1f seconds with the defaults, and after %.1f with a watchdog",
			times.Expiry(0).Seconds(), times.Expiry(timing.Reset(times.Watchdog())).Seconds()),
		fmt.Sprintf(".It Ic renew Ta %d ms Ta", times.Renew.Milliseconds()),
		fmt.Sprintf(".It Ic self-kill Ta %g s Ta", times.SelfKill.Seconds()),
		fmt.Sprintf(".It Ic kill Ta %g s Ta", times.Kill.Seconds()),
		fmt.Sprintf(".It Ic poll Ta %d ms Ta", times.Poll.Milliseconds()),
		fmt.Sprintf(".It Ic margin Ta %d ms Ta", times.Margin.Milliseconds()),
		fmt.Sprintf(".It Ic move Ta %g s Ta", times.Move.Seconds()),
		fmt.Sprintf(".It Ic revoke Ta %g s Ta", times.Revoke.Seconds()),
		fmt.Sprintf(".It Ic drift Ta %g Ta", times.Drift),
		fmt.Sprintf("in whole seconds: %g seconds by default", times.Watchdog().Seconds()),
	} {
		if !strings.Contains(string(manual), want) {
			t.Errorf("the manual lacks %q", want)
		}
	}
}
