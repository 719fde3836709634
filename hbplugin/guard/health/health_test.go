package health

import (
	"testing"
	"time"
)

func TestWorse(t *testing.T) {
	for name, test := range map[string]struct {
		f    Facts
		want bool
	}{
		"alone":                                  {Facts{Held: true, Reached: 0}, false},
		"as many":                                {Facts{Held: true, Reached: 2, Others: []Other{{2, true}}}, false},
		"fewer":                                  {Facts{Held: true, Reached: 1, Others: []Other{{2, true}}}, true},
		"fewer than the best of three":           {Facts{Held: true, Reached: 1, Others: []Other{{0, true}, {2, true}}}, true},
		"more":                                   {Facts{Held: true, Reached: 2, Others: []Other{{1, true}}}, false},
		"fewer, and the other cannot write":      {Facts{Held: true, Reached: 1, Others: []Other{{2, false}}}, false},
		"fewer, without a lease":                 {Facts{Reached: 1, Others: []Other{{2, true}}}, false},
		"it cannot write, and the other does":    {Facts{Held: true, Reached: 2, Mute: true, Others: []Other{{2, true}}}, true},
		"neither can write":                      {Facts{Held: true, Reached: 2, Mute: true, Others: []Other{{2, false}}}, false},
		"it cannot write, the other is worse":    {Facts{Held: true, Reached: 2, Mute: true, Others: []Other{{1, true}}}, true},
		"both see no address, and both do write": {Facts{Held: true, Others: []Other{{0, true}}}, false},
	} {
		if got := test.f.Worse(); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Of two members one is never red, whatever each has: it writes, it reads, and it reaches an address. What one knows of the
// other is what it reads, and what the other, if that one reads, says over the link.
func TestOneIsNotWorse(t *testing.T) {
	type member struct{ writes, reads, reaches bool }
	count := func(reaches bool) int {
		if reaches {
			return 1
		}
		return 0
	}
	facts := func(own, other member) Facts {
		return Facts{Held: true, Reached: count(own.reaches), Mute: !own.writes || !own.reads, Others: []Other{{
			Reached: count(other.reaches && other.reads), Writes: other.writes && (own.reads || other.reads)}}}
	}
	for bits := range 1 << 6 {
		on := func(bit int) bool { return bits>>bit&1 == 1 }
		a, b := member{on(0), on(1), on(2)}, member{on(3), on(4), on(5)}
		if facts(a, b).Worse() && facts(b, a).Worse() {
			t.Errorf("both are worse off: %+v, %+v", a, b)
		}
	}
}

func TestNext(t *testing.T) {
	type span struct {
		lasts time.Duration
		worse bool
		want  Color // at its end
	}
	for name, spans := range map[string][]span{
		"well":                      {{time.Hour, false, Green}},
		"a short loss":              {{time.Minute, false, Green}, {7 * time.Second, true, Green}, {time.Minute, false, Green}},
		"a loss":                    {{time.Minute, false, Green}, {9 * time.Second, true, Red}},
		"worse from the beginning":  {{9 * time.Second, true, Red}},
		"flapping":                  {{5 * time.Second, true, Green}, {time.Second, false, Green}, {5 * time.Second, true, Green}},
		"well again":                {{9 * time.Second, true, Red}, {7 * time.Second, false, Red}, {2 * time.Second, false, Yellow}, {time.Minute, false, Green}},
		"worse again while yellow":  {{9 * time.Second, true, Red}, {30 * time.Second, false, Yellow}, {7 * time.Second, true, Yellow}, {2 * time.Second, true, Red}},
		"flapping does not go back": {{9 * time.Second, true, Red}, {7 * time.Second, false, Red}, {time.Second, true, Red}, {7 * time.Second, false, Red}},
	} {
		var j Judge
		now := time.Hour
		for i, s := range spans {
			var got Color
			for end := now + s.lasts; now < end; now += time.Second {
				got = j.Next(s.worse, now)
			}
			if got != s.want {
				t.Errorf("%s, span %d: %s, want %s", name, i, got, s.want)
			}
		}
	}
}
