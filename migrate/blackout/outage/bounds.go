package outage

import "time"

// silence is a time in which an answer was due and none came, as it was seen.
type silence struct {
	missing    time.Duration // when the first probe without an answer was sent
	start, end time.Duration // when its answer was due, and when one came
	lead       time.Duration // between the last answered probe and the next, at most
	tail       time.Duration // between the probe that ended it and the one before, at most
	lateness   time.Duration // how late its two answers were read, at most
	events     counts        // what befell the TCP connection meanwhile
}

// outage works out how exactly a silence is known, and is the only place that does:
// each of its two ends is known to one spacing of probes, no better than the
// interval, and no better than the time stamps of the answers. One that a new
// connection ended may have ended earlier, by up to the time between two attempts.
func (s silence) outage(interval, retry time.Duration) outage {
	o := outage{from: s.missing, start: s.start, end: s.end, events: s.events}
	o.err = max(interval, s.lead, s.tail) + s.lateness
	if s.events[Reconnected] > 0 {
		o.err += retry
	}
	return o
}

// outage is a silence of the service, with its error.
type outage struct {
	from            time.Duration // when the first probe without an answer was sent
	start, end, err time.Duration
	out, back, late int64
	events          counts
	open            bool
}

func (o outage) length() time.Duration { return o.end - o.start }

// certain reports whether an outage is longer than its own error.
func (o outage) certain() bool { return o.length() > o.err }
