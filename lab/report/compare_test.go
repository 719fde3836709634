package report

import (
	"slices"
	"strings"
	"testing"
)

// onHeartbeat is what vmferry did there; nobody else has an agent for it.
func onHeartbeat() Scenario {
	s := crash(Ours, 1, 50, 20)
	s.Manager = "heartbeat"
	s.Guests[0].UDP.BlackoutMS = 30_000
	return s
}

func TestManagersAreNotMixed(t *testing.T) {
	r := sample(1, 50, 20)
	before := r.headline(kind{Crash, "pacemaker"})
	r.Scenarios = append(r.Scenarios, onHeartbeat())
	if got := r.headline(kind{Crash, "pacemaker"}); got != before {
		t.Errorf("what ran on Heartbeat changed Pacemaker's line from %q to %q", before, got)
	}
	if got, want := r.headline(kind{Crash, "heartbeat"}),
		"crash, heartbeat: worst UDP blackout vmferry 30.0 s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	want := []kind{{GracefulShutdown, "pacemaker"}, {Crash, "pacemaker"}, {Crash, "heartbeat"}}
	if got := r.kinds(); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if markup := pageOf(t, r); strings.Count(markup, "<caption>crash, heartbeat</caption>") != 1 {
		t.Error("the page does not compare the runs on Heartbeat apart")
	}
	text := table(t, r)
	checkTable(t, text)
	if strings.Count(text, "\non pacemaker\n") != 1 || strings.Count(text, "\non heartbeat\n") != 1 {
		t.Errorf("the managers are not named once each:\n%s", text)
	}
}
