package outage

import "time"

// maxOutages bounds the list of outages; later ones are only counted.
const maxOutages = 10000

// outages are those of a run.
type outages struct {
	threshold     time.Duration // the least length of one that is listed
	list          []outage
	omitted       int
	longest       outage        // listed or not
	dark, darkErr time.Duration // the length of all that are listed or omitted
	below         time.Duration // the longest silence that its error swallowed
}

// add takes one, and reports whether it is the longest so far.
func (s *outages) add(o outage) (longest bool) {
	if !o.certain() {
		s.below = max(s.below, o.length())
		return false
	}
	if longest = o.length() > s.longest.length(); longest {
		s.longest = o
	}
	if o.length() < s.threshold {
		return longest
	}
	s.dark, s.darkErr = s.dark+o.length(), s.darkErr+o.err
	if len(s.list) >= maxOutages && !o.open {
		s.omitted++
		return longest
	}
	s.list = append(s.list, o)
	return longest
}

// during returns the newest one during which probes were sent between two instants,
// or nil.
func (s *outages) during(from, to time.Duration) *outage {
	for i := len(s.list) - 1; i >= 0 && s.list[i].end >= from; i-- {
		if s.list[i].from <= to {
			return &s.list[i]
		}
	}
	return nil
}

// silence is a time in which an answer was due and none came, as it was seen.
type silence struct {
	missing    time.Duration // when the first probe without an answer was sent
	start, end time.Duration // when its answer was due, and when one came
	lead       time.Duration // between the last answered probe and the next, at most
	tail       time.Duration // between the probe that ended it and the one before, at most
	lateness   time.Duration // how late its two answers were read, at most
	events     counts        // what happened to the TCP connection meanwhile
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
