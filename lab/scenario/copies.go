package scenario

import (
	"slices"
	"time"
)

// span is a time in which one copy of a guest was executing.
type span struct{ from, to time.Time }

// forever ends the span of a copy that still executes.
var forever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// executing says when a copy ran guest code, as far as events tell. A copy of
// which nothing is known counts as executing for as long as it lived, and what
// happened between two looks counts as the longer time: not knowing must never
// look like safety.
func executing(c Copy, events []Event) []span {
	end := c.Gone
	if end.IsZero() {
		end = forever
	}
	var spans []span
	var since time.Time
	known := c.Resting
	for _, e := range events {
		if e.Guest != c.Guest || e.Node != c.Node || e.At.Before(c.Seen.Add(-slack)) || e.At.After(end) {
			continue
		}
		switch e.Name {
		case Resume, Lost:
			known = true
			if since.IsZero() {
				since = e.earliest()
			}
		case Stop:
			// A copy that was executing before the listener came.
			if !known {
				since = c.Seen
			}
			known = true
			if !since.IsZero() {
				spans = append(spans, span{since, e.At})
			}
			since = time.Time{}
		}
	}
	if !known {
		return []span{{c.Seen, end}}
	}
	if !since.IsZero() {
		spans = append(spans, span{since, end})
	}
	return spans
}

// slack is how much earlier than its process was first seen an event of a copy
// may be: a period of the watch, and the time that a look takes on a busy machine.
const slack = time.Second

// maxExecuting is the largest number of copies of one guest that executed at
// the same instant.
func maxExecuting(guest string, copies []Copy, events []Event) int {
	return maxExecutingBetween(guest, copies, events, time.Time{}, forever)
}

// maxExecutingBetween is maxExecuting for what executed between two instants.
func maxExecutingBetween(guest string, copies []Copy, events []Event, from, to time.Time) int {
	type edge struct {
		at   time.Time
		step int
	}
	var edges []edge
	for _, c := range copies {
		if c.Guest != guest {
			continue
		}
		for _, s := range executing(c, events) {
			if s.to.Before(from) || s.from.After(to) {
				continue
			}
			s.from, s.to = later(s.from, from), earlier(s.to, to)
			edges = append(edges, edge{s.from, 1}, edge{s.to, -1})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int {
		if order := a.at.Compare(b.at); order != 0 {
			return order
		}
		return a.step - b.step // one that ends makes room for one that begins
	})
	most, now := 0, 0
	for _, e := range edges {
		now += e.step
		most = max(most, now)
	}
	return most
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Pause is the last pause of a guest that moved between two nodes since an instant,
// as the observer of its hypervisor saw it; false where a STOP or its RESUME was not seen. It may
// be called within [Runner.Run].
func (r *Runner) Pause(guest, from, to string, since time.Time) (time.Duration, bool) {
	stop, resume, ok := r.Switchover(guest, from, to, since)
	return resume.Sub(stop), ok
}

// Switchover is when a guest stopped on one node and continued on another, as in Pause.
func (r *Runner) Switchover(guest, from, to string, since time.Time) (stop, resume time.Time, ok bool) {
	events := slices.DeleteFunc(r.seen.Events(), func(e Event) bool { return e.At.Before(since) })
	return pauseOf(guest, from, to, events)
}

// pauseOf finds the last source STOP that a RESUME on the other node followed.
func pauseOf(guest, from, to string, events []Event) (stop, resume time.Time, ok bool) {
	for _, e := range events {
		switch {
		case e.Guest != guest:
		case e.Name == Stop && e.Node == from:
			stop, ok = e.At, false
		case e.Name == Resume && e.Node == to && !stop.IsZero():
			resume, ok = e.At, true
		}
	}
	return stop, resume, ok
}
