package outage

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/vmferry/vmferry/migrate/blackout/report"
)

const (
	// rttUnit is the resolution of round trips, maxRTT the longest: longer ones
	// count as that.
	rttUnit = 100 * time.Nanosecond
	maxRTT  = time.Hour
	// rttDigits keeps a round trip to one part in a hundred.
	rttDigits = 2
)

// roundTrips are the round trips of a run: before the longest outage so far,
// of the probes in it, and after it. They need a fixed amount of memory.
type roundTrips struct {
	before, during, after *hdrhistogram.Histogram
	newest, longest       time.Duration
}

func newRoundTrips() roundTrips {
	fresh := func() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(maxRTT/rttUnit), rttDigits) }
	return roundTrips{before: fresh(), during: fresh(), after: fresh()}
}

// add counts a round trip; held is true where its probe was sent before the
// longest outage ended. Negative ones count as zero.
func (r *roundTrips) add(d time.Duration, held bool) {
	r.newest, r.longest = d, max(r.longest, d)
	h := r.after
	if held {
		h = r.during
	}
	_ = h.RecordValue(int64(min(max(d, 0), maxRTT) / rttUnit)) // never out of range
}

// turn makes what was before what is now the longest outage.
func (r *roundTrips) turn() {
	r.before.Merge(r.during)
	r.before.Merge(r.after)
	r.during.Reset()
	r.after.Reset()
}

// report returns the round trips of the whole run, and those before and after
// the longest outage.
func (r *roundTrips) report() (all, before, after report.RTT) {
	sum := hdrhistogram.New(1, int64(maxRTT/rttUnit), rttDigits)
	for _, h := range []*hdrhistogram.Histogram{r.before, r.during, r.after} {
		sum.Merge(h)
	}
	return percentiles(sum), percentiles(r.before), percentiles(r.after)
}

// percentiles reads a histogram, in microseconds.
func percentiles(h *hdrhistogram.Histogram) report.RTT {
	if h.TotalCount() == 0 {
		return report.RTT{}
	}
	at := func(q float64) float64 {
		return report.Micros(time.Duration(min(h.ValueAtPercentile(q), h.Max())) * rttUnit)
	}
	return report.RTT{
		N: uint64(h.TotalCount()), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: at(100),
	}
}
