package lab_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmferry/vmferry/lab/torture"
)

// TestLabTorture breaks a cluster without a power switch 20 times, always in the same ways. `make torture` does it 1000
// times.
func TestLabTorture(t *testing.T) {
	b := newBench(t)
	before := b.footprint(t)
	// Beside the programs: the nodes' logs of a failure must outlive the test.
	out := filepath.Join(filepath.Dir(filepath.Dir(b.program)), "torture-test")
	text, code := b.try(t, "torture", "--faults", "20", "--seed", "1", "--out", out)
	t.Log(text)
	if code != 0 {
		t.Errorf("exit code %d; the nodes' logs are in %s", code, out)
	}
	compareFootprints(t, before, b.footprint(t))
	var report torture.Report
	found, err := os.ReadFile(filepath.Join(out, "report.json"))
	if err == nil {
		err = json.Unmarshal(found, &report)
	}
	if err != nil {
		t.Fatal(err)
	}
	if report.Faults+len(report.Skipped) != 20 || report.Faults < 15 || len(report.Failures) != 0 {
		t.Errorf("%d faults, skipped %+v, failures %+v", report.Faults, report.Skipped, report.Failures)
	}
}
