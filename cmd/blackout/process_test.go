package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/blackout/reflector/reflectortest"
)

// start runs blackout in a process of its own and returns what it first says on
// standard error, up to a byte. It is killed when the test ends.
func start(t *testing.T, upTo byte, args ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command("blackout", args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	said, err := bufio.NewReader(stderr).ReadString(upTo)
	if err != nil {
		t.Fatalf("%q, %v", said, err)
	}
	return cmd, said
}

// startWatch runs watch and returns once it measures, which its progress shows.
func startWatch(t *testing.T, file string) *exec.Cmd {
	t.Helper()
	addr := reflectortest.Start(t)
	cmd, _ := start(t, '|', "watch", "udp://"+addr, "tcp://"+addr, "--live", "--max-error", "10s", "--json", file)
	return cmd
}

func readFile(t *testing.T, path string) *blackout.Report {
	t.Helper()
	r, err := blackout.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSignalsEndARunCleanly(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		file := filepath.Join(t.TempDir(), "r.json")
		cmd := startWatch(t, file)
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v, want exit code 0", sig, err)
		}
		if r := readFile(t, file); !r.Complete || r.Targets[0].Answered == 0 {
			t.Errorf("%s: complete %v, %d answered", sig, r.Complete, r.Targets[0].Answered)
		}
	}
}

func TestAKilledRunLeavesAReport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	cmd := startWatch(t, file)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it says that it was killed
	if r := readFile(t, file); r.Complete || len(r.Targets) != 2 {
		t.Errorf("complete %v with %d targets, want an incomplete report of 2", r.Complete, len(r.Targets))
	}
}

// TestExitCodes runs command lines to their exit code and to the one line that
// says why.
func TestExitCodes(t *testing.T) {
	addr := reflectortest.Start(t)
	for _, test := range []struct {
		args string
		code int
		why  string // nothing is said when empty
	}{
		{"help", exitOK, ""},
		{"watch --help", exitOK, ""},
		{"serve --help", exitOK, ""},
		{"watch udp://ADDR --for 50ms --quiet --max-error 10s", exitOK, ""},
		{"watch --for 50ms udp://ADDR --quiet tcp://ADDR --max-error 10s", exitOK, ""},
		{"serve --listen ADDR", exitFailed, "address already in use"},
		{"watch udp://host.invalid:1", exitFailed, `resolve target "udp://host.invalid:1"`},
		{"watch tcp://127.0.0.1:1 --for 50ms --linger 1ms --quiet", exitFailed, "never answered"},
		{"", exitUsage, "no command"},
		{"dance", exitUsage, `unknown command "dance"`},
		{"watch", exitUsage, "no target"},
		{"watch udp://ADDR udp://ADDR", exitUsage, "given twice"},
		{"watch udp://127.0.0.1:99999", exitUsage, `port "99999"`},
		{"watch udp://ADDR --interval 1us", exitUsage, "interval 1µs is not between"},
		{"watch udp://ADDR --for -1s", exitUsage, "--for must be above 0, got -1s"},
		{"watch udp://ADDR --max-blackout 0s", exitUsage, "--max-blackout must be above 0, got 0s"},
		{"watch udp://ADDR --json /dev/null", exitUsage, "is not a regular file"},
		{"watch udp://ADDR --json no/such/folder", exitUsage, "--json: report file"},
		{"watch udp://ADDR -4 -6", exitUsage, "-4 and -6"},
		{"watch udp://ADDR --burst 0", exitUsage, "--burst must be above 0, got 0"},
		{"watch udp://ADDR --burst 5000", exitUsage, "burst of 5000"},
		{"watch udp://ADDR --for 50ms --quiet --max-error 1us", exitExceeded, "--max-error"},
		{"watch dns://ADDR", exitUsage, "is not dns://SERVER[:PORT]/NAME"},
		{"serve --user somebody", exitUsage, "UID:GID in numbers"},
		{"serve --max-rate 0", exitUsage, "--max-rate must be above 0, got 0"},
		{"serve --max-clients 99999999", exitUsage, "limit of 99999999 clients"},
		{"serve --max-clients-per-address 99999999", exitUsage, "limit of 99999999 clients of one address"},
		{"serve --max-connections-per-address 0", exitUsage, "--max-connections-per-address must be above 0, got 0"},
		{"serve stray", exitUsage, `unexpected argument "stray"`},
		{"watch tcp://127.0.0.1:1 --for 50ms --linger 1ms --quiet --max-blackout 10ms", exitExceeded, "limit 10.0 ms"},
	} {
		var stdout, stderr bytes.Buffer
		args := strings.Fields(strings.ReplaceAll(test.args, "ADDR", addr))
		code := run(t.Context(), args, &stdout, &stderr)
		if code != test.code || !strings.Contains(stderr.String(), test.why) {
			t.Errorf("%q: exit code %d, %q; want %d, %q", test.args, code, stderr.String(), test.code, test.why)
		}
		if lines := strings.Count(stderr.String(), "\n"); test.why == "" && lines != 0 || test.why != "" && lines != 1 {
			t.Errorf("%q: %d lines on standard error: %q", test.args, lines, stderr.String())
		}
	}
}

// A reflector that root started is nobody when it answers.
func TestServeDropsPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root")
	}
	cmd, line := start(t, '\n', "serve", "--listen", "127.0.0.1:0", "--user", "65534:65533")
	if !strings.Contains(line, "answering probes") {
		t.Fatalf("%q", line)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65533\t65533\t65533\t65533\n",
		"CapEff:\t0000000000000000\n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the status of the process lacks %q", want)
		}
	}
}

func TestMetricsAreServed(t *testing.T) {
	addr := reflectortest.Start(t)
	_, line := start(t, '\n', "watch", "udp://"+addr, "--quiet", "--max-error", "10s", "--metrics", "127.0.0.1:0")
	at := loggedAddress(line)
	if at == "" {
		t.Fatalf("%q", line)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for patience := time.After(2 * time.Minute); ; {
		if res, err := http.Get("http://" + at + "/metrics"); err == nil {
			text, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if strings.Contains(string(text), `blackout_probes_answered_total{target="udp://`+addr+`"}`) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-patience:
			t.Fatal("no metrics")
		}
	}
}

// A prober that was stopped says so, and does not blame the service.
func TestAStoppedProberBlamesItself(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	cmd := startWatch(t, file)
	const stopped = 700 * time.Millisecond
	begun := time.Now()
	for _, step := range []struct {
		signal os.Signal
		wait   time.Duration
	}{{syscall.SIGSTOP, stopped}, {syscall.SIGCONT, 100 * time.Millisecond}, {os.Interrupt, 0}} {
		if err := cmd.Process.Signal(step.signal); err != nil {
			t.Fatal(err)
		}
		<-time.After(step.wait) // how long it is stopped is what is tested
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	r, longest := readFile(t, file), 0.0
	for _, f := range r.Faults {
		if f.Kind == "late" && f.Start.After(begun.Add(-time.Second)) {
			longest = max(longest, f.Ms)
		}
	}
	if least := float64(stopped.Milliseconds()) * 0.9; longest < least {
		t.Errorf("the longest fault is of %v ms, want %v: %+v", longest, least, r.Faults)
	}
	for _, got := range r.Targets {
		if got.BlackoutMs >= float64(stopped.Milliseconds())/2 || got.WorstErrorMs < longest*0.9 {
			t.Errorf("%s: blackout of %v ms ±%v, worst error %v: the prober itself was stopped for %v", got.Target,
				got.BlackoutMs, got.ErrorMs, got.WorstErrorMs, longest)
		}
	}
}
