package main

import (
	_ "embed"
	"regexp"
	"testing"
)

//go:embed vmferry-guard.service
var unit string

// With fifo the guard has stopped whole nodes: a thread of the Go runtime that waited for another one without a sleep kept
// it from the processor.
func TestUnitSharesTheProcessor(t *testing.T) {
	policy := regexp.MustCompile(`(?m)^CPUSchedulingPolicy=(.*)$`).FindStringSubmatch(unit)
	if len(policy) == 0 || policy[1] != "rr" {
		t.Errorf("the unit's scheduling policy is %q, want rr", policy)
	}
}
