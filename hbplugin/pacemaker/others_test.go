package pacemaker

import (
	"slices"
	"testing"
)

// Where a start fails, only a node is left that the scheduler may choose then.
func TestOthers(t *testing.T) {
	for name, want := range map[string][][]string{
		"live-three":        {{"n3"}, {"n2"}}, // a goes to n2, b to n3
		"three-nodes-mixed": {nil, nil},       // n2 is in standby, and n3 is forbidden to a
	} {
		s := &scheduler{t: t, name: name}
		said, err := s.client().Forecast(t.Context())
		if err != nil || len(said) != len(want) {
			t.Fatalf("%s: %+v, %v", name, said, err)
		}
		for i, v := range said {
			if !slices.Equal(v.Others, want[i]) {
				t.Errorf("%s: %s to %q: others %q, want %q", name, v.Resource, v.To, v.Others, want[i])
			}
		}
	}
}
