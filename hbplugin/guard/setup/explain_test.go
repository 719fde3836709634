package setup

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

var (
	inParentheses = regexp.MustCompile(`^(max)?\(([^)]*)\)( x ([0-9.]+))?( \+ |$)`)
	oneTerm       = regexp.MustCompile(`^(([0-9]+) x )?[a-z-]+ ([0-9.a-z]+)`)
)

// worth computes what Explain prints.
func worth(t *testing.T, how string) (total time.Duration) {
	t.Helper()
	if m := inParentheses.FindStringSubmatch(how); m != nil {
		how = how[len(m[0]):]
		var inner, most time.Duration
		for _, text := range regexp.MustCompile(` \+ |, `).Split(m[2], -1) {
			d := worth(t, text)
			inner, most = inner+d, max(most, d)
		}
		total = inner
		if m[1] == "max" {
			total = most
		}
		if m[4] != "" {
			factor, err := strconv.ParseFloat(m[4], 64)
			if err != nil {
				t.Fatal(err)
			}
			total = time.Duration(float64(total) * factor)
		}
	}
	for _, text := range strings.Split(how, " + ") {
		if text == "" {
			continue
		}
		m := oneTerm.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("%q is no term", text)
		}
		d, err := time.ParseDuration(m[3])
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if m[2] != "" {
			n, _ := strconv.Atoi(m[2])
			d *= time.Duration(n)
		}
		total += d
	}
	return total
}

// The arithmetic that is printed comes to the bound that is printed.
func TestExplain(t *testing.T) {
	odd := timing.Times{Renew: 250 * time.Millisecond, SelfKill: 1700 * time.Millisecond, Kill: 900 * time.Millisecond,
		Poll: 70 * time.Millisecond, Margin: 230 * time.Millisecond, Move: 7 * time.Second, Revoke: 3 * time.Second, Drift: 0.01}
	for _, times := range []timing.Times{timing.Default, odd} {
		for _, m := range []timing.Manager{timing.Pacemaker(time.Second, 0, 0), timing.Heartbeat(30*time.Second, 2*time.Second)} {
			for _, watchdog := range []time.Duration{0, 10 * time.Second} {
				for _, revocable := range []bool{false, true} {
					name := fmt.Sprint(times, m, watchdog, revocable)
					all, b := Explain(times, m, watchdog, revocable), times.Bounds(m, watchdog, revocable)
					for i, want := range []time.Duration{times.Expiry(watchdog), b.Crash, b.Split, b.FenceTimeout} {
						if diff := worth(t, all[i].How) - want; all[i].Time != want || diff.Abs() > 2*time.Millisecond {
							t.Errorf("%s: %s is %s = %s, want %s", name, all[i].Name, all[i].Time, all[i].How, want)
						}
					}
				}
			}
		}
	}
}
