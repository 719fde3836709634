package drain

import "time"

// gain is how much more all together must have moved per second for the next doubling of the width.
const gain = 1.25

// width is how many a link is tried with at once, where they bear it. One migration may be held up by anything but
// the link: its set-up, encryption, a processor, QEMU's one thread. Nobody knows that before, so it is tried: the
// width is doubled for as long as all together become quicker by that, and no pause becomes too long for its
// guest's budget. Where they do not the link was full, and where one does the hosts had too much to do: what is
// predicted of guests that share a link knows nothing of processors.
type width struct {
	now  int     // 1 at first
	pace float64 // bytes per second of all together, at the last width that was worth it
	done bool    // more was tried, without effect

	area float64   // how many were on the link, times seconds
	at   time.Time // up to which that was added up
}

// seen takes in the pace of a move that was one of company at once, and whether it kept its budget.
func (w *width) seen(pace, company float64, kept bool) {
	all := pace * company
	switch {
	case w.done || company < 0.75*float64(w.now):
	case w.now > 1 && (!kept || all < gain*w.pace):
		w.now, w.done = w.now/2, true
	case kept:
		w.pace, w.now = all, min(2*w.now, mostAtOnce)
	}
}

// tally adds up how many were on each link until now. It comes before each change of that.
func (q *Queue) tally() {
	now := q.clock.Now()
	for i := range q.widths {
		w := &q.widths[i]
		for _, t := range q.flight {
			if t.link == i {
				w.area += now.Sub(w.at).Seconds()
			}
		}
		w.at = now
	}
}

// company is how many were on the link, on average, since the turn was granted, this one counted.
func (t *Turn) company() float64 {
	return (t.q.widths[t.link].area - t.area) / max(t.q.clock.Now().Sub(t.granted).Seconds(), 1e-9)
}

// widen learns from a move that has just ended whether more should be tried. How long each took counts from its grant:
// set-ups side by side are gain as well.
func (q *Queue) widen(t *Turn) {
	took := q.clock.Now().Sub(t.granted).Seconds()
	if !q.explore || t.attempt || !t.step.Prediction.Ends() || took <= 0 {
		return
	}
	budget := t.c.guest.Load.Budget
	w := &q.widths[t.link]
	w.seen(float64(t.step.Prediction.Bytes)/took, t.company(), budget <= 0 || t.pause > 0 && t.pause <= budget)
	q.links[t.link].width = w.now
}
