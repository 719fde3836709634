package wire

import (
	"math"
	"testing"
)

func TestWindow(t *testing.T) {
	type step struct {
		seq   uint64
		fresh bool
	}
	tests := map[string][]step{
		"in order":            {{1, true}, {2, true}, {3, true}},
		"duplicates":          {{1, true}, {1, false}, {2, true}, {1, false}, {2, false}},
		"reordered":           {{5, true}, {3, true}, {4, true}, {3, false}},
		"fell out":            {{1, true}, {65, true}, {1, false}, {2, true}, {2, false}},
		"ring is reused":      {{3, true}, {67, true}, {131, true}, {131, false}, {68, true}},
		"jump clears all":     {{10, true}, {1000, true}, {970, true}, {970, false}},
		"jump to the end":     {{1, true}, {math.MaxUint64, true}, {math.MaxUint64, false}},
		"jump by just a ring": {{1, true}, {65, true}, {65, false}, {64, true}},
	}
	for name, steps := range tests {
		w := NewWindow(64)
		for i, s := range steps {
			if got := w.Add(s.seq); got != s.fresh {
				t.Errorf("%s: step %d: add(%d) = %v, want %v", name, i, s.seq, got, s.fresh)
			}
		}
	}
}
