package utilization

import (
	"maps"
	"strings"
	"testing"
)

// simulated is what Pacemaker 3.0.0 writes, with a line of its log before it.
const simulated = `error: Resource start-up disabled since no STONITH resources have been defined

Utilization Information:
  * Original: n1 capacity: cpu=2 hv_memory=0
  * Original: n2 capacity:
  * pcmk__assign_resource: a utilization on n2: cpu=1 host_memory=32 hv_memory=32
  * pcmk__assign_resource: b utilization on n1:
  * Remaining: n1 capacity: cpu=2 hv_memory=0
  * Remaining: n2 capacity: cpu=-1 host_memory=-32 hv_memory=-32
`

func TestParseCapacity(t *testing.T) {
	for _, c := range []struct {
		text, node, resource string
		want                 capacity
		fails                bool
	}{
		{simulated, "n1", "b", capacity{true, parseValues("cpu=2 hv_memory=0"), parseValues("cpu=2 hv_memory=0"),
			parseValues(""), ""}, false},
		{simulated, "n1", "a", capacity{false, parseValues("cpu=2 hv_memory=0"), parseValues("cpu=2 hv_memory=0"),
			parseValues(""), ""}, false},
		{simulated, "n2", "a", capacity{true, parseValues(""), parseValues("cpu=-1 host_memory=-32 hv_memory=-32"),
			parseValues("cpu=1 host_memory=32 hv_memory=32"), ""}, false},
		{strings.ReplaceAll(simulated, "  * ", ""), "N2", "a",
			capacity{true, parseValues(""), parseValues("cpu=-1 host_memory=-32 hv_memory=-32"),
				parseValues("cpu=1 host_memory=32 hv_memory=32"), ""}, false},
		{simulated, "n3", "a", capacity{}, true},
		{"", "n1", "a", capacity{}, true},
		{"Original: n1 capacity: cpu=2\n", "n1", "a", capacity{}, true},
	} {
		got, err := parseCapacity(c.text, c.node, c.resource)
		if (err != nil) != c.fails {
			t.Errorf("%s on %s: %v", c.resource, c.node, err)
		}
		same := got.placed == c.want.placed && maps.Equal(got.total, c.want.total) &&
			maps.Equal(got.left, c.want.left) && maps.Equal(got.mine, c.want.mine)
		if err == nil && !same {
			t.Errorf("%s on %s: %+v, want %+v", c.resource, c.node, got, c.want)
		}
	}
}

func FuzzParseCapacity(f *testing.F) {
	f.Add(simulated, "n1", "a")
	f.Fuzz(func(t *testing.T, text, node, resource string) {
		c, err := parseCapacity(text, node, resource)
		if err == nil && (c.total == nil || c.left == nil || c.mine == nil) {
			t.Errorf("parsed %+v", c)
		}
	})
}

func TestCapacityAllows(t *testing.T) {
	values := parseValues
	for _, c := range []struct {
		name              string
		total, left, mine string
		value             int64
		strategy          string
		want              bool
	}{
		{"the node has none", "hv_memory=0", "hv_memory=0", "", 32, "balanced", false},
		{"the node does not have it", "", "", "", 32, "balanced", false},
		{"there is room", "hv_memory=64", "hv_memory=32", "", 32, "balanced", true},
		{"others took it", "hv_memory=64", "hv_memory=31", "", 32, "utilization", false},
		{"what it has is its own", "hv_memory=64", "hv_memory=0", "hv_memory=64", 64, "minimal", true},
		{"it grows", "hv_memory=64", "hv_memory=0", "hv_memory=32", 33, "minimal", false},
		{"it shrinks", "hv_memory=64", "hv_memory=0", "hv_memory=64", 32, "minimal", true},
		{"overcommitted already", "hv_memory=64", "hv_memory=-32", "hv_memory=32", 32, "balanced", false},
		{"not heeded, not told", "", "", "", 32, "default", true},
		{"not heeded, others took it", "hv_memory=64", "hv_memory=0", "", 32, "default", true},
		{"not heeded, never fits", "hv_memory=0", "hv_memory=0", "", 32, "default", false},
		{"the strategy is not set", "hv_memory=0", "hv_memory=0", "", 32, "", false},
	} {
		got := capacity{true, values(c.total), values(c.left), values(c.mine), ""}.allows("hv_memory", c.value, c.strategy)
		if got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
