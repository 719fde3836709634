package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/guard/evacuate"
	"github.com/vmferry/vmferry/hbplugin/guard/guardd"
)

// What the process that moves the guests ends with tells the guard whether to call it again.
func TestMoveError(t *testing.T) {
	const ends = "GUARD_TEST_ENDS"
	if code, err := strconv.Atoi(os.Getenv(ends)); err == nil {
		os.Exit(code)
	}
	exit := func(code int) error {
		c := exec.Command(os.Args[0], "-test.run=^TestMoveError$")
		c.Env = []string{fmt.Sprintf("%s=%d", ends, code)}
		return c.Run()
	}
	for name, test := range map[string]struct {
		out   string
		err   error
		stuck bool
		want  string
	}{
		"all moved": {"", nil, false, ""},
		"no target": {"level=warning msg=x\nvmferry-guard: guest \"a\": libvirt of node b cannot be reached\n", exit(exitStuck), true,
			`no guest can be moved live: guest "a": libvirt of node b cannot be reached`},
		"a migration failed": {"vmferry-guard: guest \"a\": it is paused\n", exit(exitError), false, "exit status 1"},
		"a crash":            {"panic: x", exit(2), false, "exit status 2"},
	} {
		err := moveError(test.out, test.err)
		if (err == nil) != (test.want == "") || err != nil && !strings.HasPrefix(err.Error(), test.want) ||
			errors.Is(err, guardd.ErrStuck) != test.stuck {
			t.Errorf("%s: %v, want %q, stuck %v", name, err, test.want, test.stuck)
		}
	}
}

func TestErrorOfMoves(t *testing.T) {
	cut := errors.New("libvirt cannot be reached")
	for _, test := range []struct {
		err   error
		stuck bool
	}{
		{nil, false},
		{cut, true},
		{fmt.Errorf("guest: %w", evacuate.ErrFailed), false},
		{errors.Join(cut, fmt.Errorf("guest: %w", evacuate.ErrFailed)), false},
	} {
		err := errorOfMoves(test.err)
		if errors.As(err, new(stuck)) != test.stuck || (err == nil) != (test.err == nil) {
			t.Errorf("%v: %v", test.err, err)
		}
	}
}
