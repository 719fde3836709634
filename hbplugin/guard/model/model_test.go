package model

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

var two = flag.Bool("two-faults", false, "check schedules of two faults, by bitstate hashing: some minutes")

// tick is the model's tick: what a kill takes.
var tick = timing.Default.Kill

// ticks are the default times in ticks, each rounded up. Expiry's poll and margin become what is left of one tick: the
// least that the model knows.
func ticks() []string {
	up := func(d time.Duration) int { return int((d + tick - 1) / tick) }
	t := timing.Default
	return []string{fmt.Sprint("-DTK=", up(t.SelfKill)), fmt.Sprint("-DKL=", up(t.Kill)), fmt.Sprint("-DTF=", up(t.Expiry(0)))}
}

// spin checks the model with these definitions, and returns how many errors there are, and states.
func spin(t *testing.T, compile, run []string, definitions ...string) (errors, states int) {
	t.Helper()
	for _, program := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%v: type apt-get install %s", err, program)
			}
			t.Skipf("%v: type apt-get install %s", err, program)
		}
	}
	dir := t.TempDir()
	model, err := os.ReadFile("guard.pml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "guard.pml"), model, 0o600); err != nil {
		t.Fatal(err)
	}
	do := func(name string, args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	do("spin", append(append([]string{"-a"}, definitions...), "guard.pml")...)
	do("gcc", append(append([]string{"-O2", "-DSAFETY"}, compile...), "-o", "pan", "pan.c")...)
	out := do(filepath.Join(dir, "pan"), append([]string{"-m2000000"}, run...)...)
	if regexp.MustCompile(`max search depth too small|out of memory|VECTORSZ`).MatchString(out) {
		t.Fatalf("the search is not complete:\n%s", out)
	}
	return number(t, out, `errors: (\d+)`), number(t, out, `(\d+) states, stored`)
}

func number(t *testing.T, out, pattern string) int {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no %q in\n%s", pattern, out)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// complete are for a search of all states.
var complete = []string{"-DCOLLAPSE", "-DMEMLIM=4000"}

func TestOneFault(t *testing.T) {
	for name, test := range map[string]struct {
		definitions []string
		broken      bool
	}{
		"no revocation, no hang": {[]string{"-DREVOKE=0", "-DNOHANG", "-DDRIFT=0"}, false},
		"revocation, hangs":      {[]string{"-DDRIFT=0"}, false},
		"no revocation, hangs":   {[]string{"-DREVOKE=0", "-DDRIFT=0"}, true},
		"expiry without a read":  {[]string{"-DREVOKE=0", "-DNOHANG", "-DDRIFT=0", "-DREADNOW=0"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			errors, states := spin(t, complete, nil, append(append(ticks(), "-DNF=1"), test.definitions...)...)
			t.Logf("%d states, %d errors", states, errors)
			if (errors > 0) != test.broken {
				t.Errorf("%d errors in %d states", errors, states)
			}
		})
	}
}

// A lease that expires when the kill may just have ended is found unsafe: poll and margin are needed.
func TestExpiryNeedsItsMargin(t *testing.T) {
	t.Parallel()
	short := ticks()
	short[2] = fmt.Sprint("-DTF=", int((timing.Default.SelfKill+timing.Default.Kill)/tick))
	if errors, _ := spin(t, complete, nil, append(short, "-DNF=1", "-DREVOKE=0", "-DNOHANG", "-DDRIFT=0")...); errors == 0 {
		t.Error("an expiry of self-kill and kill alone passes")
	}
}

func TestTwoFaults(t *testing.T) {
	if !*two {
		t.Skip("make model does this")
	}
	for name, test := range map[string]struct {
		definitions []string
		broken      bool
	}{
		"no revocation, no hang": {[]string{"-DREVOKE=0", "-DNOHANG", "-DDRIFT=0"}, false},
		"revocation, hangs":      {[]string{"-DDRIFT=0"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			errors, states := spin(t, []string{"-DBITSTATE"}, []string{"-w30"}, append(append(ticks(), "-DNF=2"),
				test.definitions...)...)
			t.Logf("%d states, %d errors", states, errors)
			if (errors > 0) != test.broken {
				t.Errorf("%d errors in %d states", errors, states)
			}
		})
	}
}
