package outage

import (
	"cmp"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

const (
	// seenTime is for how long a probe can be told from a duplicate.
	seenTime = 1000 * time.Second
	minSeen  = 1 << 12
	maxSeen  = 1 << 20
	// maxOutages bounds the list of outages; later ones are only counted.
	maxOutages = 10000
)

// Tracker is the arithmetic of one target: it is told when probes were tried
// and when answers arrived, and knows the outages, losses and times. It opens
// no sockets and reads no clock: an instant is a duration since the run began.
// It is not safe for concurrent use.
//
// See the package comment for the definition of a blackout.
type Tracker struct {
	Options
	sends  sendTimes
	seen   wire.Window
	loss   losses
	rtt    roundTrips
	series series

	answered   uint64
	duplicates uint64
	late       uint64
	failed     uint64
	refused    uint64
	plain      bool // the service only echoes: nothing is known of directions
	skipped    uint64
	worst      time.Duration // widest spacing of tries

	first    time.Duration // of the first answer
	quickest time.Duration // shortest round trip
	newest   uint64        // newest answered probe
	arrival  time.Duration // of the last answer
	lateness time.Duration // of that arrival's time stamp

	waiting bool          // a probe after newest was tried
	missing time.Duration // when that probe was tried
	due     time.Duration // when its answer should have come
	lead    time.Duration // spacing of tries before due

	links linkCounts // over the whole run
	since linkCounts // since the last answer

	resting bool          // nothing is due until the next answer
	dark    time.Duration // length of all outages that count
	darkErr time.Duration

	longest outage
	outages []outage
	omitted int
	below   time.Duration // longest silence that the error swallowed
}

// linkCounts is what befell TCP connections.
type linkCounts struct{ resets, reconnects, abandoned int }

// outage is a silence of the service.
type outage struct {
	from            time.Duration // when the first probe without an answer was sent
	start, end, err time.Duration
	out, back, late int64
	links           linkCounts
	open            bool
}

func (o outage) length() time.Duration { return o.end - o.start }

// Options say what a tracker has to know of its target.
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
		Options: o,
		sends:   newSendTimes(each),
		seen:    wire.NewWindow(int(min(max(seenTime/each, minSeen), maxSeen))),
		rtt:     newRoundTrips(),
		series:  series{width: o.Bucket, limit: cmp.Or(o.Buckets, maxBuckets)},
	}
}

// Send notes that a probe is sent at an instant, after skipped slots in which
// watch was too late to send one, and returns its sequence number. A probe
// that could not be handed to the kernel counts as well, and as failed: the
// client wanted an answer then.
func (k *Tracker) Send(at time.Duration, skipped uint64) uint64 {
	seq := k.sends.add(at)
	k.skipped += skipped
	k.worst = max(k.worst, k.sends.spacing(seq, k.Interval))
	k.series.addSent(at)
	if k.answered > 0 && seq == k.newest+1 && !k.resting {
		k.expect()
	}
	return seq
}

// Sent notes when the sender was done with a probe. A sender that was kept from
// running until then may have sent it that late.
func (k *Tracker) Sent(seq uint64, at time.Duration) {
	k.sends.finish(seq, at)
	k.worst = max(k.worst, k.sends.spacing(seq, k.Interval))
	if k.waiting && seq == k.newest+1 {
		k.expect()
	}
}

// Rest notes that this machine was asleep: as before the first answer, nothing
// is due until the next one.
func (k *Tracker) Rest() { k.waiting, k.resting = false, true }

// SignOfLife notes a sign of life at an instant that does not answer a probe: the
// reflector requested a cookie with probe seq. An outage ends with it, and the next
// one may begin.
func (k *Tracker) SignOfLife(seq uint64, at time.Duration) {
	if !k.waiting {
		return
	}
	k.silence(seq, at, 0)
	k.arrival, k.lateness, k.since = max(at, k.arrival), 0, linkCounts{}
	k.expect()
	k.missing = k.due // what was lost before belongs to what has ended
}

// Refuse notes that the service turned a probe down.
func (k *Tracker) Refuse() { k.refused++ }

// Fail notes that the kernel did not take the newest probe.
func (k *Tracker) Fail() { k.failed++ }

// Reset notes that the TCP connection was reset.
func (k *Tracker) Reset() { k.links.resets++; k.since.resets++ }

// Reconnect notes that a new TCP connection replaced an earlier one.
func (k *Tracker) Reconnect() { k.links.reconnects++; k.since.reconnects++ }

// Abandon notes that a stalled TCP connection was given up for a newer one.
func (k *Tracker) Abandon() { k.links.abandoned++; k.since.abandoned++ }

// expect works out when the next answer is due: as long after the last one as
// the next probe was sent after the newest answered one. Time in which watch
// itself did not send is thereby never counted as the service's silence.
func (k *Tracker) expect() {
	k.waiting = true
	k.lead = k.sends.spacing(k.newest+1, k.Interval)
	k.due = k.arrival + k.lead
	k.missing = k.due
	if at, ok := k.sends.time(k.newest + 1); ok {
		k.missing = min(at, k.due)
	}
}

// Answer takes an answer that arrived at an instant; lateness bounds how much
// earlier it may really have come. Answers to probes that were never sent are
// ignored, duplicates are counted and otherwise ignored.
func (k *Tracker) Answer(p wire.Packet, at, lateness time.Duration) {
	if p.Seq == 0 || p.Seq > k.sends.last {
		return
	}
	if !k.seen.Add(p.Seq) {
		k.duplicates++
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
	k.silence(p.Seq, at, lateness)
	k.record(sent, at)
	k.tally(sent, at)
	k.settle(p, sent)
	k.newest = max(k.newest, p.Seq)
	k.arrival, k.lateness, k.since = max(at, k.arrival), lateness, linkCounts{}
	k.resting = false
	if k.waiting = false; k.newest < k.sends.last {
		k.expect()
	}
}

// record counts an answer and its round trip.
func (k *Tracker) record(sent, at time.Duration) {
	k.quickest = min(k.quickest, at-sent)
	k.answered++
	k.rtt.add(at-sent, sent < k.longest.end && k.longest.length() > 0)
	k.series.addAnswer(at, at-sent)
}

// tally counts an answer as late when its probe was sent during an outage and
// was held up rather than lost: it took longer than the quickest one by more
// than the threshold.
func (k *Tracker) tally(sent, at time.Duration) {
	if at-sent-k.quickest <= k.Threshold {
		return
	}
	if o := k.outageOf(sent, sent); o != nil {
		o.late++
		k.late++
	}
}

// outageOf returns the newest outage during which probes were sent between
// two instants, or nil.
func (k *Tracker) outageOf(from, to time.Duration) *outage {
	for i := len(k.outages) - 1; i >= 0 && k.outages[i].end >= from; i-- {
		if k.outages[i].from <= to {
			return &k.outages[i]
		}
	}
	return nil
}

// silence judges the time between the previous answer and this one.
func (k *Tracker) silence(seq uint64, at, lateness time.Duration) {
	if !k.waiting || at <= k.due {
		return
	}
	o := k.closing(at, k.sends.spacing(seq, k.Interval), lateness)
	if o.length() <= o.err {
		k.below = max(k.below, o.length())
		return
	}
	if o.length() > k.longest.length() {
		k.longest = o
		k.rtt.turn()
	}
	if o.length() < k.Threshold {
		return
	}
	k.dark, k.darkErr = k.dark+o.length(), k.darkErr+o.err
	if len(k.outages) == maxOutages {
		k.omitted++
		return
	}
	k.outages = append(k.outages, o)
}

// closing returns the outage from due to end, with its error: each of its two
// ends is known to one spacing of probes, and no better than the time stamps
// of the answers. One that a new connection ended may have ended earlier, by
// up to the time between two attempts.
func (k *Tracker) closing(end, spacing, lateness time.Duration) outage {
	o := outage{from: k.missing, start: k.due, end: end, links: k.since}
	o.err = max(k.Interval, k.lead, spacing) + max(k.lateness, lateness)
	if k.since.reconnects > 0 {
		o.err += k.Retry
	}
	return o
}

// settle finds the direction of losses, and credits what this answer changed
// to the outage in which the lost probes were sent.
func (k *Tracker) settle(p wire.Packet, sent time.Duration) {
	from := sent
	if p.Seq > k.newest {
		from, _ = k.sends.time(k.newest)
	}
	outBefore, backBefore := k.loss.totals()
	if p.Count > k.sends.last {
		p.Count = 0 // more than were sent: nothing is told
	}
	k.loss.add(p.Seq, p.Instance, p.Count)
	out, back := k.loss.totals()
	if out == outBefore && back == backBefore {
		return
	}
	if o := k.outageOf(from, sent); o != nil {
		o.out += int64(out - outBefore)
		o.back += int64(back - backBefore)
	}
}

// Overdue returns for how long an answer has been due, 0 when none is.
func (k *Tracker) Overdue(now time.Duration) time.Duration {
	if !k.waiting {
		return 0
	}
	return max(now-k.due, 0)
}

// ongoing returns the outage that is still open at an instant: answers are
// overdue by more than the error. A target that never answered has been out
// since the run began.
func (k *Tracker) ongoing(now time.Duration) (outage, bool) {
	o := outage{end: now, err: max(k.Interval, k.worst), links: k.since, open: true}
	if k.answered > 0 {
		if k.Overdue(now) == 0 {
			return outage{}, false
		}
		o = k.closing(now, k.Interval, 0)
		o.open = true
	}
	return o, o.length() > o.err
}

// LastSeq returns the number of the newest probe that was sent, 0 before the first.
func (k *Tracker) LastSeq() uint64 { return k.sends.last }

// Pending returns how many probes were sent after the newest answered one:
// nobody can tell yet whether and where they were lost.
func (k *Tracker) Pending() uint64 { return k.sends.last - k.newest }
