package partition

import (
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/migrate/blackout"
)

// Every cut has a name of its own, and says what has to come of it.
func TestCuts(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cuts {
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
