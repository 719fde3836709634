package outage

import "time"

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
