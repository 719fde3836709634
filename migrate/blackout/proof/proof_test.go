package proof

import (
	"context"
	"errors"
	"flag"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout"
)

var zero = time.Unix(1000, 0)

func at(ms float64) time.Time { return zero.Add(time.Duration(ms * float64(time.Millisecond))) }

// between is an outage that began and ended between these instants.
func between(kind string, a, b, c, d float64) made {
	return made{kind: kind, begin: [2]time.Time{at(a), at(b)}, end: [2]time.Time{at(c), at(d)}}
}

func TestJudge(t *testing.T) {
	target := &blackout.Target{WorstErrorMs: 7, Outages: []blackout.Outage{
		{Start: at(0), End: at(50), Ms: 50, ErrorMs: 1},
		{Start: at(101), End: at(203), Ms: 102, ErrorMs: 1.5, LostOut: 3, LostBack: 4},
	}}
	tests := map[string]struct {
		made  made
		want  Trial
		ratio float64
	}{
		"found":    {between(Out, 100, 100, 200, 200), Trial{Out, 100, 0, 102, 2.5, 3, 4}, 0.8},
		"in doubt": {between(Out, 100, 102, 200, 204), Trial{Out, 101, 3, 102, 5.5, 3, 4}, 1 / 5.5},
		"missed":   {between(Stop, 60, 60, 65, 65), Trial{Stop, 5, 0, 0, 8, 0, 0}, 0.625},
	}
	for name, tt := range tests {
		got := tt.made.judge(target, time.Millisecond, time.Millisecond)
		if got != tt.want || math.Abs(got.Ratio()-tt.ratio) > 1e-9 {
			t.Errorf("%s: %+v, ratio %v; want %+v, %v", name, got, got.Ratio(), tt.want, tt.ratio)
		}
	}
}

func TestCanariesTellDelays(t *testing.T) {
	c := &canaries{stalls: []stall{{at(0), at(5)}, {at(100), at(120)}, {at(121), at(124)}, {at(300), at(310)}}}
	for when, want := range map[float64]time.Duration{50: 0, 6: 5, 122: 23, 309: 10, 313: 0} {
		if got := c.around(at(when)); got != want*time.Millisecond {
			t.Errorf("around %v ms: %s, want %d ms", when, got, want)
		}
	}
	for when, want := range map[float64]time.Duration{50: 0, 110: 13, 99: 23, 4: 1, 120.5: 3, 305: 5, 311: 0} {
		if got := c.after(at(when)); got != want*time.Millisecond {
			t.Errorf("at %v ms: %s, want %d ms", when, got, want)
		}
	}
}

func TestWrong(t *testing.T) {
	for _, tt := range []struct {
		trial Trial
		want  bool
	}{
		{Trial{Kind: Out, ReportedMs: 5, LostOut: 5}, false},
		{Trial{Kind: Out, ReportedMs: 5, LostOut: 5, LostBack: 1}, true},
		{Trial{Kind: Out, ReportedMs: 5, TrueMs: 5, DoubtMs: 2}, true},
		{Trial{Kind: Out, ReportedMs: 5, TrueMs: 5, DoubtMs: 3}, false},
		{Trial{Kind: Back, ReportedMs: 5, TrueMs: 5, DoubtMs: 3, LostOut: 1}, true},
		{Trial{Kind: Back, ReportedMs: 5, LostBack: 5}, false},
		{Trial{Kind: Back, ReportedMs: 5, LostOut: 5}, true},
		{Trial{Kind: Back}, false},
		{Trial{Kind: Stop, ReportedMs: 5, LostOut: 5}, false},
	} {
		if got := tt.trial.Wrong(); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.trial, got, tt.want)
		}
	}
}

func TestLongestGap(t *testing.T) {
	answers := []time.Time{at(0), at(1), at(2), at(103), at(104)}
	for middle, want := range map[float64]time.Duration{0.5: 0, 50: 100 * time.Millisecond, 500: 0} {
		if got := longestGap(answers, at(middle), time.Millisecond); got != want {
			t.Errorf("around %v ms: %s, want %s", middle, got, want)
		}
	}
}

func TestReadFping(t *testing.T) {
	const text = "[1795251100.80325] 127.0.0.1 : [0], 64 bytes, 0.626 ms (0.626 avg, 0% loss)\n" +
		"[1795251100.81273] 127.0.0.1 : [1], timed out (0.626 avg, 50% loss)\nnonsense\n" +
		"[1795251100.82282] 127.0.0.1 : [2], 64 bytes, 0.020 ms (0.323 avg, 33% loss)\n"
	got := readFping([]byte(text))
	if len(got) != 2 || got[1].Sub(got[0]).Round(10*time.Microsecond) != 19570*time.Microsecond {
		t.Errorf("%v", got)
	}
}

func TestReadIRTT(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.json")
	const text = `{"round_trips":[{"lost":"false","timestamps":{"client":{"receive":{"wall":2000000}}}},
		{"lost":"true","timestamps":{"client":{"receive":{"wall":0}}}},{"lost":"false","timestamps":{"client":{"receive":{"wall":1000000}}}}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readIRTT(path); err != nil || len(got) != 2 || got[1].Sub(got[0]) != time.Millisecond {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := readIRTT(path + "x"); err == nil {
		t.Error("a file that is not there is read")
	}
}

func TestRunRefuses(t *testing.T) {
	if _, err := Run(t.Context(), "speed", Options{}); err == nil || !strings.Contains(err.Error(), `"speed"`) {
		t.Errorf("an unknown name: %v", err)
	}
}

// program builds blackout(1).
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "blackout")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../../cmd/blackout")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// run proves something small, and skips where it cannot be proven.
func run(t *testing.T, name string, o Options) Result {
	t.Helper()
	r, err := Run(t.Context(), name, o)
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range r.Notes {
		t.Log(note)
	}
	return r
}

// few are enough to see that outages are made, found and judged; the benchmark
// makes many.
var few = []time.Duration{40 * time.Millisecond, 100 * time.Millisecond}

func TestAccuracy(t *testing.T) {
	o := Options{Program: program(t), Lengths: few, Repeat: 1}
	for name, trials := range map[string]int{AccuracyUDP: 6, AccuracyTCP: 2, AccuracyDirection: 4} {
		r := run(t, name, o)
		if len(r.Trials) != trials || len(r.Ours) == 0 {
			t.Errorf("%s: %d outages, %d values; want %d", name, len(r.Trials), len(r.Ours), trials)
		}
		found := 0
		for _, one := range r.Trials {
			if one.ReportedMs > 0 {
				found++
			}
			if one.Ratio() > 1 || one.Wrong() {
				t.Errorf("%s: %+v is off by %.2f of what is allowed", name, one, one.Ratio())
			}
		}
		if found == 0 {
			t.Errorf("%s: none of %d outages is found", name, trials)
		}
	}
}

func TestCost(t *testing.T) {
	o := Options{Program: program(t), For: 300 * time.Millisecond, Repeat: 1}
	for _, name := range []string{ProbeCost, ProbeRate} {
		r := run(t, name, o)
		if len(r.Ours) != 1 || math.IsNaN(r.Ours[0]) || name == ProbeCost && r.Ours[0] <= 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

var (
	prove   = flag.String("prove", "", "prove this alone, and print every outage")
	repeat  = flag.Int("repeat", 0, "outages of each length and kind, or runs, for -prove")
	lengths = flag.String("lengths", "", "their lengths for -prove, such as 5ms,100ms")
)

// TestProve is for people: go test -run TestProve -prove accuracy-udp -v
func TestProve(t *testing.T) {
	if *prove == "" {
		t.Skip("-prove is not given")
	}
	o := Options{Program: program(t), Repeat: *repeat}
	for text := range strings.SplitSeq(*lengths, ",") {
		if length, err := time.ParseDuration(text); err == nil {
			o.Lengths = append(o.Lengths, length)
		}
	}
	r := run(t, *prove, o)
	for _, one := range r.Trials {
		t.Logf("%-5s true %9.3f ± %6.3f reported %9.3f allowed %7.3f ratio %.3f out %d back %d wrong %v",
			one.Kind, one.TrueMs, one.DoubtMs, one.ReportedMs, one.AllowedMs, one.Ratio(), one.LostOut, one.LostBack, one.Wrong())
	}
	for side, values := range map[string][]float64{"blackout": r.Ours, r.PeerName: r.Peer} {
		if len(values) > 0 {
			slices.Sort(values)
			t.Logf("%s %s: n %d, median %.3f, largest %.3f %s", r.Name, side, len(values), values[len(values)/2], values[len(values)-1], r.Unit)
		}
	}
}

func TestRunIsCancelled(t *testing.T) {
	path := program(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := Run(ctx, AccuracyTCP, Options{Program: path, Lengths: []time.Duration{time.Hour}})
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err == nil || time.Since(begun) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}
