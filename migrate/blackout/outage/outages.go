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
