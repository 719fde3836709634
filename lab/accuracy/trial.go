package accuracy

import (
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout"
)

// The kinds of outages.
const (
	Link = "link"
	Out  = "out"
	Back = "back"
	Stop = "stop"
)

// Kinds lists them.
var Kinds = []string{Link, Out, Back, Stop}

// Trial is one outage that was made, and what a tool reported. All lengths are
// milliseconds.
type Trial struct {
	Kind   string
	Length time.Duration // the length that was wanted
	// Interval is the time between two probes.
	Interval time.Duration
	// True is the length that it had, DoubtMs how far that may be off either way.
	TrueMs, DoubtMs float64
	// ReportedMs is 0 when the tool did not list it; AllowedMs is one interval,
	// the error that the tool states, and the doubt.
	ReportedMs, AllowedMs float64
	LostOut, LostBack     uint64
	// How is what the tool says of the connection, see blackout.Outage.How.
	How string
}

// OffMs is |reported − true|.
func (t Trial) OffMs() float64 { return math.Abs(t.ReportedMs - t.TrueMs) }

// Ratio is |reported − true| over what is allowed: up to 1 is good.
func (t Trial) Ratio() float64 { return t.OffMs() / t.AllowedMs }

// Wrong reports that the probe put losses onto the wrong way, or none onto the
// right one. What a stopped server received it answers when it continues: nothing
// is lost on the way back. Of a link that is cut, the one probe that is just being
// answered is, and as many as the server had not read while the machine was stalled.
//
// An outage that was not listed is not judged: its length is. Nor is one without
// losses whose doubt is above half of its length: if the machine was stalled, packets
// may have waited before the filter and not been lost at all.
func (t Trial) Wrong() bool {
	right, wrong, free := t.LostOut, t.LostBack, 0.0
	switch t.Kind {
	case Back:
		right, wrong = wrong, right
	case Link:
		free = 1 + t.DoubtMs/ms(t.Interval)
	}
	switch {
	case t.ReportedMs == 0:
		return false
	case float64(wrong) > free:
		return true
	}
	return t.Kind != Stop && right == 0 && t.DoubtMs <= t.TrueMs/2
}

// made is an outage while only its maker knows of it: it began between two
// instants and ended between two.
type made struct {
	kind       string
	length     time.Duration
	begin, end [2]time.Time
	late       time.Duration // for how long the machine may have delayed both
	blurred    bool          // the machine was stalled in most of the calm before it
}

func (m made) middle() time.Time { return m.begin[1].Add(m.end[0].Sub(m.begin[1]) / 2) }

// joined makes one of two outages if the machine was stalled in most of the calm between
// them, and a tool has them as one: it may be that nothing came through meanwhile.
func joined(all []made, asOne func(a, b made) bool) []made {
	var some []made
	for _, m := range all {
		if n := len(some); n > 0 && m.blurred && asOne(some[n-1], m) {
			last := &some[n-1]
			last.length, last.end, last.late = max(last.length, m.length), m.end, max(last.late, m.late)
			continue
		}
		some = append(some, m)
	}
	return some
}

// trial is the outage as it truly was, without any report.
func (m made) trial(interval time.Duration) Trial {
	least, most := m.end[0].Sub(m.begin[1]), m.end[1].Sub(m.begin[0])
	return Trial{
		Kind: m.kind, Length: m.length, Interval: interval,
		TrueMs: ms((least + most) / 2), DoubtMs: ms((most-least)/2 + m.late),
	}
}

// judge compares an outage that was made with what the report says of a target: the
// outage around its middle is it. If there is none, the error that the report states
// is the silences below its own error, and the faults of the prober that
// the outage met.
func (m made) judge(r *blackout.Report, t *blackout.Target, interval time.Duration) Trial {
	trial, stated := m.trial(interval), max(ms(interval), t.BelowErrorMs)
	for _, f := range r.Faults {
		if f.Start.Before(m.end[1]) && f.End.After(m.begin[0]) {
			stated = max(stated, f.Ms)
		}
	}
	for _, o := range t.Outages {
		if !o.Start.After(m.middle()) && !o.End.Before(m.middle()) {
			trial.ReportedMs, trial.LostOut, trial.LostBack, trial.How, stated = o.Ms, o.LostOut, o.LostBack, o.How(),
				o.ErrorMs
			break
		}
	}
	trial.AllowedMs = ms(interval) + stated + trial.DoubtMs
	return trial
}

// judgeAnswers compares an outage with the list of answers of a tool that states
// no outages: the probe's own rule is put onto it. Nor does it state an error: what
// is allowed is what the probe's least would be.
func (m made) judgeAnswers(answers []time.Time, interval time.Duration) Trial {
	trial := m.trial(interval)
	trial.ReportedMs = ms(gapAround(answers, m.middle(), interval))
	trial.AllowedMs = 2*ms(interval) + trial.DoubtMs
	return trial
}

// gapAround is the outage around an instant that a list of answers shows: from
// when the next answer was due.
func gapAround(answers []time.Time, middle time.Time, interval time.Duration) time.Duration {
	i := sort.Search(len(answers), func(i int) bool { return answers[i].After(middle) })
	if i == 0 || i == len(answers) {
		return 0
	}
	return max(answers[i].Sub(answers[i-1])-interval, 0)
}

// classes sums up what a tool reported of outages, for each of the lengths.
func classes(tool string, lengths []time.Duration, trials []Trial) []Class {
	var all []Class
	for _, length := range lengths {
		var ratios, off []float64
		missed := 0
		for _, t := range trials {
			if t.Length != length {
				continue
			}
			ratios, off = append(ratios, t.Ratio()), append(off, t.OffMs())
			if t.ReportedMs == 0 {
				missed++
			}
		}
		if len(ratios) > 0 {
			c := newClass(length.String(), tool, ratios)
			c.OffP50Ms, c.OffMaxMs = middleAndMost(off)
			c.Missed = missed
			all = append(all, c)
		}
	}
	return all
}

// doubtful says in words how many outages are known less exactly than the probe could
// measure them, because the machine itself was stalled, and for how many the doubt matters.
func doubtful(trials []Trial) string {
	unsure, saved := 0, 0
	for _, t := range trials {
		if t.DoubtMs > ms(t.Interval) {
			unsure++
		}
		if t.OffMs() > t.AllowedMs-t.DoubtMs {
			saved++
		}
	}
	return fmt.Sprintf("of %d outages, %d are themselves known less exactly than to an interval, as the machine or the server was kept from running;"+
		" without this doubt, %d would be off by more than an interval and the stated error", len(trials), unsure,
		saved)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
