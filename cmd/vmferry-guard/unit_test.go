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

// With fifo the guard has stopped whole nodes: a thread of the Go runtime that waited for another one without a sleep kept
// it from the processor.
func TestUnitSharesTheProcessor(t *testing.T) {
	policy := regexp.MustCompile(`(?m)^CPUSchedulingPolicy=(.*)$`).FindStringSubmatch(unit)
	if len(policy) == 0 || policy[1] != "rr" {
		t.Errorf("the unit's scheduling policy is %q, want rr", policy)
	}
}
