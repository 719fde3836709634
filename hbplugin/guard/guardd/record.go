package guardd

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/guard/journal"
	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
)

// fenceCall is one that waits for its answer.
type fenceCall struct {
	begun  time.Duration
	guests int // on this node, then
	answer chan protocol.Verdict
}

// course is what the node does about its lease, from the first decision on: it takes it, or it surrenders.
type course struct {
	begun  time.Duration
	why    string
	to     string // the node that the guests are moved to
	guests int

	killing time.Duration // when the kill began
	left    int           // the guests then
	proven  bool          // they are proven gone, and that is recorded
}

// recorder hands the events to the node, one after the other: its disk may hang.
func (d *Daemon) recorder(ctx context.Context) {
	each(ctx, d.records, func(e journal.Event) {
		if d.Node.Record == nil {
			return
		}
		if err := d.Node.Record(e); err != nil {
			d.Log.WithError(err).Error("record what the guard did")
		}
	})
}

// record takes an event that began at begun. It never waits: where the disk hangs for many events the newest are lost.
func (d *Daemon) record(e journal.Event, begun, now time.Duration) {
	e.Time, e.Node, e.DurationMS = time.Now(), d.name(d.ID), (now - begun).Milliseconds()
	select {
	case d.records <- e:
	default:
		d.Log.WithField("event", string(e.Kind)).Error("not recorded, as the disk of the records hangs: " + e.Evidence)
	}
}

// chronicle records what a change of phase means.
func (d *Daemon) chronicle(before, phase protocol.Phase, why string, now time.Duration) {
	guests := d.Node.Measure().Guests
	if phase == protocol.Opening || phase == protocol.Moving || phase == protocol.Killing && before != protocol.Moving {
		d.course = course{begun: now, why: why, guests: guests}
	}
	switch {
	case phase == protocol.Moving:
		d.course.to = d.name(d.orders.MoveTo)
	case phase == protocol.Killing:
		d.course.why, d.course.killing, d.course.left = why, now, guests
	case phase == protocol.Held && before == protocol.Opening:
		d.course.why = why
		d.record(d.course.event(journal.Returned, d.guard.Generation()), d.course.begun, now)
	case phase == protocol.Out:
		d.record(d.course.event(journal.Surrendered, d.guard.Generation()), d.course.begun, now)
	}
}

func (c course) event(kind journal.Kind, generation uint64) journal.Event {
	return journal.Event{Kind: kind, Target: c.to, Generation: generation, Guests: c.guests, Evidence: c.why}
}

// emptied takes the proof that no guest is left.
func (d *Daemon) emptied(now time.Duration) {
	d.guard.Emptied()
	if d.phase == protocol.Killing && !d.course.proven {
		d.course.proven = true
		e := d.course.event(journal.Killed, d.guard.Generation())
		e.Guests = d.course.left
		d.record(e, d.course.killing, now)
	}
}

// verdict answers a fence call.
func (d *Daemon) verdict(v protocol.Verdict, now time.Duration) {
	d.Log.WithFields(logrus.Fields{"node": d.name(v.Target), "fenced": v.Fenced}).Warn("fence call: " + v.Evidence)
	if d.OpenItself && !v.Fenced && d.phase == protocol.Out && !d.orders.Rejoin && !d.rejoining {
		d.vain = max(d.links.sequence, 1)
	}
	calls := d.calls[v.Target]
	if len(calls) == 0 {
		return
	}
	delete(d.calls, v.Target)
	for _, c := range calls {
		c.answer <- v // has room for it
	}
	c := calls[0]
	e := journal.Event{Kind: journal.NotFenced, Target: d.name(v.Target), Guests: c.guests, Evidence: v.Evidence}
	if v.Fenced {
		e.Kind = journal.Fenced
	}
	for _, view := range d.guard.Views(now) {
		if view.Node == v.Target {
			e.Generation = view.Slot.Generation
		}
	}
	d.record(e, c.begun, now)
}
