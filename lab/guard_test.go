package lab_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab/partition"
)

// TestLabGuard runs its parts on a lab of the shape guard: two nodes without a power switch, which vmferry-guard fences.
func TestLabGuard(t *testing.T) {
	newBench(t).walk(t, []string{"--shape", "guard"}, []part{
		{"partition", true, testPartition},
	})
}

// testPartition makes the cuts of the partition matrix; SHARE=all has all of them. Each cut is a test of its own.
func testPartition(t *testing.T, b bench) {
	out := t.TempDir()
	args := []string{"partition", "--keep", "--out", out}
	if shareOf(t) != (share{}) {
		args = append(args, "--only", "short")
	}
	said, code := b.try(t, args...)
	t.Log(said)
	text, err := os.ReadFile(filepath.Join(out, "partition.json"))
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
