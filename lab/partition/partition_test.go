package partition

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/migrate/blackout"
)

// Every cut has a name of its own, and says what has to come of it.
func TestCuts(t *testing.T) {
	for _, manager := range []string{cluster.PacemakerName, cluster.HeartbeatName} {
		t.Run(manager, func(t *testing.T) { checkCuts(t, CutsUnder(manager)) })
	}
	if got, want := len(CutsUnder(cluster.HeartbeatName)), len(Cuts)-2; got != want { // three are not made, one is its own
		t.Errorf("%d cuts under Heartbeat, want %d", got, want)
	}
}

func checkCuts(t *testing.T, cuts []Cut) {
	seen := map[string]bool{}
	for _, c := range cuts {
		switch {
		case seen[c.Name]:
			t.Errorf("%q is there twice", c.Name)
		case c.Begin == nil:
			t.Errorf("%q begins nothing", c.Name)
		case c.Loser != None && c.Recover == 0:
			t.Errorf("%q: how long may the recovery take?", c.Name)
		case c.Loser == None && c.Lasts == 0 && c.End == nil:
			t.Errorf("%q is over at once", c.Name)
		}
		seen[c.Name] = true
	}
}

// The lab sets Heartbeat up by the commands of the manual, all of them and in their order.
func TestSetUpIsTheManuals(t *testing.T) {
	text, err := os.ReadFile("../../cmd/vmferry-guard/vmferry-guard.8")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n.Sh SETTING UP TWO NODES WITH HEARTBEAT\n")
	section, _, _ = strings.Cut(section, "\n.Sh ")
	var typed []string
	for block := range strings.SplitSeq(section, "\n.Bd -literal\n") {
		if commands, _, ok := strings.Cut(block, ".Ed\n"); ok {
			typed = append(typed, strings.NewReplacer(`\-`, "-", `\e`, `\`).Replace(commands))
		}
	}
	want := []string{manual.stop, manual.manager, manual.plugin, manual.start, manual.look}
	if !slices.Equal(typed, want) {
		t.Errorf("the manual has\n%q\nand the lab types\n%q", typed, want)
	}
}

func TestLongest(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2024, 5, 1, 12, 0, s, 0, time.UTC) }
	target := &blackout.Target{Outages: []blackout.Outage{
		{Start: at(1), End: at(4), Ms: 3000}, {Start: at(9), End: at(11), Ms: 2000}, {Start: at(30), End: at(50), Ms: 20000},
	}}
	for _, c := range []struct {
		from, to int
		want     time.Duration
	}{{5, 20, 2 * time.Second}, {0, 20, 3 * time.Second}, {10, 20, 2 * time.Second}, {12, 20, 0}, {0, 60, 20 * time.Second}} {
		if got := longest(target, at(c.from), at(c.to)); got != c.want {
			t.Errorf("from %d to %d: %s, want %s", c.from, c.to, got, c.want)
		}
	}
	if got := longest(nil, at(0), at(9)); got != 0 {
		t.Errorf("without a probe: %s", got)
	}
}

func TestSlotsKeepChanges(t *testing.T) {
	var s slots
	begun := time.Now().Add(-time.Second)
	s.take("node2", 1, lease.Slot{Generation: 1, State: lease.Held, Counter: 1})
	s.take("node2", 1, lease.Slot{Generation: 1, State: lease.Held, Counter: 2})
	s.take("node2", 1, lease.Slot{Generation: 1, State: lease.Surrendered, Counter: 3})
	changes := s.since(begun)
	if len(changes) != 2 || changes[1].State != "surrendered" || changes[1].Node != "node2" {
		t.Errorf("%+v", changes)
	}
	if now := s.now(1); now.Counter != 3 || s.now(0).Generation != 0 {
		t.Errorf("%+v", now)
	}
}
