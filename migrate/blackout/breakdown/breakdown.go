package breakdown

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/report"
)

// maxEvents bounds what ReadEvents reads, in bytes.
const maxEvents = 16 << 20

// Event is something that happened during a migration. The last word of Name
// is what happened: STOP, RESUME, completed or announce matter here, in any case;
// others are only drawn.
type Event struct {
	Time time.Time `json:"time"`
	Node string    `json:"node"`
	Name string    `json:"event"`
}

func (e Event) is(what string) bool {
	words := strings.Fields(e.Name)
	return len(words) > 0 && strings.EqualFold(words[len(words)-1], what)
}

// ReadEvents reads one JSON list of events and returns them in the order of
// time, with shift added to each: positive when the clocks of the nodes are
// behind the prober's.
func ReadEvents(r io.Reader, shift time.Duration) ([]Event, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxEvents+1))
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	if len(data) > maxEvents {
		return nil, fmt.Errorf("read events: larger than %d bytes", maxEvents)
	}
	var events []Event
	if err := json.Unmarshal(data, &events); err != nil {
		return nil, fmt.Errorf("read events: want a list of {\"time\", \"node\", \"event\"}: %w", err)
	}
	for i := range events {
		if events[i].Time.IsZero() || events[i].Name == "" {
			return nil, fmt.Errorf("read events: event %d has no time or no event", i+1)
		}
		events[i].Time = events[i].Time.Add(shift)
	}
	slices.SortStableFunc(events, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return events, nil
}

// Window is one move of a guest, from its events.
type Window struct {
	Stop, Resume time.Time
	From, To     string
	// Completed is when QEMU had sent everything, and Announce when the guest's
	// place was first announced; zero when there is no such event.
	Completed, Announce time.Time
}

// Windows finds the moves in events that are in order: each STOP with the next
// RESUME. A guest that resumes where it stopped has not moved, and does not
// count unless nothing else does.
func Windows(events []Event) []Window {
	var moved, stayed []Window
	var open *Window
	for _, e := range events {
		switch {
		case e.is("STOP") && open == nil:
			open = &Window{Stop: e.Time, From: e.Node}
		case e.is("completed") && open != nil:
			open.Completed = e.Time
		case e.is("RESUME") && open != nil:
			open.Resume, open.To = e.Time, e.Node
			if open.From == open.To {
				stayed = append(stayed, *open)
			} else {
				moved = append(moved, *open)
			}
			open = nil
		}
	}
	if len(moved) == 0 {
		moved = stayed
	}
	for i := range moved {
		moved[i].Announce = announced(events, moved[i].Resume)
	}
	return moved
}

// announced is the first announcement from an instant on.
func announced(events []Event, from time.Time) time.Time {
	for _, e := range events {
		if e.is("announce") && !e.Time.Before(from) {
			return e.Time
		}
	}
	return time.Time{}
}

// Parts is the blackout of one target in one move. All lengths are
// milliseconds; Before + Pause + Relearn = Blackout.
type Parts struct {
	Target     string  `json:"target"`
	From       string  `json:"from"`
	To         string  `json:"to"`
	BlackoutMs float64 `json:"blackout_ms"`
	ErrorMs    float64 `json:"error_ms"`
	BeforeMs   float64 `json:"before_ms"`
	PauseMs    float64 `json:"pause_ms"`
	RelearnMs  float64 `json:"relearn_ms"`
	// HandOverMs is the part of the pause after QEMU had sent everything, and
	// UnheardMs the part of relearn after the first announcement; absent when
	// the events do not show it.
	HandOverMs *float64 `json:"hand_over_ms,omitempty"`
	UnheardMs  *float64 `json:"unheard_ms,omitempty"`
	// Open is true where no answer had come by the end of the run.
	Open bool `json:"open"`
}

// Split splits, for every move and every target, the outage that the move fell
// into: the longest that overlaps it. A target without one is left out: its
// clients saw nothing. Events without a move are an error.
func Split(r *report.Report, events []Event) ([]Parts, error) {
	moves := Windows(events)
	if len(moves) == 0 {
		return nil, errors.New("the events have no STOP that is followed by a RESUME")
	}
	parts := []Parts{}
	for _, w := range moves {
		for i := range r.Targets {
			t := &r.Targets[i]
			if o := hit(t, w); o != nil {
				parts = append(parts, split(t.Target, *o, w))
			}
		}
	}
	return parts, nil
}

// hit returns the longest outage of a target that overlaps a move.
func hit(t *report.Target, w Window) *report.Outage {
	var worst *report.Outage
	for i := range t.Outages {
		o := &t.Outages[i]
		slack := time.Duration(o.ErrorMs * float64(time.Millisecond))
		if o.Start.After(w.Resume.Add(slack)) || o.End.Add(slack).Before(w.Stop) {
			continue
		}
		if worst == nil || o.Ms > worst.Ms {
			worst = o
		}
	}
	return worst
}

func split(target string, o report.Outage, w Window) Parts {
	p := Parts{
		Target: target, From: w.From, To: w.To, BlackoutMs: o.Ms, ErrorMs: o.ErrorMs, Open: o.Open,
		BeforeMs:  within(o, o.Start, w.Stop),
		PauseMs:   within(o, w.Stop, w.Resume),
		RelearnMs: within(o, w.Resume, o.End),
	}
	if !w.Completed.IsZero() {
		p.HandOverMs = new(within(o, w.Completed, w.Resume))
	}
	if !w.Announce.IsZero() {
		p.UnheardMs = new(within(o, w.Announce, o.End))
	}
	return p
}

// within is how much of an outage lies between two instants, in milliseconds.
func within(o report.Outage, from, to time.Time) float64 {
	if from.Before(o.Start) {
		from = o.Start
	}
	if to.After(o.End) {
		to = o.End
	}
	return max(float64(to.Sub(from).Microseconds())/1e3, 0)
}

// WriteTable writes the parts for people, in milliseconds; a dash is for
// what the events do not show.
func WriteTable(w io.Writer, parts []Parts) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TARGET\tMOVE\tBLACKOUT\tERROR\tBEFORE\tPAUSE\tHAND-OVER\tRELEARN\tUNHEARD")
	for _, p := range parts {
		open := ""
		if p.Open {
			open = " (open)"
		}
		fmt.Fprintf(t, "%s\t%s → %s\t%.1f%s\t±%.1f\t%.1f\t%.1f\t%s\t%.1f\t%s\n", p.Target, p.From, p.To,
			p.BlackoutMs, open, p.ErrorMs, p.BeforeMs, p.PauseMs, orDash(p.HandOverMs), p.RelearnMs,
			orDash(p.UnheardMs))
	}
	if len(parts) == 0 {
		fmt.Fprintln(t, "no target had an outage while a guest moved")
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

func orDash(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f", *ms)
}
