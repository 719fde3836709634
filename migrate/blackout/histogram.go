package blackout

import (
	"math/bits"
	"time"
)

// histogramBits is the precision: a value is kept to one part in 64.
const histogramBits = 7

// histogram counts durations in buckets whose width grows with the value, so
// that percentiles of a run of any length need a fixed amount of memory.
type histogram struct {
	buckets [(64 - histogramBits + 2) << (histogramBits - 1)]uint64
	n       uint64
	max     time.Duration
}

// add counts d; negative durations count as zero.
func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucketOf(uint64(d))]++
	h.n++
	h.max = max(h.max, d)
}

// bucketOf maps values below 128 to themselves, and of the others keeps the
// leading seven bits.
func bucketOf(v uint64) int {
	shift := max(bits.Len64(v)-histogramBits, 0)
	return shift<<(histogramBits-1) + int(v>>shift)
}

// upperOf returns the largest value in bucket i.
func upperOf(i int) uint64 {
	const half = 1 << (histogramBits - 1)
	if i < 2*half {
		return uint64(i)
	}
	shift := i/half - 1
	return uint64(i-shift*half+1)<<shift - 1
}

// quantile returns the smallest value that at least the share q of all values
// do not exceed, rounded up to its bucket; 0 when there are none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := max(uint64(q*float64(h.n)+0.999999), 1)
	var sum uint64
	for i, n := range h.buckets {
		if sum += n; sum >= rank {
			return min(time.Duration(upperOf(i)), h.max)
		}
	}
	return h.max
}
