package main

import (
	_ "embed"
	"regexp"
	"testing"
)

//go:embed vmferry-guard.service
var unit string

// A Go program that crashes, or that systemd aborts, ends with 2: it must be started again.
func TestUnitRestartsAfterACrash(t *testing.T) {
	prevent := regexp.MustCompile(`(?m)^RestartPreventExitStatus=(.*)$`).FindStringSubmatch(unit)
	if len(prevent) == 0 || prevent[1] != "78" || exitConfig != 78 {
		t.Errorf("the unit is not restarted after the exit status %q; a wrong configuration is %d", prevent, exitConfig)
	}
}

// Where the kernel refuses a real-time priority, a unit that has one does not start: the guard sets its own.
func TestUnitStartsWithoutRealTime(t *testing.T) {
	if policy := regexp.MustCompile(`(?m)^CPUScheduling.*$`).FindString(unit); policy != "" {
		t.Errorf("the unit has %s", policy)
	}
}
