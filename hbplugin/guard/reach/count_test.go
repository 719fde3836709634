package reach

import "testing"

func TestCount(t *testing.T) {
	for rounds, want := range map[string]bool{
		"":             false,
		"+":            true,
		"-":            false,
		"+-":           false,
		"++-":          true,
		"++++++++":     true,
		"+++++---":     true,
		"++++----":     false,
		"----++++":     false,
		"---+++++":     true,
		"++++++++----": false,
		"--------++++": false,
		"+-+-+-++":     true,
	} {
		var c Count
		for _, r := range rounds {
			c.Add(r == '+')
		}
		if got := c.Reached(); got != want {
			t.Errorf("%q: %v", rounds, got)
		}
	}
}
