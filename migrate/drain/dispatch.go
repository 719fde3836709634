package drain

import (
	"cmp"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/predict"
)

const (
	// leastStretch is by how much the expected end of a move that is overdue is put off at least.
	leastStretch = 100 * time.Millisecond

	// learned is the change of a link's rate from which on it is worth predicting again.
	learned = 0.1

	// slowest is the smallest part of its rate that a link is taken to carry: less is a standstill.
	slowest = 1.0 / 16
)

func byStart(a, b Step) int { return cmp.Compare(a.Start, b.Start) }

// dispatch plans again, and does what is to be done now. It holds q.mu, as all below do.
func (q *Queue) dispatch() {
	q.stop()
	if len(q.turns) == 0 {
		return
	}
	now := q.clock.Now()
	wake := alarm{now: now}
	for _, t := range q.flight {
		q.watch(t, &wake)
	}
	if now.Before(q.gathered) && len(q.waiting) > 0 {
		wake.at(q.gathered)
	} else {
		q.assign(&wake)
	}
	if !wake.when.IsZero() {
		q.stop = q.clock.AfterFunc(wake.when.Sub(now), func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.dispatch()
		})
	}
}

// alarm is the earliest time after now at which something is due.
type alarm struct{ now, when time.Time }

func (a *alarm) at(t time.Time) {
	if t.After(a.now) && (a.when.IsZero() || t.Before(a.when)) {
		a.when = t
	}
}

// watch puts off the end of a move that is overdue, and has it give up when it must. A move that
// is expected to be done in time continues, even when there is no time left for anything else; but
// what was put off twice is not expected any more.
func (q *Queue) watch(t *Turn, wake *alarm) {
	now := wake.now
	if !t.free.After(now) {
		t.free = now.Add(max(now.Sub(t.granted)/4, leastStretch))
		t.overdue++
	}
	wake.at(t.free)
	if q.deadline.IsZero() || t.err != nil {
		return
	}
	late := t.attempt || t.lost() || t.leaves().After(q.deadline)
	if t.lastCall.IsZero() || !late && !t.lastCall.After(now) {
		t.fallback, t.lastCall = "", q.deadline
		if m, need := t.c.fallback(q.deadline.Sub(now), q.node.StoreRate); m != "" {
			t.fallback, t.lastCall = m, q.deadline.Add(-need)
		}
	}
	wake.at(t.lastCall)
	if late && !t.lastCall.After(now) {
		t.err = q.tooLate(t, now, "its move takes longer than predicted")
		close(t.giveUp)
	}
}

// lost reports whether the prediction is worth nothing any more.
func (t *Turn) lost() bool { return t.overdue > 1 }

func (q *Queue) tooLate(t *Turn, now time.Time, why string) *TooLate {
	left := max(q.deadline.Sub(now), 0)
	if q.deadline.IsZero() || !t.until.IsZero() && t.until.Before(q.deadline) {
		left = max(t.until.Sub(now), 0) // 0 where neither has an end
	}
	return &TooLate{Guest: t.c.guest.Name, Rung: t.fallback, Left: left, Why: why}
}

// steps is the plan for those that wait.
func (q *Queue) steps(now time.Time) []Step {
	n := q.node
	n.Links, n.Window = q.links, 0
	if !q.deadline.IsZero() {
		n.Window = max(q.deadline.Sub(now), 1) // 0 would be no deadline
	}
	under := make([]busy, len(q.flight))
	for i, t := range q.flight {
		under[i] = busy{t.link, t.step.Lane, t.free.Sub(now), t.step.AtOnce}
		if t.lost() { // those behind it must not count on it either
			under[i].free = max(under[i].free, n.Window)
		}
	}
	cands := make([]*candidate, len(q.waiting))
	for i, t := range q.waiting {
		cands[i] = t.c
		if !t.until.IsZero() {
			t.c.window = max(t.until.Sub(now), 1) // 0 would be no end
		}
	}
	return arrange(n, under, cands)
}

// assign grants what the plan begins now, and refuses those whose last moment has come.
func (q *Queue) assign(wake *alarm) {
	steps := q.steps(wake.now)
	for _, s := range steps {
		t := q.turns[s.Guest]
		switch {
		case !s.IsLive():
			q.strand(t, s, wake)
		case s.Start <= 0:
			q.grant(t, s, wake)
		default:
			t.lastCall = time.Time{}
			wake.at(wake.now.Add(s.Start))
		}
	}
	for i := range q.links {
		q.attempt(i, steps, wake)
	}
}

// strand keeps the last moment once it is found: a timer is a little late, and looked at
// then, the time that is left would be too short.
func (q *Queue) strand(t *Turn, s Step, wake *alarm) {
	due := !t.lastCall.IsZero() && !t.lastCall.After(wake.now)
	if !due {
		t.fallback, t.lastCall = s.Rung, wake.now.Add(s.Start)
		if s.Rung == "" && t.c.mayTry() && !q.deadline.IsZero() {
			t.lastCall = q.deadline
		}
		due = !t.lastCall.After(wake.now)
	}
	wake.at(t.lastCall)
	if due {
		q.deny(t, q.tooLate(t, wake.now, s.Why))
	}
}

func (q *Queue) grant(t *Turn, s Step, wake *alarm) {
	q.tally()
	q.waiting = slices.DeleteFunc(q.waiting, func(o *Turn) bool { return o == t })
	q.flight = append(q.flight, t)
	t.step, t.granted, t.free = s, wake.now, wake.now.Add(s.Free)
	t.link = slices.IndexFunc(q.links, func(l Link) bool { return l.Name == s.Link })
	t.area = q.widths[t.link].area
	if !t.attempt {
		t.lastCall = time.Time{}
	}
	q.watch(t, wake)
	close(t.ready)
}

func (q *Queue) deny(t *Turn, err error) {
	q.waiting = slices.DeleteFunc(q.waiting, func(o *Turn) bool { return o == t })
	t.err = err
	close(t.ready)
}

// attempt gives an idle link that nobody is planned for to the first guest that is stranded, until
// its last moment: the prediction may be wrong, and a move that fails costs only time.
func (q *Queue) attempt(link int, steps []Step, wake *alarm) {
	name := q.links[link].Name
	if slices.ContainsFunc(q.flight, func(t *Turn) bool { return t.link == link }) ||
		slices.ContainsFunc(steps, func(s Step) bool { return s.Link == name && s.Start > 0 }) {
		return
	}
	for _, s := range steps {
		t := q.turns[s.Guest]
		o := t.c.anyOn(link)
		if s.IsLive() || o == nil || !slices.Contains(q.waiting, t) || t.lastCall.Sub(wake.now) <= q.links[link].Setup {
			continue
		}
		t.attempt = true
		free := min(predict.Later(q.links[link].Setup, o.pred.Duration), t.lastCall.Sub(wake.now))
		q.grant(t, Step{Guest: s.Guest, Rung: o.rung, Link: name, Copy: q.links[link].Setup, Free: free,
			End: predict.Later(free, q.links[link].Teardown), AtOnce: 1, Prediction: o.pred, Why: s.Why}, wake)
		return
	}
}

// anyOn is the gentlest option on that link, kept or not.
func (c *candidate) anyOn(link int) *option {
	for _, o := range c.options {
		if o.link == link {
			return &o
		}
	}
	if c.resort != nil && c.resort.link == link {
		return c.resort
	}
	return nil
}

// learn compares how long a move had its lane with what was predicted, and predicts the moves to come
// with the rate that this tells. Half is believed: a guest may also have written more than was thought.
func (q *Queue) learn(t *Turn) {
	now, link := q.clock.Now(), &q.links[t.link]
	lane := &q.lanes[t.link][t.step.Lane]
	begin := t.granted.Add(link.Setup)
	if lane.After(begin) {
		begin = *lane
	}
	*lane = now
	predicted := t.step.Prediction.Duration
	crowded := link.width > link.lanes() && t.company() > 1.5 // what one got says nothing of the link
	if t.attempt || crowded || !t.step.Prediction.Ends() || predicted < link.Setup {
		return
	}
	given := q.node.Links[t.link]
	ratio := float64(predicted) / float64(max(now.Sub(begin), 1))
	rate := min(max(link.Rate*(1+ratio)/2, given.Rate*slowest), given.Rate)
	if change := rate/link.Rate - 1; change < learned && change > -learned {
		return
	}
	link.Rate, link.Each = rate, given.Each*rate/given.Rate
	for _, w := range q.waiting {
		w.c = newCandidate(w.c.guest, q.links)
	}
}
