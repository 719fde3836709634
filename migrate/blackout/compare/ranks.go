package compare

import (
	"math"
	"slices"
)

// maxExact bounds the product of both sides' sizes up to which the exact
// distribution is counted out.
const maxExact = 2500

// MannWhitney returns U of the first sample, which is how many pairs have the
// first value larger (a tie is a half), and the two-sided p. Without values on
// either side p is 1. The samples are not changed.
func MannWhitney(a, b []float64) (u, p float64) {
	if len(a) == 0 || len(b) == 0 {
		return 0, 1
	}
	ties := false
	for _, x := range a {
		for _, y := range b {
			switch {
			case x > y:
				u++
			case x == y:
				u += 0.5
				ties = true
			}
		}
	}
	if !ties && len(a)*len(b) <= maxExact {
		return u, exact(len(a), len(b), int(u))
	}
	return u, normal(a, b, u)
}

// exact is the share of all orders of m and n values whose U is as far from the
// middle as u. The number of orders with each U comes from the recurrence over
// the largest value, which belongs to one side or to the other.
func exact(m, n, u int) float64 {
	ways := make([][]float64, n+1) // [j][u] for i of the first side
	for j := range ways {
		ways[j] = make([]float64, m*n+1)
		ways[j][0] = 1
	}
	for i := 1; i <= m; i++ {
		for j := 1; j <= n; j++ {
			for v := m * n; v >= 0; v-- { // from i-1 to i, in place
				w := ways[j-1][v]
				if v >= j {
					w += ways[j][v-j]
				}
				ways[j][v] = w
			}
		}
	}
	var all, far float64
	edge := min(u, m*n-u)
	for v, w := range ways[n] {
		all += w
		if v <= edge || v >= m*n-edge {
			far += w
		}
	}
	return min(far/all, 1)
}

// normal is the approximation for many values, corrected for ties and for
// continuity.
func normal(a, b []float64, u float64) float64 {
	m, n := float64(len(a)), float64(len(b))
	all := slices.Concat(a, b)
	slices.Sort(all)
	var ties float64
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j] == all[i] {
			j++
		}
		t := float64(j - i)
		ties += t*t*t - t
		i = j
	}
	variance := m * n / 12 * (m + n + 1 - ties/((m+n)*(m+n-1)))
	if variance <= 0 {
		return 1
	}
	z := max(math.Abs(u-m*n/2)-0.5, 0) / math.Sqrt(variance)
	return math.Erfc(z / math.Sqrt2)
}

// quantile interpolates in sorted values, which are not empty.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}
