package proof

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout"
)

// The kinds of outages.
const (
	Out  = "out"
	Back = "back"
	Stop = "stop"
)

// Trial is one outage that was made, and what the probe told of it. All lengths
// are milliseconds.
type Trial struct {
	Kind string
	// True is the length, DoubtMs how far it may be off either way.
	TrueMs, DoubtMs float64
	// ReportedMs is 0 when the probe did not list it; AllowedMs is one interval,
	// the error that the probe states, and the doubt.
	ReportedMs, AllowedMs float64
	LostOut, LostBack     uint64
}

// Ratio is |reported − true| over what is allowed: up to 1 is good.
func (t Trial) Ratio() float64 { return math.Abs(t.ReportedMs-t.TrueMs) / t.AllowedMs }

// Wrong tells that the probe put losses onto the wrong way, or none onto the
// right one. An outage that it did not list is not judged: its length is. Nor is
// one without losses whose doubt is above half of its length: where the machine
// stood, packets may have waited before the filter and not been lost at all.
func (t Trial) Wrong() bool {
	right, wrong := t.LostOut, t.LostBack
	if t.Kind == Back {
		right, wrong = wrong, right
	}
	switch {
	case t.Kind == Stop || t.ReportedMs == 0:
		return false
	case wrong > 0:
		return true
	}
	return right == 0 && t.DoubtMs <= t.TrueMs/2
}

// made is an outage while only its maker knows of it: it began between two
// instants and ended between two.
type made struct {
	kind       string
	begin, end [2]time.Time
	late       time.Duration // for how long the machine may have delayed both
}

func (m made) middle() time.Time { return m.begin[1].Add(m.end[0].Sub(m.begin[1]) / 2) }

// judge compares an outage that was made with what a target's report says. What
// stands around its middle is it; without that, the longest error and everything
// below the threshold is allowed.
func (m made) judge(t *blackout.Target, interval, threshold time.Duration) Trial {
	least, most := m.end[0].Sub(m.begin[1]), m.end[1].Sub(m.begin[0])
	trial := Trial{Kind: m.kind, TrueMs: ms((least + most) / 2), DoubtMs: ms((most-least)/2 + m.late)}
	trial.AllowedMs = ms(interval) + trial.DoubtMs
	for _, o := range t.Outages {
		if o.Start.After(m.middle()) || o.End.Before(m.middle()) {
			continue
		}
		trial.ReportedMs, trial.LostOut, trial.LostBack = o.Ms, o.LostOut, o.LostBack
		trial.AllowedMs += o.ErrorMs
		return trial
	}
	trial.AllowedMs += max(t.WorstErrorMs, ms(threshold))
	return trial
}

// off tells in words how far the probe was off.
func off(trials []Trial, interval time.Duration) string {
	var all []float64
	for _, t := range trials {
		all = append(all, math.Abs(t.ReportedMs-t.TrueMs))
	}
	return offBy("blackout", interval, all)
}

// offBy is the same for any tool; the values are sorted.
func offBy(name string, interval time.Duration, values []float64) string {
	if len(values) == 0 {
		return fmt.Sprintf("%s every %s: no outage", name, interval)
	}
	slices.Sort(values)
	return fmt.Sprintf("%s every %s: %d outages, off by %.2f ms (median) and %.2f ms (largest)",
		name, interval, len(values), values[len(values)/2], values[len(values)-1])
}

// longestGap is the outage around an instant that a list of answers shows, by
// the same rule that the probe has: from when the next answer was due.
func longestGap(answers []time.Time, middle time.Time, interval time.Duration) time.Duration {
	for i := 1; i < len(answers); i++ {
		if answers[i].After(middle) {
			return max(answers[i].Sub(answers[i-1])-interval, 0)
		}
	}
	return 0
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
