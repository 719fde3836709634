package styletest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// make test checks the code, fuzzes each target a fixed number of times, and then has the tests. What it would run is
// read; it is not run here.
func TestMakeTest(t *testing.T) {
	maker, err := exec.LookPath("make")
	if err != nil {
		t.Skip("make is not here")
	}
	for target, steps := range map[string][]string{
		"test":     {"staticcheck", ".ci/vulncheck", "go test -race", "lab/fuzz -executions", "TestLab"},
		"test-all": {"staticcheck", ".ci/vulncheck", "go test -race", "lab/fuzz -executions", "TestLab"},
		"lint":     {"gofmt -l", "mandoc -T lint", "go vet", "staticcheck", ".ci/vulncheck"},
		"fuzz":     {"lab/fuzz -for "},
	} {
		cmd := exec.CommandContext(t.Context(), maker, "-n", target)
		cmd.Dir, cmd.Env = root(t), append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("make -n %s: %v\n%s", target, err, out)
		}
		rest := string(out)
		for _, step := range steps {
			_, after, found := strings.Cut(rest, step)
			if !found {
				t.Errorf("make %s lacks %q, or has it too early", target, step)
				continue
			}
			rest = after
		}
	}
}
