package bench

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/journal"
)

// phase is a turning point of a failure on nodes without a power switch. They are in the order in which they happen.
type phase int

// The phases.
const (
	failed        phase = iota // the node dies, or the link is cut
	alone                      // corosync on the survivor has a membership without the other node
	fenceCalled                // Pacemaker there calls its fence device
	fenceAnswered              // the device has answered
	startBegins                // Pacemaker calls the agent's start of the first guest
	startDone                  // that start has returned
	phaseCount
)

// phases name the time that ends at each phase, in the notes.
var phases = [phaseCount]string{
	alone:         "until corosync has a membership without the node",
	fenceCalled:   "until Pacemaker calls the fence device",
	fenceAnswered: "until the device answers (verdict)",
	startBegins:   "until Pacemaker calls start",
	startDone:     "until the first start is done",
}

// guardTurn is what was seen of one failure.
type guardTurn struct {
	at        [phaseCount]time.Time // the zero time where it was not seen
	lastStart time.Time             // when the last guest's start was done
	silence   float64               // the longest of a guest of the node that lost, in seconds
	verdict   *journal.Event        // the guard's record of the fence call, on the survivor
	surrender *journal.Event        // and of the surrender, on the other node
	failures  []string              // what was seen and must not be
}

// since is the time from the failure until a phase, in seconds; false where that was not seen.
func (t guardTurn) since(p phase) (float64, bool) {
	return t.at[p].Sub(t.at[failed]).Seconds(), !t.at[p].IsZero()
}

// took is the time from the phase before p until p, in seconds; false where one of the two was not seen.
func (t guardTurn) took(p phase) (float64, bool) {
	if p == failed || t.at[p].IsZero() || t.at[p-1].IsZero() {
		return 0, false
	}
	return t.at[p].Sub(t.at[p-1]).Seconds(), true
}

// last is the time from the failure until the last start was done, in seconds.
func (t guardTurn) last() (float64, bool) {
	return t.lastStart.Sub(t.at[failed]).Seconds(), !t.lastStart.IsZero()
}

// answered is the time from the end of the last start until the last guest's first answer, in seconds. It holds where
// the guests' silence begins with the failure.
func (t guardTurn) answered() (float64, bool) {
	start, ok := t.last()
	return t.silence - start, ok
}

// guardTurns are one side's.
type guardTurns []guardTurn

// values are those of the turns in which all was as it must be and of is true.
func (all guardTurns) values(of func(guardTurn) (float64, bool)) (values []float64) {
	for _, t := range all {
		if v, ok := of(t); ok && len(t.failures) == 0 {
			values = append(values, v)
		}
	}
	return values
}

// inWords is a median in seconds.
func (all guardTurns) inWords(of func(guardTurn) (float64, bool)) string {
	values := all.values(of)
	if len(values) == 0 {
		return "not seen"
	}
	return fmt.Sprintf("%.2f s", Summarize(values).P50)
}

// ended counts how the turns ended.
func (all guardTurns) ended() Endings {
	e := Endings{}
	for _, t := range all {
		if len(t.failures) == 0 {
			e["as expected"]++
		} else {
			e["not as expected"]++
		}
	}
	return e
}

// silences are the longest silence of each turn.
func silences(t guardTurn) (float64, bool) { return t.silence, true }

// guardNotes tell both sides' medians of each part, and what was not as it must be.
func guardNotes(ours, peer guardTurns, crash bool) (notes []string) {
	line := func(what string, of func(guardTurn) (float64, bool)) {
		if len(ours.values(of))+len(peer.values(of)) > 0 {
			notes = append(notes, fmt.Sprintf("%s: %s, %s with %s", what, ours.inWords(of), peer.inWords(of), sbdName))
		}
	}
	for p := failed + 1; p < phaseCount; p++ {
		line(phases[p], func(t guardTurn) (float64, bool) { return t.took(p) })
	}
	line("from the failure until the last start is done", guardTurn.last)
	if crash {
		line("from then until the last guest's first answer", guardTurn.answered)
	}
	notes = append(notes, ours.records()...)
	for i, side := range []guardTurns{ours, peer} {
		for n, t := range side {
			if len(t.failures) > 0 {
				notes = append(notes, fmt.Sprintf("turn %d of %s is in no figure: %s", n+1, []string{guardName, sbdName}[i],
					strings.Join(t.failures, "; ")))
			}
		}
	}
	return notes
}

// records tell what the guards recorded.
func (all guardTurns) records() (notes []string) {
	begun := func(of func(guardTurn) *journal.Event) func(guardTurn) (float64, bool) {
		return func(t guardTurn) (float64, bool) {
			e := of(t)
			if e == nil {
				return 0, false
			}
			return e.Time.Add(-took(e)).Sub(t.at[failed]).Seconds(), true
		}
	}
	lasted := func(of func(guardTurn) *journal.Event) func(guardTurn) (float64, bool) {
		return func(t guardTurn) (float64, bool) {
			e := of(t)
			if e == nil {
				return 0, false
			}
			return took(e).Seconds(), true
		}
	}
	verdict := func(t guardTurn) *journal.Event { return t.verdict }
	surrender := func(t guardTurn) *journal.Event { return t.surrender }
	if len(all.values(begun(verdict))) > 0 {
		notes = append(notes, fmt.Sprintf("by the guard's record the fence call came after %s and waited %s for its proof",
			all.inWords(begun(verdict)), all.inWords(lasted(verdict))))
	}
	if len(all.values(begun(surrender))) > 0 {
		notes = append(notes, fmt.Sprintf("by the guard's record the other node gave up after %s and had surrendered %s later",
			all.inWords(begun(surrender)), all.inWords(lasted(surrender))))
	}
	return notes
}

func took(e *journal.Event) time.Duration { return time.Duration(e.DurationMS) * time.Millisecond }

// first takes a phase that was not seen yet.
func (t *guardTurn) first(p phase, at time.Time) {
	if t.at[p].IsZero() {
		t.at[p] = at
	}
}

// Messages of pacemaker-controld about a fence call.
var (
	fenceRequest = regexp.MustCompile(`Requesting fencing \(\w+\) targeting node `)
	fenceResult  = regexp.MustCompile(`Peer \S+ was terminated \(`)
)

// journal takes the phases that Corosync and Pacemaker log on the survivor, from journalctl's form short-unix. Of the
// guests are those that were on the other node.
func (t *guardTurn) journal(text string, guests []string) {
	for line := range strings.Lines(text) {
		m := stampedLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		at, ok := journalTime(m[1], m[2])
		switch {
		case !ok || !at.After(t.at[failed]):
		case strings.Contains(m[3], "A new membership (") && strings.Contains(m[3], "left"):
			t.first(alone, at)
		case fenceRequest.MatchString(m[3]):
			t.first(fenceCalled, at)
		case fenceResult.MatchString(m[3]):
			t.first(fenceAnswered, at)
		}
	}
	var begun, done []time.Time
	for _, name := range guests {
		calls := callsIn(text)
		i := slices.IndexFunc(calls, func(c pacemakerCall) bool {
			return c.guest == name && c.action == "start" && c.began.After(t.at[failed])
		})
		if i >= 0 {
			begun, done = append(begun, calls[i].began), append(done, calls[i].ended)
		}
	}
	if len(done) == len(guests) && len(done) > 0 {
		t.at[startBegins], t.at[startDone] = slices.MinFunc(begun, time.Time.Compare), slices.MinFunc(done, time.Time.Compare)
		t.lastStart = slices.MaxFunc(done, time.Time.Compare)
	}
}

// guardEvent is the first event of a kind since an instant, in a node's guard.jsonl; nil where there is none.
func guardEvent(text string, kind journal.Kind, since time.Time) *journal.Event {
	for line := range strings.Lines(text) {
		var e journal.Event
		if json.Unmarshal([]byte(line), &e) == nil && e.Kind == kind && e.Time.After(since) {
			return &e
		}
	}
	return nil
}
