package report

import (
	"math"
	"slices"
	"time"
)

// lane is one strip of the plot: one guest over one protocol.
type lane struct {
	guest, proto      string
	blackoutMS        float64
	blackoutAt        time.Time
	open              bool
	errorMS           float64
	series            *Series
	sent, lost, reset uint64
}

// lanes are the strips of a scenario that have something to draw, in the order
// of the guests, UDP before TCP.
func (s *Scenario) lanes() []lane {
	var out []lane
	for _, g := range s.Guests {
		if u := g.UDP; u != nil && u.Series.drawable() {
			out = append(out, lane{guest: g.Guest, proto: "UDP", blackoutMS: u.BlackoutMS, blackoutAt: u.BlackoutAt,
				open: u.Open, errorMS: u.ErrorMS, series: u.Series, sent: u.Sent, lost: u.LostOut + u.LostBack})
		}
		if t := g.TCP; t != nil && t.Series.drawable() {
			out = append(out, lane{guest: g.Guest, proto: "TCP", blackoutMS: t.BlackoutMS, blackoutAt: t.BlackoutAt,
				open: t.Open, errorMS: t.ErrorMS, series: t.Series, reset: t.Resets})
		}
	}
	return out
}

// drawable reports whether there is anything to draw.
func (s *Series) drawable() bool {
	return s != nil && s.BucketMS > 0 && !math.IsInf(s.BucketMS, 0) && s.len() > 0
}

// len is the number of buckets.
func (s *Series) len() int { return max(len(s.Sent), len(s.Answered), len(s.RTTMaxUS)) }

// at is element i of v, 0 behind its end.
func at(v []uint32, i int) uint32 {
	if i < len(v) {
		return v[i]
	}
	return 0
}

// span is a stretch of buckets, from inclusive, to exclusive.
type span struct{ from, to int }

func (s span) len() int { return s.to - s.from }

// silence is how many probes must have been sent in a stretch without answers
// for it to be drawn as an outage. One lost datagram is a loss, and a bucket
// whose answer came in the next one is neither.
const silence = 3

// outages finds the stretches in which at least probes probes were sent and no
// answer came. A bucket in which nothing was sent and nothing came says nothing:
// it belongs to an outage when it lies within one, and neither begins nor ends one.
func (s *Series) outages(probes int) []span {
	var out []span
	var cur span
	unanswered := 0
	end := func() {
		if unanswered >= probes {
			out = append(out, cur)
		}
		unanswered = 0
	}
	for i := range s.len() {
		switch sent := int(at(s.Sent, i)); {
		case at(s.Answered, i) > 0:
			end()
		case sent == 0:
		case unanswered == 0:
			cur, unanswered = span{i, i + 1}, sent
		default:
			cur.to, unanswered = i+1, unanswered+sent
		}
	}
	end()
	return out
}

// realignReach is how many buckets back realign looks at the most.
const realignReach = 200

// realign counts each answer where its probe was sent, as far as that is
// known: the probe counts answers when they arrive, which is often one bucket
// later, and what is on its way is not lost. A bucket's surplus goes to buckets
// before it that miss answers, no further back than its longest round trip and
// realignReach. The outages keep their silence.
func (s *Series) realign(outages []span) *Series {
	answered := make([]uint32, s.len())
	quiet := make([]bool, s.len())
	for _, o := range outages {
		for i := o.from; i < o.to; i++ {
			quiet[i] = true
		}
	}
	for i := range answered {
		answered[i] = at(s.Answered, i)
		back := int(min(realignReach, math.Ceil(float64(at(s.RTTMaxUS, i))/1000/s.BucketMS)))
		for j := max(0, i-back); j < i && answered[i] > at(s.Sent, i); j++ {
			if missing := at(s.Sent, j); !quiet[j] && missing > answered[j] {
				n := min(missing-answered[j], answered[i]-at(s.Sent, i))
				answered[j], answered[i] = answered[j]+n, answered[i]-n
			}
		}
	}
	return &Series{Start: s.Start, BucketMS: s.BucketMS, Sent: s.Sent, Answered: answered, RTTMaxUS: s.RTTMaxUS}
}

// longest is the longest span, the first one of equals.
func longest(spans []span) (span, bool) {
	if len(spans) == 0 {
		return span{}, false
	}
	return slices.MaxFunc(spans, func(a, b span) int { return a.len() - b.len() }), true
}

// band is a stretch of time in milliseconds from the beginning of the series.
type band struct{ at, length float64 }

// blackout places the measured blackout on the lane's series. The probe's own
// report comes first; without one it is the longest outage of the series, and
// where every probe was answered in the end (TCP sends again) it is the time
// that the slowest answer took.
func (l *lane) blackout() (band, bool) {
	s := l.series
	if l.blackoutMS <= 0 {
		return band{}, false
	}
	if !l.blackoutAt.IsZero() {
		return band{ms(l.blackoutAt.Sub(s.Start)), l.blackoutMS}, true
	}
	if o, ok := longest(s.outages(1)); ok {
		return band{float64(o.from) * s.BucketMS, l.blackoutMS}, true
	}
	if len(s.RTTMaxUS) == 0 {
		return band{}, false
	}
	slowest := slices.Index(s.RTTMaxUS, slices.Max(s.RTTMaxUS))
	return band{float64(slowest) * s.BucketMS, l.blackoutMS}, true
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// thinning is how many buckets the page must merge into one, away from the
// outages, to stay within budget buckets.
func thinning(total, budget int) int { return max(1, (total+budget-1)/budget) }

// piece is a stretch of a series on the page: every stride buckets make one
// point.
type piece struct {
	span
	stride int
}

// pieces cuts n buckets so that the stretches in keep stay as fine as they are
// and stride buckets become one elsewhere. keep is sorted here and may overlap.
func pieces(n int, keep []span, stride int) []piece {
	if stride <= 1 {
		return []piece{{span{0, n}, 1}}
	}
	slices.SortFunc(keep, func(a, b span) int { return a.from - b.from })
	var out []piece
	next := 0
	add := func(to, stride int) {
		if to = min(to, n); to > next {
			out = append(out, piece{span{next, to}, stride})
			next = to
		}
	}
	for _, k := range keep {
		add(k.from, stride)
		add(k.to, 1)
	}
	add(n, stride)
	return out
}

// merge adds the buckets of a piece up, stride at a time: sums of what was sent
// and answered, the largest of the round trips.
func (s *Series) merge(p piece) (sent, answered, rtt []uint32) {
	for i := p.from; i < p.to; i += p.stride {
		var a, b, c uint32
		for j := i; j < min(i+p.stride, p.to); j++ {
			a += at(s.Sent, j)
			b += at(s.Answered, j)
			c = max(c, at(s.RTTMaxUS, j))
		}
		sent, answered, rtt = append(sent, a), append(answered, b), append(rtt, c)
	}
	return sent, answered, rtt
}
