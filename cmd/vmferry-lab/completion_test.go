package main

import (
	"strings"
	"testing"
)

// The completion has every command that the help has, and the flags of each.
func TestCompletion(t *testing.T) {
	text := bashCompletion()
	for _, want := range []string{"up demo bench partition torture shell status down version help", "up:--shape", "--scenario", "--only",
		"flags=\"--json\""} {
		if !strings.Contains(text, want) {
			t.Errorf("the completion lacks %q", want)
		}
	}
	if listed != nil {
		t.Error("the commands stay without effect")
	}
}
