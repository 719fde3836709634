package outage

import (
	"math"
	"time"
)

// maxBuckets bounds a series, and allBuckets those of all targets together. At
// the limit neighbours are merged and the bucket width doubles: 10 ms for the
// first 10 minutes, 20 ms up to 20, …
const (
	maxBuckets = 60000
	allBuckets = 32 * maxBuckets
)

// Buckets is how many buckets each of some targets may have.
func Buckets(targets int) int { return min(maxBuckets, allBuckets/targets) }

// series is the time line of a run in buckets of equal width.
type series struct {
	width    time.Duration
	limit    int
	sent     []uint32
	answered []uint32
	rttMax   []uint32 // microseconds
}

// addSent counts one probe by the time it was sent.
func (s *series) addSent(at time.Duration) { s.sent[s.bucket(at)]++ }

// addAnswer counts one answer by the time it arrived.
func (s *series) addAnswer(at, rtt time.Duration) {
	i := s.bucket(at)
	s.answered[i]++
	us := uint32(min(rtt.Microseconds(), math.MaxUint32))
	s.rttMax[i] = max(s.rttMax[i], us)
}

// bucket returns the bucket of an instant, making room for it.
func (s *series) bucket(at time.Duration) int {
	at = max(at, 0)
	for int64(at/s.width) >= int64(s.limit) {
		s.double()
	}
	i := int(at / s.width)
	if grow := i + 1 - len(s.sent); grow > 0 {
		s.sent = append(s.sent, make([]uint32, grow)...)
		s.answered = append(s.answered, make([]uint32, grow)...)
		s.rttMax = append(s.rttMax, make([]uint32, grow)...)
	}
	return i
}

// double merges every two neighbours.
func (s *series) double() {
	s.width *= 2
	sum := func(a, b uint32) uint32 { return a + b }
	s.sent = mergePairs(s.sent, sum)
	s.answered = mergePairs(s.answered, sum)
	s.rttMax = mergePairs(s.rttMax, func(a, b uint32) uint32 { return max(a, b) })
}

func mergePairs(b []uint32, merge func(a, b uint32) uint32) []uint32 {
	for i := 0; i < len(b); i += 2 {
		v := b[i]
		if i+1 < len(b) {
			v = merge(v, b[i+1])
		}
		b[i/2] = v
	}
	return b[:(len(b)+1)/2]
}
