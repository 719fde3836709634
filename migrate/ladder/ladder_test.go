package ladder

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRungsAreInOrder(t *testing.T) {
	for i, a := range All() {
		for j, b := range All() {
			if got := a.Compare(b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s compared with %s is %d", a, b, got)
			}
		}
	}
	if !Live.IsLive() || !PostCopy.IsLive() || Save.IsLive() {
		t.Error("which rungs go over a link is wrong")
	}
	for _, r := range All() {
		if got := r.IsPlain(); got != (r == Live) {
			t.Errorf("%s is plain: %t", r, got)
		}
		if got := r.Saves(); got != (r == Save) {
			t.Errorf("%s saves: %t", r, got)
		}
	}
}

// What a spec says in one field must agree with what it says in the others.
func TestSpecsAreComplete(t *testing.T) {
	ends := false
	for _, s := range Specs {
		if s.Name == "" || !strings.HasSuffix(s.Text, ".") {
			t.Errorf("rung %q has the text %q", s.Name, s.Text)
		}
		if s.Live == (s.Takes != nil) || s.Live == (s.Ended != "") {
			t.Errorf("%s: a rung is live, or says how it ends the guest: %+v", s.Name, s)
		}
		if !s.Live && s.techniques() != (Techniques{}) || s.Live && s.Always {
			t.Errorf("%s: of the other kind of rung: %+v", s.Name, s)
		}
		if s.After != "" && (s.After.index() < 0 || s.After.Compare(s.Name) >= 0) {
			t.Errorf("%s comes after %q", s.Name, s.After)
		}
		if ends && s.Live {
			t.Errorf("%s moves a guest that a gentler rung has ended", s.Name)
		}
		ends = !s.Live
		if err := s.Name.Check(); err != nil {
			t.Error(err)
		}
	}
	if s := Rung("prayer").Spec(); s.Name != "" || Rung("prayer").IsLive() || Rung("").IsLive() {
		t.Errorf("a rung that there is not is %+v", s)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want, forStop, err string }{
		{"", "", "shutdown destroy", ""},
		{"live", "live", "live shutdown destroy", ""},
		{"live converge postcopy", "live converge postcopy", "live converge postcopy shutdown destroy", ""},
		{"live save", "live save", "live save shutdown destroy", ""},
		{"shutdown destroy", "shutdown destroy", "shutdown destroy", ""},
		{"live prayer", "", "shutdown destroy",
			`unknown ladder rung "prayer": use [live converge postcopy save shutdown destroy]`},
		{"save live", "", "shutdown destroy", "live after save: name each once"},
		{"live live", "", "shutdown destroy", "live after live"},
		{"converge", "converge", "converge shutdown destroy", "converge without live: add live"},
		{"live destroy", "live destroy", "live shutdown destroy", "destroy without shutdown: add shutdown, or set force_stop"},
	} {
		l, err := Parse(strings.Fields(c.in))
		if got := strings.Trim(fmt.Sprint(l), "[]"); got != c.want {
			t.Errorf("%q is %q, want %q", c.in, got, c.want)
		}
		if got := strings.Trim(fmt.Sprint(l.ForStop()), "[]"); got != c.forStop {
			t.Errorf("a stop of %q tries %q, want %q", c.in, got, c.forStop)
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %v, want %q", c.in, err, c.err)
		}
	}
}

// There is one default: the parameter's is made from it, and adds only what each stop tries.
func TestDefault(t *testing.T) {
	named, err := Parse(strings.Split(Default.Named(), ","))
	if err != nil || Default.Named() != "live,converge" || !slices.Equal(named.ForStop(), Default.ForStop()) {
		t.Errorf("the default is named %q, which is %v for a stop, and not %v: %v", Default.Named(), named.ForStop(),
			Default.ForStop(), err)
	}
	if slices.Contains(Default, Destroy) {
		t.Error("a guest that does not say is destroyed")
	}
}

func TestAsksOfALadder(t *testing.T) {
	for _, c := range []struct {
		in                                       string
		live, ending                             string
		movesLive, saves, throttle, runsAtTarget bool
	}{
		{"live converge shutdown", "live converge", "shutdown", true, false, true, false},
		{"live postcopy save", "live postcopy", "save", true, true, false, true},
		{"live converge postcopy", "live converge postcopy", "", true, false, true, true},
		{"converge destroy", "converge", "destroy", false, false, true, false}, // which helps a rung that is not named
		{"save shutdown destroy", "", "save shutdown destroy", false, true, false, false},
		{"", "", "", false, false, false, false},
	} {
		l, _ := Parse(strings.Fields(c.in))
		if got := strings.Trim(fmt.Sprint(l.Live()), "[]"); got != c.live {
			t.Errorf("%q: live are %q", c.in, got)
		}
		if got := strings.Trim(fmt.Sprint(l.Ending()), "[]"); got != c.ending {
			t.Errorf("%q: those that end the guest are %q", c.in, got)
		}
		if l.MovesLive() != c.movesLive || l.Saves() != c.saves || l.Techniques() != (Techniques{c.throttle, c.runsAtTarget}) {
			t.Errorf("%q: moves live %t, saves %t, %+v", c.in, l.MovesLive(), l.Saves(), l.Techniques())
		}
	}
}

func TestRungOfTechniques(t *testing.T) {
	for _, c := range []struct {
		in   Techniques
		may  Rungs
		want Rung
	}{
		{Techniques{}, Rungs{Live}, Live},
		{Techniques{Throttle: true}, Rungs{Live, Converge}, Converge},
		{Techniques{PostCopy: true}, Rungs{Live, PostCopy}, PostCopy},
		{Techniques{Throttle: true, PostCopy: true}, Rungs{Live, Converge, PostCopy}, PostCopy},
	} {
		if got, rung := c.in.Rungs(), c.in.Rung(); !slices.Equal(got, c.may) || rung != c.want {
			t.Errorf("%+v: may use %v, and is on %q", c.in, got, rung)
		}
	}
}

func TestTimeToEnd(t *testing.T) {
	const never = -1
	for _, c := range []struct {
		rung Rung
		in   Ending
		want time.Duration
	}{
		{Save, Ending{Bytes: 3e9, StoreRate: 1e9}, 3 * time.Second},
		{Save, Ending{Bytes: 3e9}, never},
		{Save, Ending{Bytes: 1e30, StoreRate: 1}, never},
		{Save, Ending{}, never},
		{Shutdown, Ending{Shutdown: 7 * time.Second}, 7 * time.Second},
		{Shutdown, Ending{}, time.Minute},
		{Destroy, Ending{Shutdown: time.Hour}, 17 * time.Second},
	} {
		got, ok := c.rung.Spec().Takes(c.in)
		if !ok {
			got = never
		}
		if got != c.want {
			t.Errorf("%s of %+v takes %v, want %v", c.rung, c.in, got, c.want)
		}
	}
}

func TestAutoConverge(t *testing.T) {
	for pass, want := range map[int]int{1: 0, 2: 0, 3: 20, 4: 20, 5: 30, 19: 99, 1000: 99} {
		if got := autoConverge(pass); got != want {
			t.Errorf("pass %d: %d %%, want %d", pass, got, want)
		}
	}
}
