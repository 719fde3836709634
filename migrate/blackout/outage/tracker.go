package outage

import (
	"cmp"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

const (
	// seenTime is for how long a duplicate of a probe is recognised.
	seenTime = 1000 * time.Second
	minSeen  = 1 << 12
	maxSeen  = 1 << 20
)

// Tracker is the arithmetic of one target: it is given when probes were sent
// and when answers arrived, and works out the outages, losses and times. It opens
// no sockets and reads no clock: an instant is a duration since the run began.
// It is not safe for concurrent use.
type Tracker struct {
	opt     Options
	sends   sendTimes
	seen    wire.Window
	due     due
	outages outages
	loss    losses
	rtt     roundTrips
	series  series

	newest   uint64 // newest answered probe
	answered uint64
	skipped  uint64
	late     uint64
	twice    uint64 // duplicates
	events   counts // over the whole run

	plain    bool          // the service only echoes: nothing is known of directions
	worst    time.Duration // widest spacing of probes
	first    time.Duration // of the first answer
	quickest time.Duration // shortest round trip
}

// Options are what a tracker has to know of its target.
type Options struct {
	Interval  time.Duration // between two probes, or two bursts of them
	Burst     int           // probes in an interval; 0 means one
	Threshold time.Duration // the least length of an outage that is listed
	Retry     time.Duration // how far apart attempts to connect are; 0 for datagrams
	Bucket    time.Duration // the width of a bucket of the series
	Buckets   int           // how many there are at most; 0 means maxBuckets
}

// New returns the arithmetic of a target that nothing was sent to.
func New(o Options) *Tracker {
	each := max(o.Interval/time.Duration(max(o.Burst, 1)), 1)
	return &Tracker{
		opt:     o,
		sends:   newSendTimes(each),
		seen:    wire.NewWindow(int(min(max(seenTime/each, minSeen), maxSeen))),
		outages: outages{threshold: o.Threshold},
		rtt:     newRoundTrips(),
		series:  series{width: o.Bucket, limit: cmp.Or(o.Buckets, maxBuckets)},
	}
}

// Send notes that a probe is sent at an instant, after skipped slots in which
// watch was too late to send one, and returns its sequence number. A probe
// that could not be handed to the kernel counts as well, and as NotSent: the
// client wanted an answer then.
func (k *Tracker) Send(at time.Duration, skipped uint64) uint64 {
	seq := k.sends.add(at)
	k.skipped += skipped
	k.worst = max(k.worst, k.spacing(seq))
	k.series.addSent(at)
	if k.answered > 0 && seq == k.newest+1 && !k.due.suspended {
		k.expect()
	}
	return seq
}

// Sent notes when the sender was done with a probe. A sender that was kept from
// running until then may have sent it that late.
func (k *Tracker) Sent(seq uint64, at time.Duration) {
	k.sends.finish(seq, at)
	k.worst = max(k.worst, k.spacing(seq))
	if k.due.waiting && seq == k.newest+1 {
		k.expect()
	}
}

// Note counts an event.
func (k *Tracker) Note(e Event) { k.events[e]++; k.due.events[e]++ }

// Suspended notes that this machine was asleep: as before the first answer, nothing
// is due until the next one.
func (k *Tracker) Suspended() { k.due.waiting, k.due.suspended = false, true }

// SignOfLife notes a sign of life at an instant that does not answer a probe: the
// reflector requested a cookie with probe seq. An outage ends with it, and the next
// one may begin.
func (k *Tracker) SignOfLife(seq uint64, at time.Duration) {
	if !k.due.waiting {
		return
	}
	k.end(seq, at, 0)
	k.due.answered(at, 0)
	k.expect()
	k.due.missing = k.due.at // what was lost before belongs to what has ended
}

// Answer takes an answer that arrived at an instant; lateness bounds how much
// earlier it may really have come. Answers to probes that were never sent are
// ignored, duplicates are counted and otherwise ignored.
func (k *Tracker) Answer(p wire.Packet, at, lateness time.Duration) {
	if p.Seq == 0 || p.Seq > k.sends.last {
		return
	}
	if !k.seen.Add(p.Seq) {
		k.twice++
		return
	}
	sent, ok := k.sends.time(p.Seq)
	if !ok {
		sent = min(max(p.Sent, 0), at)
	}
	k.plain = k.plain || p.Kind == wire.Probe
	if k.answered == 0 {
		k.first, k.quickest = at, at-sent
	}
	k.end(p.Seq, at, lateness)
	k.record(sent, at)
	k.attribute(p, sent)
	k.newest = max(k.newest, p.Seq)
	k.due.answered(at, lateness)
	if k.due.suspended = false; k.Pending() > 0 {
		k.expect()
	}
}

// Overdue returns for how long an answer has been due, 0 when none is.
func (k *Tracker) Overdue(now time.Duration) time.Duration { return k.due.overdue(now) }

// LastSeq returns the number of the newest probe that was sent, 0 before the first.
func (k *Tracker) LastSeq() uint64 { return k.sends.last }

// Pending returns how many probes were sent after the newest answered one:
// whether and where they were lost is not known yet.
func (k *Tracker) Pending() uint64 { return k.sends.last - k.newest }

func (k *Tracker) spacing(seq uint64) time.Duration { return k.sends.spacing(seq, k.opt.Interval) }

func (k *Tracker) expect() { k.due.expect(&k.sends, k.newest+1, k.opt.Interval) }

// end judges the time between the previous answer and that to probe seq.
func (k *Tracker) end(seq uint64, at, lateness time.Duration) {
	if k.due.overdue(at) == 0 {
		return
	}
	if k.outages.add(k.due.silence(at, k.spacing(seq), lateness).outage(k.opt.Interval, k.opt.Retry)) {
		k.rtt.turn()
	}
}

// record counts an answer and its round trip. It is late when its probe was sent
// during an outage and was held up rather than lost: it took longer than the
// quickest one by more than the threshold.
func (k *Tracker) record(sent, at time.Duration) {
	k.quickest = min(k.quickest, at-sent)
	k.answered++
	longest := k.outages.longest
	k.rtt.add(at-sent, sent < longest.end && longest.length() > 0)
	k.series.addAnswer(at, at-sent)
	if at-sent-k.quickest <= k.opt.Threshold {
		return
	}
	if o := k.outages.during(sent, sent); o != nil {
		o.late++
		k.late++
	}
}

// attribute finds the direction of losses, and credits what this answer changed
// to the outage in which the lost probes were sent.
func (k *Tracker) attribute(p wire.Packet, sent time.Duration) {
	from := sent
	if p.Seq > k.newest {
		from, _ = k.sends.time(k.newest)
	}
	outBefore, backBefore := k.loss.totals()
	if p.Count > k.sends.last {
		p.Count = 0 // more than were sent: it is ignored
	}
	k.loss.add(p.Seq, p.Instance, p.Count)
	out, back := k.loss.totals()
	if out == outBefore && back == backBefore {
		return
	}
	if o := k.outages.during(from, sent); o != nil {
		o.out += int64(out - outBefore)
		o.back += int64(back - backBefore)
	}
}

// ongoing returns the outage that is still open at an instant: answers are
// overdue by more than the error. A target that never answered has been out
// since the run began.
func (k *Tracker) ongoing(now time.Duration) (outage, bool) {
	o := outage{end: now, err: max(k.opt.Interval, k.worst), events: k.due.events}
	if k.answered > 0 {
		if k.due.overdue(now) == 0 {
			return outage{}, false
		}
		o = k.due.silence(now, k.opt.Interval, 0).outage(k.opt.Interval, k.opt.Retry)
	}
	o.open = true
	return o, o.certain()
}

// until returns the outages up to an instant, with the one that is still open.
func (k *Tracker) until(now time.Duration) outages {
	all := k.outages
	if o, ok := k.ongoing(now); ok {
		all.list = slices.Clip(all.list) // the tracker's own list stays as it is
		all.add(o)
	}
	return all
}

// Acknowledge takes an acknowledgement that arrived at an instant as the answer to the newest probe that was sent
// before it.
func (k *Tracker) Acknowledge(at, lateness time.Duration) {
	seq := k.newest
	for next, ok := k.sends.time(seq + 1); ok && next <= at; next, ok = k.sends.time(seq + 1) {
		seq++
	}
	if seq > k.newest {
		k.Answer(wire.Packet{Kind: wire.Probe, Seq: seq}, at, lateness)
	}
}

// Event is something that happened to a probe or to the connection.
type Event int

// The events.
const (
	Refused     Event = iota // the service turned a probe down
	NotSent                  // the kernel did not take the newest probe
	Reset                    // the TCP connection was reset
	Reconnected              // a new TCP connection replaced an earlier one
	Abandoned                // a stalled TCP connection was given up for a newer one
	events
)

// counts is how often each event happened.
type counts [events]int

// due is when the next answer is due: as long after the last one as the next
// probe was sent after the newest answered one. Time in which watch itself did
// not send is thereby never counted as the service's silence.
type due struct {
	waiting   bool          // a probe after the newest answered one was sent
	suspended bool          // nothing is due until the next answer
	missing   time.Duration // when that probe was sent
	at        time.Duration // when its answer is due
	lead      time.Duration // between it and the one before, at most
	arrival   time.Duration // of the last answer
	lateness  time.Duration // how late that one was read, at most
	events    counts        // since that one
}

// answered notes an answer, or another sign of life: nothing is due until expect.
func (d *due) answered(at, lateness time.Duration) {
	*d = due{arrival: max(at, d.arrival), lateness: lateness, suspended: d.suspended}
}

// expect notes that the probe after the newest answered one was sent.
func (d *due) expect(sends *sendTimes, next uint64, interval time.Duration) {
	d.waiting = true
	d.lead = sends.spacing(next, interval)
	d.at = d.arrival + d.lead
	d.missing = d.at
	if sent, ok := sends.time(next); ok {
		d.missing = min(sent, d.at)
	}
}

// overdue returns for how long an answer has been due, 0 when none is.
func (d *due) overdue(now time.Duration) time.Duration {
	if !d.waiting {
		return 0
	}
	return max(now-d.at, 0)
}

// silence is what was seen since the answer was due, up to end.
func (d *due) silence(end, tail, lateness time.Duration) silence {
	return silence{
		missing: d.missing, start: d.at, end: end, lead: d.lead, tail: tail,
		lateness: max(d.lateness, lateness), events: d.events,
	}
}
