package history

import (
	"math"
	"slices"
)

// blend gives the last value as much weight as all before it, so that a link that was changed is
// known again after a few moves.
func blend(old, seen float64) float64 {
	if old <= 0 {
		return seen
	}
	return (old + seen) / 2
}

// recent is how many values count of what now and then takes many times as long, as when the node is busy.
const recent = 5

// latest are the recent ones of old, which it leaves as it is, and of seen.
func latest(old []float64, seen float64) []float64 {
	return slices.Concat(old[max(0, len(old)-recent+1):], []float64{seen})
}

// Median is the geometric mean of the two in the middle where there are two: how far a prediction is counts as a
// factor.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return math.Sqrt(sorted[(len(sorted)-1)/2] * sorted[len(sorted)/2])
}
