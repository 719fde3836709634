package main

import (
	_ "embed"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"
)

//go:embed blackout.service
var unit string

// The unit is not started again after the exit status of a wrong command line. A crash must not end with that.
func TestUnitRestartsAfterACrash(t *testing.T) {
	const crashes = "BLACKOUT_TEST_CRASHES"
	if os.Getenv(crashes) != "" {
		if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
			t.Error(err)
		}
		go panic("as a bug does")
		select {}
	}
	prevent := regexp.MustCompile(`(?m)^RestartPreventExitStatus=(.*)$`).FindStringSubmatch(unit)
	if len(prevent) == 0 || prevent[1] != "2" || exitUsage != 2 {
		t.Fatalf("the unit is not restarted after the exit status %q; a wrong command line is %d", prevent, exitUsage)
	}
	c := exec.Command(os.Args[0], "-test.run=^TestUnitRestartsAfterACrash$")
	for _, variable := range regexp.MustCompile(`(?m)^Environment=(.*)$`).FindAllStringSubmatch(unit, -1) {
		c.Env = append(c.Env, variable[1])
	}
	c.Env = append(c.Env, crashes+"=1")
	var exit *exec.ExitError
	if err := c.Run(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGABRT {
		t.Errorf("a crash ends with %v: the unit is not started again after exit status %s", err, prevent[1])
	}
}
