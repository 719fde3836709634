package mirrord

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func every(target string) time.Duration {
	if target == "vdb" {
		return time.Hour
	}
	return 10 * time.Second
}

// A script of what happens to a guest, second by second, and when its next round is due, and of which disks.
func TestTurn(t *testing.T) {
	start := time.Unix(1e9, 0)
	second := func(n float64) time.Time { return start.Add(time.Duration(n * float64(time.Second))) }
	failed := errors.New("the other node does not answer")
	type round struct {
		at  float64
		err error
	}
	for name, test := range map[string]struct {
		rounds []round
		all    []string
		held   float64
		gone   bool
		want   float64 // second in which the next round is due; before 0 at once, and -1 never
		due    []string
		late   bool // at 22
	}{
		"a new guest":                      {want: 0, due: []string{"vda", "vdb"}, late: true},
		"a whole round":                    {rounds: []round{{1, nil}}, all: []string{"vda", "vdb"}, want: 11, due: []string{"vda"}, late: true},
		"two":                              {rounds: []round{{1, nil}, {11, nil}}, all: []string{"vda", "vdb"}, want: 21, due: []string{"vda"}},
		"a disk that is mirrored rarely":   {rounds: []round{{1, nil}}, all: []string{"vdb"}, want: 3601, due: []string{"vda", "vdb"}},
		"a failure":                        {rounds: []round{{1, nil}, {11, failed}}, all: []string{"vda"}, want: 21, due: []string{"vda", "vdb"}, late: true},
		"two failures":                     {rounds: []round{{1, nil}, {11, failed}, {21, failed}}, all: []string{"vda"}, want: 41, due: []string{"vda", "vdb"}, late: true},
		"many":                             {rounds: slices.Repeat([]round{{11, failed}}, 100), want: 131, due: []string{"vda", "vdb"}, late: true},
		"a failure and a whole round":      {rounds: []round{{1, failed}, {11, failed}, {21, nil}}, all: []string{"vda"}, want: 31, due: []string{"vda", "vdb"}},
		"held":                             {rounds: []round{{1, nil}}, all: []string{"vda", "vdb"}, held: 60, want: 60, due: []string{"vda"}, late: true},
		"held, and not due when that ends": {rounds: []round{{19, nil}}, all: []string{"vda", "vdb"}, held: 20, want: 29, due: []string{"vda"}},
		"gone":                             {rounds: []round{{1, nil}}, all: []string{"vda", "vdb"}, gone: true, want: -1, late: true},
	} {
		turn := turn{every: every, since: start}
		for _, r := range test.rounds {
			if r.err != nil {
				turn.fail(second(r.at))
				continue
			}
			turn.succeed(second(r.at), test.all, test.all)
		}
		turn.gone = test.gone
		if test.held > 0 {
			turn.held = second(test.held)
		}
		at, ok := turn.due()
		if ok != (test.want >= 0) || ok && test.want > 0 && !at.Equal(second(test.want)) || test.want == 0 && at.After(start) {
			t.Errorf("%s: due %t, after %s", name, ok, at.Sub(start))
		}
		var due []string
		for _, target := range []string{"vda", "vdb"} {
			if ok && turn.isDue(target, at) {
				due = append(due, target)
			}
		}
		if test.want == 0 { // long ago
			due = test.due
		}
		if !slices.Equal(due, test.due) {
			t.Errorf("%s: %q are due, want %q", name, due, test.due)
		}
		if _, late := turn.oldest(second(22)); late != test.late {
			t.Errorf("%s: late %t", name, late)
		}
	}
}

// A disk that was not sent is as old as it was, and one that the guest has no more does not count.
func TestTurnOfSomeDisks(t *testing.T) {
	start := time.Unix(1e9, 0)
	turn := turn{every: every, since: start}
	turn.succeed(start, []string{"vda", "vdb", "vdc"}, []string{"vda", "vdb", "vdc"})
	turn.succeed(start.Add(10*time.Second), []string{"vda", "vdb"}, []string{"vda"})
	if at, late := turn.oldest(start.Add(30 * time.Second)); !at.Equal(start) || late {
		t.Errorf("the oldest is of %s, late %t", at, late)
	}
	if at, _ := turn.due(); !at.Equal(start.Add(20 * time.Second)) {
		t.Errorf("due at %s", at)
	}
	turn.succeed(start.Add(20*time.Second), []string{"vdb"}, nil)
	if at, _ := turn.due(); !at.Equal(start.Add(time.Hour)) {
		t.Errorf("due at %s", at)
	}
}
