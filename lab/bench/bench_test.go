package bench

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/report"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files")

const roleVar = "BENCH_TEST_ROLE"

// TestMain makes this binary an agent too: one that leaves a busy child behind, and the child.
func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "orphan":
		child := exec.Command(os.Args[0])
		child.Env = []string{roleVar + "=busy"}
		if err := child.Start(); err != nil {
			panic(err)
		}
		os.Exit(0)
	case "busy":
		for burnt() < 100*time.Millisecond {
		}
		os.Exit(0)
	case "fails":
		fmt.Fprintln(os.Stderr, "no such guest")
		os.Exit(7)
	}
	os.Exit(m.Run())
}

// burnt is the processor time of this process, which on a busy machine is not that of a clock.
func burnt() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil {
		panic(err)
	}
	return time.Duration(now.Nano())
}

func TestSummarize(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i) // in no good order
	}
	for _, c := range []struct {
		name    string
		samples []float64
		want    Summary
	}{
		{"none", nil, Summary{}},
		{"one", []float64{2}, Summary{1, 2, 2, 2, 2}},
		{"two", []float64{4, 1}, Summary{2, 1, 4, 4, 4}},
		{"three", []float64{3, 1, 2}, Summary{3, 2, 3, 3, 3}},
		{"hundred", hundred, Summary{100, 50, 90, 99, 100}},
		{"two hundred", append(slices.Clone(hundred), hundred...), Summary{200, 50, 90, 99, 100}},
		{"rounded", []float64{1.23456}, Summary{1, 1.235, 1.235, 1.235, 1.235}},
	} {
		before := slices.Clone(c.samples)
		if got := Summarize(c.samples); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if !slices.Equal(c.samples, before) {
			t.Errorf("%s: the samples were changed", c.name)
		}
	}
}

func TestCompare(t *testing.T) {
	if r := compare("x", "s", "irtt", []float64{1, 2, 3}, []float64{40, 60, 50}); *r.RatioP50 != 0.04 || r.N != 3 ||
		r.PeerName != "irtt" || r.Unit != "s" {
		t.Errorf("%+v", r)
	}
	if r := compare("x", "s", "irtt", nil, []float64{5}); r.RatioP50 != nil {
		t.Errorf("a ratio of nothing: %v", *r.RatioP50)
	}
	if r := compare("x", "s", "irtt", []float64{1}, []float64{0}); r.RatioP50 != nil {
		t.Errorf("a ratio to nothing: %v", *r.RatioP50)
	}
}

func sample() *Report {
	busy := moves{
		ours: []move{{Ended: endedLive, Pause: 30}, {Ended: endedLive, Pause: 20}},
		peer: []move{{Ended: endedCutOff}, {Ended: endedLive, Pause: 100}},
	}.result("busy-blackout-udp", "ms", pauseOf)
	rate := compare("probe-rate", "lost packets per million", "", []float64{0, 2}, nil)
	rate.Notes = []string{"500000 packets in 5s, 0 slots missed"}
	accuracy := compare("accuracy-udp", "of the allowed error", "irtt", []float64{0.1, 0.5}, []float64{0.2})
	for _, c := range []Class{
		{Name: "5ms", Tool: "blackout", N: 1, P50: 0.1, Max: 0.12345, OffP50Ms: 0.4, OffMaxMs: 0.4},
		{Name: "10s", Tool: "blackout", N: 1, P50: 0.5, Max: 0.5, OffP50Ms: 1.25, OffMaxMs: 1.25},
		{Name: "5ms", Tool: "irtt", N: 1, P50: 0.2, Max: 0.2, OffP50Ms: 5, OffMaxMs: 5, Missed: 1},
	} {
		accuracy.Classes = append(accuracy.Classes, c.rounded())
	}
	return &Report{
		Schema: Schema, Commit: "0123456789ab",
		Environment: report.Environment{Libvirt: "libvirtd (libvirt) 11.3.0", Kernel: "6.1", Cores: 2, Accel: "tcg"},
		Results: []Result{
			compare("monitor", "ms", report.Peer, []float64{1.5, 1.25, 4}, []float64{100, 140.1234, 120}),
			compare("monitor-daemons", "ms", report.Peer, []float64{0.5, 0.25, 0.75}, []float64{0, 0, 0}),
			busy, rate, accuracy,
		},
	}
}

func TestReportIsGolden(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.json")
	if err := sample().WriteJSON(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := sample().WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"report.json": string(text), "table.txt": table.String()} {
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || string(want) != got {
			t.Errorf("%s changed (%v): others read it, so look at the difference, then run with -update\n%s", name, err,
				got)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%d files were left, %v", len(left), err)
	}
	if err := sample().WriteJSON(filepath.Join(dir, "none", "report.json")); err == nil {
		t.Error("wrote to a directory that is not there")
	}
}

// How the moves of one bench ended is said once, again where it differs, and for each bench. Where no peer is, none is
// named.
func TestTableSaysOnceHowMovesEnded(t *testing.T) {
	result := func(name string, live int) Result {
		return Result{Name: name, PeerName: "P", OursEnded: Endings{endedLive: live}, PeerEnded: Endings{endedLive: 3}}
	}
	r := &Report{Results: []Result{
		result("idle-pause", 3), result("kernel-gap-icmp", 3), result("kernel-gap-tcp", 2), {Name: "own-work"},
		result("game-gap-udp", 2), result("loaded-blackout-udp", 2), result("loaded-blackout-tcp", 2),
		{Name: "probe-halved", OursEnded: Endings{endedLive: 6}},
	}}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "\nprobe-halved: vmferry: 6 live\n") {
		t.Errorf("a peer is named where there is none:\n%s", table.String())
	}
	for name, want := range map[string]bool{
		"idle-pause": true, "kernel-gap-icmp": false, "kernel-gap-tcp": true, "own-work": false, "game-gap-udp": true,
		"loaded-blackout-udp": true, "loaded-blackout-tcp": false,
	} {
		if got := strings.Contains(table.String(), "\n"+name+": vmferry: "); got != want {
			t.Errorf("%s: %v\n%s", name, got, table.String())
		}
	}
}

func TestChoose(t *testing.T) {
	for only, want := range map[string]int{"": len(Benches), "monitor": 1, "monitor,monitor-wall": 1,
		"meta-data,monitor-wall": 2, "idle-blackout-tcp": 1, "probe-rate,plan-10k": 2} {
		if got, err := Choose(only); err != nil || len(got) != want {
			t.Errorf("%q: %d benches, %v; want %d", only, len(got), err, want)
		}
	}
	if _, err := Choose("monitor,speed"); err == nil ||
		!strings.Contains(err.Error(), `no bench "speed"; there are plan-10k, `) {
		t.Errorf("error %v", err)
	}
	names := slices.Sorted(slices.Values(Names()))
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("a name is there twice: %v", names)
	}
}

// What a call leaves behind is its cost too.
func TestCallerCountsOrphans(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := json.Marshal(Plan{Ours: self, Peer: "/bin/true", Action: "monitor",
		Environ: []string{roleVar + "=orphan"}, N: 2})
	if err != nil {
		t.Fatal(err)
	}
	var out, complaint bytes.Buffer
	if code := Caller(bytes.NewReader(plan), &out, &complaint); code != 0 {
		t.Fatalf("code %d: %s", code, complaint.String())
	}
	var s Samples
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Ours) != 2 || len(s.Peer) != 2 {
		t.Fatalf("%d and %d samples, want 2 of each", len(s.Ours), len(s.Peer))
	}
	for i := range s.Ours {
		// What it burns, less a tick of the kernel.
		if s.Ours[i].CPU < 90 || s.Ours[i].CPU < s.Peer[i].CPU || s.Peer[i].Wall <= 0 {
			t.Errorf("call %d: ours %+v, peer %+v", i, s.Ours[i], s.Peer[i])
		}
	}
}

func TestCallerFails(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, plan, words string }{
		{"no plan", "", "read the plan"},
		{"an agent that fails", fmt.Sprintf(`{"ours":%q,"peer":"/bin/true","action":"monitor","environ":["%s=fails"],"n":1}`, self, roleVar), "exit status 7: no such guest"},
		{"no agent", `{"ours":"/nonexistent","peer":"/bin/true","action":"monitor","n":1}`, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, complaint bytes.Buffer
			if code := Caller(strings.NewReader(c.plan), &out, &complaint); code != 1 || out.Len() > 0 ||
				!strings.Contains(complaint.String(), c.words) {
				t.Errorf("code %d, %q, complaint %q", code, out.String(), complaint.String())
			}
		})
	}
}

func TestNames(t *testing.T) {
	want := []string{"OCF_RESOURCE_TYPE=VirtualDomain", "OCF_RESOURCE_PROVIDER=heartbeat"}
	if got := names(peerPath); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSpent(t *testing.T) {
	proc := t.TempDir()
	for name, text := range map[string]string{
		"7/comm": "vmferryd\n", "7/task/7/schedstat": "1500000 5 9\n", "7/task/8/schedstat": "500000 0 1\n",
		"9/comm": "libvirtd\n", "9/task/9/schedstat": "3000000 1 1\n",
		"11/comm": "bash\n", "11/task/11/schedstat": "9000000 1 1\n",
		"self/comm": "vmferryd\n",
	} {
		path := filepath.Join(proc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found, err := find(proc, []string{"vmferryd", "libvirtd"})
	if err != nil || len(found) != 2 {
		t.Fatalf("found %v, %v", found, err)
	}
	if got, err := spent(found); err != nil || got != 5*time.Millisecond {
		t.Errorf("spent %v, %v", got, err)
	}
	if err := os.RemoveAll(filepath.Join(proc, "7")); err != nil {
		t.Fatal(err)
	}
	if _, err := spent(found); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("a daemon that died: %v", err)
	}
}
