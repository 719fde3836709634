package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/lab/styletest"
)

func TestPlan(t *testing.T) {
	a, b, other := styletest.FuzzTarget{Dir: "m", Name: "FuzzA"}, styletest.FuzzTarget{Dir: "m", Name: "FuzzB"},
		styletest.FuzzTarget{Dir: "l", Name: "FuzzA"}
	for _, tt := range []struct {
		name, only string
		want       string
	}{
		{"all", "", "l: FuzzA; m: FuzzA FuzzB; "},
		{"one package", "^m ", "m: FuzzA FuzzB; "},
		{"one name", "FuzzA$", "l: FuzzA; m: FuzzA; "},
		{"none", "x", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got strings.Builder
			for _, b := range plan([]styletest.FuzzTarget{a, other, b}, regexp.MustCompile(tt.only)) {
				got.WriteString(b.dir + ":")
				for _, t := range b.targets {
					got.WriteString(" " + t.Name)
				}
				got.WriteString("; ")
			}
			if got.String() != tt.want {
				t.Errorf("got %q, want %q", got.String(), tt.want)
			}
		})
	}
}

// What test binaries of Go 1.26 print.
const (
	began = "fuzz: elapsed: 0s, gathering baseline coverage: 0/2 completed\n" +
		"fuzz: elapsed: 0s, gathering baseline coverage: 2/2 completed, now fuzzing with 2 workers\n"
	ended      = "fuzz: elapsed: 0s, execs: 5000 (22767/sec), new interesting: 97 (total: 99)\nPASS\n"
	onlyCorpus = "fuzz: elapsed: 0s, gathering baseline coverage: 0/9 completed\n" +
		"fuzz: elapsed: 1s, gathering baseline coverage: 9/9 completed, now fuzzing with 2 workers\n" +
		"fuzz: elapsed: 1s, execs: 9 (9/sec), new interesting: 0 (total: 9)\nPASS\n"
	minimizing = "fuzz: elapsed: 0s, gathering baseline coverage: 2/2 completed, now fuzzing with 2 workers\n" +
		"fuzz: elapsed: 3s, execs: 40 (13/sec), new interesting: 1 (total: 3)\n" +
		"fuzz: elapsed: 60s, execs: 41 (0/sec), new interesting: 1 (total: 3)\nPASS\n"
	notInstrumented = "fuzz: elapsed: 0s, testing seed corpus: 0/1 completed\n" +
		"fuzz: elapsed: 0s, testing seed corpus: 1/1 completed, now fuzzing with 2 workers\n" +
		"fuzz: elapsed: 0s, execs: 5000 (22767/sec)\nPASS\n"
)

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name, printed string
		want          int
		outcome       outcome
		err           string
	}{
		{"bounded", began + ended, 5000, outcome{executions: 5000, seeds: 2, interesting: 97}, ""},
		{"timed", began + ended, 0, outcome{executions: 5000, seeds: 2, interesting: 97}, ""},
		{"not instrumented", notInstrumented, 5000, outcome{executions: 5000, seeds: 1, interesting: 0}, ""},
		{"a corpus as large as the bound", onlyCorpus, 9, outcome{executions: 9, seeds: 9, interesting: 0},
			"its corpus of 9 inputs took all 9 executions"},
		{"a timed run that minimizes", minimizing, 0, outcome{executions: 41, seeds: 2, interesting: 1}, ""},
		{"a bounded run that stops early", minimizing, 5000, outcome{executions: 41, seeds: 2, interesting: 1},
			"stopped after 41 of 5000"},
		{"no such target", "testing: warning: no fuzz tests to fuzz\nPASS\n", 5000, outcome{}, "did not fuzz"},
		{"no count", began + "PASS\n", 5000, outcome{}, "did not fuzz"},
		{"no execution", began + "fuzz: elapsed: 0s, execs: 0 (0/sec)\nPASS\n", 0,
			outcome{executions: 0, seeds: 2, interesting: 0}, "took all 0"},
		{"nothing", "", 1, outcome{}, "did not fuzz"},
		{"skipped", "=== RUN   FuzzP\n    p_test.go:6: xmllint is not here\n--- SKIP: FuzzP (0.00s)\nPASS\n", 5000,
			outcome{skipped: "xmllint is not here"}, ""},
		{"skipped without a word", "=== RUN   FuzzP\n--- SKIP: FuzzP (0.00s)\nPASS\n", 5000,
			outcome{skipped: "it does not say why"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := judge(tt.printed, tt.want)
			if o != tt.outcome || (err == nil) != (tt.err == "") || err != nil &&
				!strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %+v, %v; want %+v, %q", o, err, tt.outcome, tt.err)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{
		{}, {"-executions", "1", "-for", "1s"}, {"-executions", "-1", "-for", "1s"}, {"-executions", "1", "-only", "("},
		{"-executions", "1", "-only", "no such target"},
	} {
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

// module makes a module with one fuzz target, with statements before it begins and for each input, and makes it the
// current directory.
func module(t *testing.T, before, each string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.org/m\n\ngo 1.26\n",
		"p/p_test.go": "package p\n\nimport \"testing\"\n\nfunc FuzzP(f *testing.F) {\n" + before +
			"\nf.Fuzz(func(t *testing.T, b []byte) {\n" + each + "\n})\n}\n",
		"p/testdata/fuzz/FuzzP/word": "go test fuzz v1\n[]byte(\"abc\")\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// These use the real go command on a module of one target.
func TestRuns(t *testing.T) {
	const broken = "t.Error(\"broken\")"
	for _, tt := range []struct {
		name, before, each string
		// patience is short only for the target that never ends.
		patience time.Duration
		strict   bool
		said     string
		err      string
	}{
		{"sound", "", "_ = len(b)", time.Minute, false, "300 executions of which 1 seeds", ""},
		{"fails", "", "if len(b) != 3 { " + broken + " }", time.Minute, false, "1 failed", "testdata/fuzz/FuzzP/"},
		{"fails on its corpus", "", "if string(b) == \"abc\" { " + broken + " }", time.Minute, false,
			"1 failed", "FuzzP in p: exit status 1"},
		{"never ends", "", "select {}", time.Second, false, "1 failed", "did not end within 1s"},
		{"does not build", "return 1", "", time.Minute, false, "1 failed", "build the tests of p"},
		{"is skipped", "f.Skip(\"no program\")", "", time.Minute, false, "1 skipped, 0 failed", ""},
		{"is skipped where all must run", "f.Skip(\"no program\")", "", time.Minute, true,
			"0 skipped, 1 failed", "skipped: no program"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			module(t, tt.before, tt.each)
			var out bytes.Buffer
			r := runner{gocmd: "go", executions: 300, patience: tt.patience, strict: tt.strict, out: &out}
			err := r.all(t.Context(), []batch{{"p", []styletest.FuzzTarget{{Dir: "p", Name: "FuzzP"}}}})
			if !strings.Contains(out.String(), tt.said) || (err == nil) != (tt.err == "") ||
				err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("printed %q, want %q; error %v, want %q", out.String(), tt.said, err, tt.err)
			}
			if left, _ := filepath.Glob(work + "/*"); len(left) > 0 {
				t.Errorf("%q is left", left)
			}
		})
	}
}

// A long run keeps what it found interesting, below build, and starts with it the next time.
func TestLongRunKeepsItsCorpus(t *testing.T) {
	module(t, "", "if len(b) > 4 && b[0] == 'a' { _ = b[1:2] }")
	r := runner{gocmd: "go", limit: 2 * time.Second, patience: time.Minute, out: &bytes.Buffer{}}
	if err := r.all(t.Context(), []batch{{"p", []styletest.FuzzTarget{{Dir: "p", Name: "FuzzP"}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(work + "/corpus/p/FuzzP"); errors.Is(err, os.ErrNotExist) {
		t.Error("the corpus was not kept")
	}
}
