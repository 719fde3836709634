package outage

import (
	"testing"
	"time"
)

// A silence is known to the wider of the spacings at its two ends, and no better than its answers were read.
func TestBounds(t *testing.T) {
	const ms = time.Millisecond
	const interval, retry = ms, 100 * ms
	for name, test := range map[string]struct {
		silence
		length, err time.Duration
		certain     bool
	}{
		"as regular as it gets": {silence{start: 4 * ms, end: 11 * ms, lead: ms, tail: ms}, 7 * ms, ms, true},
		"the sender paused before it": {silence{start: 4 * ms, end: 11 * ms, lead: 3 * ms, tail: ms}, 7 * ms, 3 * ms,
			true},
		"the sender paused at its end": {silence{start: 4 * ms, end: 18 * ms, lead: ms, tail: 6 * ms}, 14 * ms, 6 * ms,
			true},
		"spacings below the interval": {silence{start: 4 * ms, end: 11 * ms}, 7 * ms, ms, true},
		"its answers were read late": {silence{start: 4 * ms, end: 11 * ms, lead: ms, tail: ms, lateness: 2 * ms},
			7 * ms, 3 * ms, true},
		"a new connection ended it": {silence{start: 0, end: 299 * ms, lead: ms, tail: ms,
			events: counts{Reconnected: 1}}, 299 * ms, 101 * ms, true},
		"a reset alone changes nothing": {silence{start: 0, end: 299 * ms, lead: ms, tail: ms,
			events: counts{Reset: 1}}, 299 * ms, ms, true},
		"no longer than its error":       {silence{start: 4 * ms, end: 5 * ms, lead: ms, tail: ms}, ms, ms, false},
		"longer than it by a nanosecond": {silence{start: 4 * ms, end: 5*ms + 1, lead: ms, tail: ms}, ms + 1, ms, true},
	} {
		o := test.outage(interval, retry)
		if o.length() != test.length || o.err != test.err || o.certain() != test.certain {
			t.Errorf("%s: %s ± %s, certain: %v; want %s ± %s, %v", name, o.length(), o.err, o.certain(), test.length,
				test.err, test.certain)
		}
	}
}
