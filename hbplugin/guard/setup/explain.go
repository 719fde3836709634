package setup

import (
	"fmt"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

// Bound is a longest time with its arithmetic.
type Bound struct {
	Name string
	Time time.Duration
	How  string // a sum of named terms
}

// fenceBound is the place of the least fence timeout in what Explain returns.
const fenceBound = 3

// Explain is the longest times that follow from t and m: until a lease expires, until a node that crashed or hangs and
// one that is cut off are fenced, and the least time that the manager must grant a fence call. The start of the guests,
// of which m says how long it takes, is in the second and the third.
func Explain(t timing.Times, m timing.Manager, watchdog time.Duration, revocable bool) []Bound {
	b, expiry := t.Bounds(m, watchdog, revocable), t.Expiry(watchdog)
	kill := term("kill", t.Kill)
	gone := kill
	if watchdog > t.Kill {
		gone = term("watchdog", watchdog)
	}
	revoke, start := "", ""
	if revocable {
		revoke = sum(term("revoke", t.Revoke), term("poll", t.Poll))
	}
	if m.Start > 0 {
		start = term("start", m.Start)
	}
	agree := fmt.Sprintf("3 x %s + %s", term("poll", t.Poll), term("margin", t.Margin))
	detect := term("detection", m.Detect)
	return []Bound{
		{"lease expiry", expiry, sum(fmt.Sprintf("(%s) x %.5g", sum(term("self-kill", t.SelfKill), gone),
			(1+t.Drift)/(1-t.Drift)), term("poll", t.Poll), term("margin", t.Margin))},
		{"crash or hang", b.Crash, sum(fmt.Sprintf("max(%s, %s)", detect, term("expiry", expiry)), revoke, start)},
		{"split", b.Split, sum(detect, agree, term("move", t.Move), kill, "2 x "+term("poll", t.Poll), revoke,
			start)},
		{"fence timeout", b.FenceTimeout, sum(term("expiry", expiry), agree, term("move", t.Move), kill, revoke,
			term("reserve", timing.Reserve))},
	}
}

func term(name string, d time.Duration) string {
	return fmt.Sprintf("%s %s", name, d.Round(time.Millisecond))
}

// sum joins the terms that are not empty.
func sum(terms ...string) string {
	var all []string
	for _, t := range terms {
		if t != "" {
			all = append(all, t)
		}
	}
	return strings.Join(all, " + ")
}
