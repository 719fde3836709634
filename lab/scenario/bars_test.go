package scenario

import "testing"

func TestMaxWriting(t *testing.T) {
	twice := []Copy{qemuCopy("node1", 0, 60), qemuCopy("node2", 20, 0)}
	bar := func(node string, from, to int) Bar {
		b := Bar{Node: node, From: clock(from)}
		if to > 0 {
			b.To = clock(to)
		}
		return b
	}
	for _, test := range []struct {
		name  string
		bars  []Bar
		since int
		want  int
	}{
		{"no bar", nil, 0, 2},
		{"a bar over the second copy", []Bar{bar("node1", 10, 60)}, 0, 1},
		{"one that lasts", []Bar{bar("node1", 10, 0)}, 0, 1},
		{"hung, revoked before it woke", []Bar{bar("node1", 10, 40), bar("node1", 30, 0)}, 0, 1},
		{"hung, and woken before the revocation", []Bar{bar("node1", 10, 40), bar("node1", 41, 0)}, 0, 2},
		{"a bar that begins too late", []Bar{bar("node1", 21, 60)}, 0, 2},
		{"a bar at the other node", []Bar{bar("node2", 10, 60)}, 0, 1},
		{"one that ends early there", []Bar{bar("node2", 10, 59)}, 0, 2},
		{"both, a while ago", nil, 60, 1},
		{"both, still", nil, 59, 2},
		{"before all", nil, -5, 2},
		{"a bar at a third node", []Bar{bar("node3", 0, 0)}, 0, 2},
	} {
		if got := MaxWriting("vm1", twice, nil, test.bars, clock(test.since)); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}
