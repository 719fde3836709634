package outage

import (
	"math"
	"testing"
)

func TestLosses(t *testing.T) {
	type answer struct{ seq, instance, count uint64 }
	tests := map[string]struct {
		answers   []answer
		out, back uint64
		instances int
		changes   int
	}{
		"nothing":               {},
		"all there":             {[]answer{{1, 9, 1}, {2, 9, 2}, {3, 9, 3}}, 0, 0, 1, 0},
		"first ones lost":       {[]answer{{4, 9, 2}}, 2, 1, 1, 0},
		"lost out":              {[]answer{{1, 9, 1}, {5, 9, 2}}, 3, 0, 1, 0},
		"lost back":             {[]answer{{1, 9, 1}, {5, 9, 5}}, 0, 3, 1, 0},
		"lost both ways":        {[]answer{{1, 9, 1}, {5, 9, 3}}, 2, 1, 1, 0},
		"late answer":           {[]answer{{1, 9, 1}, {5, 9, 5}, {3, 9, 3}}, 0, 2, 1, 0},
		"reordered on its way":  {[]answer{{1, 9, 1}, {3, 9, 2}, {2, 9, 3}}, 0, 0, 1, 0},
		"reordered answer lost": {[]answer{{1, 9, 1}, {3, 9, 2}, {4, 9, 4}}, 0, 1, 1, 0},
		"restarted":             {[]answer{{1, 9, 1}, {2, 9, 2}, {10, 8, 1}, {11, 8, 2}}, 7, 0, 2, 1},
		"restarted, lost back":  {[]answer{{1, 9, 1}, {2, 9, 2}, {10, 8, 4}}, 4, 3, 2, 1},
		"late from before":      {[]answer{{1, 9, 1}, {5, 8, 1}, {3, 9, 3}, {6, 8, 2}}, 2, 0, 2, 1},
		"two copies in turn":    {[]answer{{1, 9, 1}, {2, 8, 1}, {3, 9, 2}, {4, 8, 2}}, 0, 0, 2, 3},
		"rolled back":           {[]answer{{5, 9, 5}, {6, 9, 2}, {8, 9, 3}}, 3, 2, 1, 0},
		"counts too many":       {[]answer{{1, 9, 1}, {5, 9, math.MaxUint64}}, 0, 3, 1, 0},
	}
	for name, tt := range tests {
		var l losses
		for _, a := range tt.answers {
			l.add(a.seq, a.instance, a.count)
		}
		out, back := l.totals()
		if out != tt.out || back != tt.back || l.instances() != tt.instances || l.changes != tt.changes {
			t.Errorf("%s: out %d back %d instances %d changes %d; want %d, %d, %d, %d",
				name, out, back, l.instances(), l.changes, tt.out, tt.back, tt.instances, tt.changes)
		}
	}
}
