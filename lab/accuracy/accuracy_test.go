package accuracy

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
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

var zero = time.Unix(1000, 0)

func at(ms float64) time.Time { return zero.Add(time.Duration(ms * float64(time.Millisecond))) }

// between is an outage that began and ended between these instants.
func between(kind string, a, b, c, d float64) made {
	return made{kind: kind, begin: [2]time.Time{at(a), at(b)}, end: [2]time.Time{at(c), at(d)}}
}

func TestJudge(t *testing.T) {
	report := &blackout.Report{Faults: []blackout.Fault{{Start: at(310), End: at(320), Ms: 10}}}
	target := &blackout.Target{WorstErrorMs: 7, BelowErrorMs: 3, Outages: []blackout.Outage{
		{Start: at(0), End: at(50), Ms: 50, ErrorMs: 1},
		{Start: at(101), End: at(203), Ms: 102, ErrorMs: 1.5, LostOut: 3, LostBack: 4},
	}}
	trial := func(kind string, true, doubt, reported, allowed float64, out, back uint64) Trial {
		how := ""
		if reported > 0 {
			how = "lost"
		}
		return Trial{
			How:  how,
			Kind: kind, Interval: time.Millisecond, TrueMs: true, DoubtMs: doubt, ReportedMs: reported,
			AllowedMs: allowed,
			LostOut:   out, LostBack: back,
		}
	}
	tests := map[string]struct {
		made  made
		want  Trial
		ratio float64
	}{
		"found":    {between(Out, 100, 100, 200, 200), trial(Out, 100, 0, 102, 2.5, 3, 4), 0.8},
		"in doubt": {between(Out, 100, 102, 200, 204), trial(Out, 101, 3, 102, 5.5, 3, 4), 1 / 5.5},
		"missed":   {between(Stop, 60, 60, 65, 65), trial(Stop, 5, 0, 0, 4, 0, 0), 1.25},
		"our own":  {between(Stop, 312, 312, 317, 317), trial(Stop, 5, 0, 0, 11, 0, 0), 5.0 / 11},
	}
	for name, tt := range tests {
		got := tt.made.judge(report, target, time.Millisecond)
		if got != tt.want || math.Abs(got.Ratio()-tt.ratio) > 1e-9 {
			t.Errorf("%s: %+v, ratio %v; want %+v, %v", name, got, got.Ratio(), tt.want, tt.ratio)
		}
	}
}

func TestCanariesTellDelays(t *testing.T) {
	c := &stallMonitors{stalls: []stall{{at(100), at(120)}, {at(0), at(5)}, {at(300), at(310)}, {at(121), at(124)}}}
	c.sort()
	const reach = 2 * time.Millisecond
	for when, want := range map[float64]time.Duration{50: 0, 6: 5, 122: 20, 123: 3, 309: 10, 313: 0, 299: 0} {
		if got := c.before(at(when), reach); got != want*time.Millisecond {
			t.Errorf("before %v ms: %s, want %d ms", when, got, want)
		}
	}
	for when, want := range map[float64]time.Duration{50: 0, 110: 10, 99: 20, 4: 1, 120.5: 3, 119: 3, 305: 5, 311: 0} {
		if got := c.after(at(when), reach, 1); got != want*time.Millisecond {
			t.Errorf("after %v ms: %s, want %d ms", when, got, want)
		}
	}
	if got := c.after(at(119), reach, 2); got != 4*time.Millisecond {
		t.Errorf("after 119 ms, for one that is woken twice: %s, want 4 ms", got)
	}
	if got := c.within(at(110), at(122)); got != 10*time.Millisecond {
		t.Errorf("between 110 and 122 ms: %s, want 10 ms", got)
	}
}

func TestJoined(t *testing.T) {
	a, b := between(Stop, 0, 1, 10, 11), between(Stop, 12, 13, 30, 31)
	a.length, b.length, b.late = 10*time.Millisecond, 18*time.Millisecond, time.Millisecond
	one := func(made, made) bool { return true }
	two := func(made, made) bool { return false }
	if got := joined([]made{a, b}, one); len(got) != 2 {
		t.Errorf("with a calm between them: %+v", got)
	}
	b.blurred = true
	if got := joined([]made{a, b}, two); len(got) != 2 {
		t.Errorf("two outages that a tool has as two: %+v", got)
	}
	want := between(Stop, 0, 1, 30, 31)
	want.length, want.late = b.length, b.late
	if got := joined([]made{a, b}, one); len(got) != 1 || got[0] != want {
		t.Errorf("%+v, want %+v", got, want)
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
		{Trial{Kind: Link, ReportedMs: 5, LostOut: 5, LostBack: 1}, false},
		{Trial{Kind: Link, ReportedMs: 5, LostOut: 5, LostBack: 2}, true},
		{Trial{Kind: Link, ReportedMs: 5, LostOut: 5, LostBack: 2, DoubtMs: 1}, false},
		{Trial{Kind: Link, ReportedMs: 5, LostBack: 1, TrueMs: 5}, true},
		{Trial{Kind: Stop, ReportedMs: 5, LostOut: 5}, false},
		{Trial{Kind: Stop, ReportedMs: 5}, false},
		{Trial{Kind: Stop, ReportedMs: 5, LostBack: 1}, true},
	} {
		tt.trial.Interval = time.Millisecond
		if got := tt.trial.Wrong(); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.trial, got, tt.want)
		}
	}
}

func TestGapAround(t *testing.T) {
	answers := []time.Time{at(0), at(1), at(2), at(103), at(104)}
	for middle, want := range map[float64]time.Duration{-1: 0, 0.5: 0, 50: 100 * time.Millisecond, 500: 0} {
		if got := gapAround(answers, at(middle), time.Millisecond); got != want {
			t.Errorf("around %v ms: %s, want %s", middle, got, want)
		}
	}
}

func TestClasses(t *testing.T) {
	trial := func(length time.Duration, true, reported float64) Trial {
		return Trial{Length: length, TrueMs: true, ReportedMs: reported, AllowedMs: 2}
	}
	got := classes("blackout", []time.Duration{5 * time.Millisecond, time.Second, time.Hour}, []Trial{
		trial(time.Second, 1000, 1001), trial(5*time.Millisecond, 5, 0), trial(time.Second, 1000, 999.5),
		trial(time.Second, 1000, 1002),
	})
	want := []Class{
		{Name: "5ms", Tool: "blackout", N: 1, P50: 2.5, Max: 2.5, OffP50Ms: 5, OffMaxMs: 5, Missed: 1},
		{Name: "1s", Tool: "blackout", N: 3, P50: 0.5, Max: 1, OffP50Ms: 1, OffMaxMs: 2},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestDoubtful(t *testing.T) {
	trial := func(reported, doubt float64) Trial {
		return Trial{Interval: time.Millisecond, TrueMs: 10, ReportedMs: reported, DoubtMs: doubt, AllowedMs: 2 + doubt}
	}
	got := doubtful([]Trial{trial(11, 0.1), trial(11, 5), trial(14, 5), trial(12.5, 0.9)})
	if !strings.Contains(got, "of 4 outages, 2 are") || !strings.Contains(got, "doubt, 2 would be off") {
		t.Error(got)
	}
}

func TestReadFping(t *testing.T) {
	const text = "[1795251100.80325] 127.0.0.1 : [0], 64 bytes, 0.626 ms (0.626 avg, 0% loss)\n" +
		"[1795251100.80425] 127.0.0.2 : [0], 64 bytes, 0.626 ms (0.626 avg, 0% loss)\n" +
		"[1795251100.81273] 127.0.0.1 : [1], timed out (0.626 avg, 50% loss)\nnonsense\n" +
		"[1795251100.82282] 127.0.0.1 : [2], 64 bytes, 0.020 ms (0.323 avg, 33% loss)\n"
	all := readFping([]byte(text))
	got := all["127.0.0.1"]
	if len(all) != 2 || len(got) != 2 || got[1].Sub(got[0]).Round(10*time.Microsecond) != 19570*time.Microsecond {
		t.Errorf("%v", all)
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

func TestReadSockperf(t *testing.T) {
	const text = "sockperf: Test ended\nsockperf: [Total Run] RunTime=3.086 sec; Warm up time=400 msec; SentMessages=2588; ReceivedMessages=2538\n"
	if sent, answered, err := readSockperf([]byte(text)); err != nil || sent != 2588 || answered != 2538 {
		t.Errorf("%d, %d, %v", sent, answered, err)
	}
	if _, _, err := readSockperf([]byte("sockperf: no server")); err == nil {
		t.Error("totals where there are none")
	}
}

// Random datagrams are of all kinds: nothing, too short, and nearly probes.
func TestGarbage(t *testing.T) {
	probe, buf := make([]byte, wire.PacketSize), make([]byte, malformedSize)
	short, near := 0, 0
	for range 10000 {
		switch got := malformedInput(buf, probe); {
		case len(got) < wire.PacketSize:
			short++
		case len(got) == wire.PacketSize:
			near++
		}
	}
	if short == 0 || near == 0 {
		t.Errorf("%d are shorter than a probe, %d as long", short, near)
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
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../cmd/blackout")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// try proves something small, and skips where it cannot be proven.
func try(t *testing.T, name string, o Options) []Result {
	t.Helper()
	results, err := Run(t.Context(), name, o)
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		for _, note := range r.Notes {
			t.Logf("%s: %s", r.Name, note)
		}
	}
	return results
}

// few are enough to see that outages are made, found and judged; the benchmark
// makes many.
var few = []time.Duration{40 * time.Millisecond, 100 * time.Millisecond, time.Second}

func TestAccuracy(t *testing.T) {
	for _, r := range try(t, AccuracyUDP, Options{Program: program(t), Lengths: few, Repeat: 1}) {
		trials := len(few) * len(Kinds)
		if r.Name == AccuracyTCP {
			trials = len(few)
		}
		// fewer where they ran together
		if len(r.Trials) == 0 || len(r.Trials) > trials || len(r.Ours) != len(r.Trials) {
			t.Errorf("%s: %d outages, %d values; want %d", r.Name, len(r.Trials), len(r.Ours), trials)
		}
		found := 0
		for _, one := range r.Trials {
			if one.ReportedMs > 0 {
				found++
			}
			if one.Ratio() > 1 || one.Wrong() {
				t.Errorf("%s: %+v is off by %.2f of what is allowed", r.Name, one, one.Ratio())
			}
		}
		if found == 0 {
			t.Errorf("%s: none of %d outages is found", r.Name, trials)
		}
	}
}

func TestCost(t *testing.T) {
	o := Options{Program: program(t), For: 300 * time.Millisecond, Repeat: 1, Malformed: 20000}
	for _, name := range []string{ProbeCost, ProbeRate, ProbeMany, ReflectorMalformed} {
		r := try(t, name, o)[0]
		if len(r.Ours) != 1 || math.IsNaN(r.Ours[0]) || (name == ProbeCost || name == ProbeMany) && r.Ours[0] <= 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

var (
	all     = flag.Bool("all", false, "print all outages, and not only those that are off, for -prove")
	prove   = flag.String("prove", "", "prove this alone")
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
	for _, r := range try(t, *prove, o) {
		show(t, r)
	}
}

// show prints a result, and those of its trials that are off.
func show(t *testing.T, r Result) {
	for _, one := range r.Trials {
		if *all || one.Ratio() > 1 || one.Wrong() {
			t.Logf("%-5s %-5s true %9.3f ± %6.3f reported %9.3f allowed %7.3f ratio %.3f out %d back %d wrong %v, %s",
				one.Kind, one.Length, one.TrueMs, one.DoubtMs, one.ReportedMs, one.AllowedMs, one.Ratio(), one.LostOut,
				one.LostBack, one.Wrong(), one.How)
		}
	}
	for _, c := range r.Classes {
		t.Logf("%s %-10s %-9s n %4d median %8.3f largest %8.3f %s; off by %.3f and %.3f ms; %d missed",
			r.Name, c.Name, c.Tool, c.N, c.P50, c.Max, r.Unit, c.OffP50Ms, c.OffMaxMs, c.Missed)
	}
	for _, side := range []struct {
		name   string
		values []float64
	}{{"blackout", r.Ours}, {r.PeerName, r.Peer}} {
		if len(side.values) > 0 {
			c := newClass("", side.name, side.values)
			t.Logf("%s %s: n %d, median %.3f, largest %.3f %s", r.Name, side.name, c.N, c.P50, c.Max, r.Unit)
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
	if err == nil || time.Since(begun) > patience {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}
