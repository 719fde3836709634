package lab_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/partition"
	"github.com/vmferry/vmferry/lab/report"
)

// TestLabGuard runs its parts on a lab of the shape guard: two nodes without a power switch, which vmferry-guard fences.
func TestLabGuard(t *testing.T) {
	parts := []part{{"partition", true, func(t *testing.T, b bench) { testPartition(t, b, cluster.PacemakerName) }}}
	if shareOf(t) == (share{}) { // the short share of the cuts has what the demo shows
		parts = append(parts, part{"guard demo", true, testGuardDemo},
			part{"partition under Heartbeat", true,
				func(t *testing.T, b bench) { testPartition(t, b, cluster.HeartbeatName) }})
	}
	newBench(t).walk(t, []string{"--shape", "guard"}, parts)
}

// testGuardDemo is what make demo shows of two nodes without a power switch: it must hold, and the page must say who
// decided what.
func testGuardDemo(t *testing.T, b bench) {
	scenes := b.demoNamed(t, "guard")
	if len(scenes) != 2 {
		t.Fatalf("%d scenarios ran, want 2", len(scenes))
	}
	said := map[string][]string{
		report.SplitBrain: {"membership without the other node", "claims the guests of", "its claim wins", "lease is surrendered",
			"is fenced: ", "the link is healed", "lease is held"},
		report.Hang: {"membership without the other node", "is fenced: ", "Pacemaker calls start", "wakes up", "the woken copy of"},
	}
	for _, s := range scenes {
		checkScenario(t, s)
		if s.MaxRunningCopies > 1 {
			t.Errorf("%s: %d copies ran at once", s.Name, s.MaxRunningCopies)
		}
		for _, want := range said[s.Name] {
			if !slices.ContainsFunc(s.Events, func(e report.Event) bool { return strings.Contains(e.What, want) }) {
				t.Errorf("%s: no event %q among %v", s.Name, want, s.Events)
			}
		}
	}
}

// testPartition makes the cuts of the partition matrix under a cluster manager; SHARE=all has all of them. Each cut is a test of its own.
func testPartition(t *testing.T, b bench, manager string) {
	out := t.TempDir()
	args := []string{"partition", "--keep", "--out", out, "--manager", manager}
	if shareOf(t) != (share{}) {
		args = append(args, "--only", "short")
	}
	said, code := b.try(t, args...)
	t.Log(said)
	files, err := filepath.Glob(filepath.Join(out, "partition*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the results are in %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var results []partition.Result
	if err := json.Unmarshal(text, &results); err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		t.Run(r.Cut, func(t *testing.T) {
			if len(r.Failures) > 0 {
				t.Errorf("expected: %s; seen: %s", r.Expected, strings.Join(r.Failures, "; "))
			}
		})
	}
	if code != 0 && !t.Failed() {
		t.Errorf("vmferry-lab partition: exit code %d", code)
	}
}
