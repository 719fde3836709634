package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// carry runs a plan on the fake cluster and reads the report back.
func carry(t *testing.T, w *fake, r Request) (*Report, []string, error) {
	t.Helper()
	r.Nodes = []string{"node1", "node2"}
	plan, err := Plan(r)
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	var lines []string
	report := &Report{Seed: r.Seed}
	runner := Runner{World: w, Plan: plan, Out: out, Dial: w.dial, Pace: 500 * time.Millisecond,
		Progress: func(line string) { lines = append(lines, line) },
		Replay: func(first, faults int) string {
			return fmt.Sprintf("torture --first %d --faults %d", first, faults)
		},
	}
	err = runner.Run(t.Context(), report)
	text, readErr := os.ReadFile(filepath.Join(out, "report.json"))
	back := new(Report)
	if err := errors.Join(readErr, json.Unmarshal(text, back)); err != nil {
		t.Fatal(err)
	}
	if back.Faults != report.Faults || len(back.Failures) != len(report.Failures) {
		t.Errorf("the file has %d faults and %d failures, want %d and %d", back.Faults, len(back.Failures),
			report.Faults,
			len(report.Failures))
	}
	return back, lines, err
}

// A cluster that keeps its promises has zeros in every column.
func TestRunnerGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report, lines, err := carry(t, newFake(switches{}), Request{Seed: 1, Faults: 60, First: 1, Only: Kinds()})
		if err != nil || len(report.Failures) != 0 {
			t.Fatalf("%v, %+v", err, report.Failures)
		}
		if report.Faults+len(report.Skipped) != 60 || report.Faults < 50 || len(report.ByKind) < 18 ||
			report.Schema != 1 {
			t.Errorf("%+v", report)
		}
		if report.RecoveryS.N < 2 || report.RecoveryS.Max < fakeFailover.Seconds() ||
			report.RecoveryS.P50 > report.RecoveryS.P99 {
			t.Errorf("%+v", report.RecoveryS)
		}
		if len(lines) < 40 || !strings.Contains(lines[0], "guests answer") {
			t.Errorf("%q", lines)
		}
	})
}

// Each thing that must not happen is found by its checker, and by no other.
func TestRunnerFinds(t *testing.T) {
	for _, test := range []struct {
		name string
		switches
		only   []Kind
		counts map[string]int // at least so many, and none of what is not here
	}{
		{"runs twice", switches{runsTwice: true}, []Kind{Crash}, map[string]int{DoubleRun: 1}},
		{"writes twice", switches{writesTwice: true}, []Kind{Crash}, map[string]int{DoubleRun: 1}},
		{"runs twice after a hang", switches{runsTwice: true}, []Kind{Hang}, map[string]int{DoubleRun: 1}},
		{"loses a number", switches{losesNumber: true}, []Kind{Crash}, map[string]int{AckedLost: 1}},
		{"forgets a guest", switches{forgetsGuest: true}, []Kind{Crash}, map[string]int{GuestLost: 1}},
		{"is late", switches{late: true}, []Kind{Crash}, map[string]int{OverBound: 1}},
		{"kills a bystander", switches{killsBystander: true}, []Kind{KillCorosync}, map[string]int{Killed: 3}},
		{"loses a node", switches{losesNode: true}, []Kind{Crash}, map[string]int{NodeLost: 1}},
		{"damages a disk", switches{damages: true}, []Kind{Crash}, map[string]int{DiskDamaged: 1}},
		{"the storage has less", switches{lies: true}, []Kind{Move}, map[string]int{AckedLost: 1}},
		{"nothing", switches{}, []Kind{Crash, Hang}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				report, _, err := carry(t, newFake(test.switches),
					Request{Seed: 7, Faults: 4, First: 1, Only: test.only})
				if err != nil {
					t.Fatal(err)
				}
				got := map[string]int{}
				for _, f := range report.Failures {
					got[f.What]++
					if f.Evidence == "" || !strings.HasPrefix(f.Replay, "torture --first") || f.Guest == "" &&
						f.Node == "" && f.What != NodeLost {
						t.Errorf("%+v", f)
					}
				}
				for what, n := range got {
					if n < test.counts[what] || test.counts[what] == 0 {
						t.Errorf("%s: %d, want %d; %+v", what, n, test.counts[what], report.Failures)
					}
				}
				if len(got) != len(test.counts) || (report.Err() == nil) != (len(test.counts) == 0) {
					t.Errorf("got %v, want %v; %v", got, test.counts, report.Err())
				}
				sum := report.DoubleRuns + report.AckedLost + report.GuestsLost + report.BystandersKilled +
					report.OverBound +
					report.NodesLost + report.DisksDamaged
				if sum != len(report.Failures) {
					t.Errorf("the columns have %d of %d failures", sum, len(report.Failures))
				}
			})
		})
	}
}

func TestRunnerSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report, _, err := carry(t, newFake(switches{cannotStepClock: true}), Request{Seed: 1, Faults: 3, First: 1,
			Only: []Kind{ClockStep}})
		if err != nil || report.Faults != 0 || len(report.Skipped) != 3 || !strings.Contains(report.Skipped[0].Why,
			ErrUnable.Error()) {
			t.Errorf("%v, %+v", err, report)
		}
	})
}

// Of a fault of which a part cannot be carried out, nothing is left.
func TestRunnerSkipsHalves(t *testing.T) {
	for _, way := range []Way{Link, Storage} {
		synctest.Test(t, func(t *testing.T) {
			w := newFake(switches{cannotCut: way})
			report, _, err := carry(t, w, Request{Seed: 1, Faults: 3, First: 1, Only: []Kind{CutLinkStorage}})
			if err != nil || len(report.Skipped) != 3 || len(report.Failures) != 0 {
				t.Errorf("%s: %v, %+v", way, err, report)
			}
		})
	}
}

// A cluster that cannot be mended ends the run, and the report has what was done until then.
func TestRunnerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report, _, err := carry(t, newFake(switches{losesNode: true, breaks: true}),
			Request{Seed: 1, Faults: 9, First: 1,
				Only: []Kind{Crash}})
		if err == nil || !strings.Contains(err.Error(), "cannot be mended") || report.Faults < 1 ||
			report.NodesLost != 1 {
			t.Errorf("%v, %+v", err, report)
		}
	})
}

// A run that is continued has each fault once, and one report.
func TestRunnerContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, w := t.TempDir(), newFake(switches{})
		path := filepath.Join(out, "report.json")
		part := func(ctx context.Context, report *Report, first, last int) error {
			plan, err := Plan(Request{Seed: 1, Faults: last - first + 1, First: first, Only: []Kind{Crash},
				Nodes: []string{"node1", "node2"}})
			if err != nil {
				t.Fatal(err)
			}
			return Runner{World: w, Plan: plan, Out: out, Dial: w.dial, Pace: 500 * time.Millisecond,
				Progress: func(string) {}, Replay: func(int, int) string { return "again" }}.Run(ctx, report)
		}
		// The first lab is interrupted.
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		err := part(ctx, &Report{Commit: "one", Seed: 1, Kinds: []Kind{Crash}, Guests: 2}, 1, 12)
		first, readErr := ReadReport(path)
		if !errors.Is(err, context.DeadlineExceeded) || readErr != nil {
			t.Fatal(err, readErr)
		}
		if first.Next < 2 || first.Next > 12 || first.Faults+len(first.Skipped) != first.Next-1 || first.Planned != 12 {
			t.Fatalf("next %d after %d faults of %d", first.Next, first.Faults, first.Planned)
		}
		if err := first.Continues(1, []Kind{Crash}, 2, 12); err != nil {
			t.Error(err)
		}
		done, recoveries := first.Next, first.RecoveryS.N
		first.Commit = "two"
		if err := part(t.Context(), first, done, 12); err != nil {
			t.Fatal(err)
		}
		r, err := ReadReport(path)
		if err != nil || r.Faults+len(r.Skipped) != 12 || r.ByKind[Crash] != r.Faults || r.Planned != 12 || r.Next != 13 ||
			len(r.Parts) != 2 || r.Parts[0].Commit != "one" || r.Parts[1].Commit != "two" || r.Parts[1].First != done ||
			r.RecoveryS.N <= recoveries || r.RecoveryS.N != len(r.RecoveriesS) || r.TookS < r.Parts[0].TookS {
			t.Errorf("%v, %+v", err, r)
		}
	})
}

// An interrupt in the middle of a fault undoes it.
func TestRunnerInterrupted(t *testing.T) {
	for _, kind := range []Kind{Hang, CutLinkStorage, Flapping, FullDisk} {
		synctest.Test(t, func(t *testing.T) {
			w := newFake(switches{})
			plan, err := Plan(Request{Seed: 3, Faults: 5, First: 1, Only: []Kind{kind},
				Nodes: []string{"node1", "node2"}})
			if err != nil {
				t.Fatal(err)
			}
			plan[0].Rest, plan[0].Lasts, plan[0].Flaps = time.Second, time.Minute, []time.Duration{time.Minute}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			report := new(Report)
			out := t.TempDir()
			err = Runner{World: w, Plan: plan, Out: out, Dial: w.dial, Pace: 500 * time.Millisecond,
				Progress: func(string) {}}.Run(ctx, report)
			if !errors.Is(err, context.DeadlineExceeded) || report.Planned != 5 || report.Faults != 0 {
				t.Errorf("%s: %v, %+v", kind, err, report)
			}
			if _, err := os.Stat(filepath.Join(out, "report.json")); err != nil {
				t.Error(err)
			}
			time.Sleep(fakeFailover + time.Second)
			if err := w.Settled(t.Context()); err != nil || len(w.done) == 0 {
				t.Errorf("%s: %v after %q", kind, err, w.done)
			}
			if kind == FullDisk && !slices.Contains(w.done, "free "+plan[0].Node) {
				t.Errorf("%q", w.done)
			}
		})
	}
}
