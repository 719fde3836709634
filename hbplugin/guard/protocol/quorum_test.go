package protocol

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
)

// nodes are several that hold their leases and see each other; each measures what here says.
func nodes(t *testing.T, here ...Here) (all []*node) {
	for i := range here {
		var others []int
		for j := range here {
			if j != i {
				others = append(others, j+1)
			}
		}
		n := newNode(t, i+1, Policy{}, others...)
		n.Measured(here[i])
		for _, other := range others {
			n.Member(other, true)
		}
		n.now += 5 * second
		if err := n.Open(n.now); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	for range 2 {
		meet(all)
	}
	for _, n := range all {
		n.is(Held)
	}
	return all
}

// meet carries slots and claims between all, without delay.
func meet(all []*node) {
	for _, from := range all {
		s, renewed := from.Renewal(from.now)
		if renewed {
			from.Renewed(s, from.now, from.now)
		}
		o := from.Step(from.now)
		from.verdicts = append(from.verdicts, o.Verdicts...)
		for _, c := range o.Claims {
			from.ClaimWritten(c)
		}
		for _, to := range all {
			if to == from {
				continue
			}
			if renewed {
				to.Slot(s, to.now, to.now)
			}
			for _, c := range o.Claims {
				if c.Target == to.slot.Node {
					to.Claim(c)
				}
			}
		}
	}
}

// loses has these nodes not see each other any more; the first of each pair has noticed it.
func loses(all []*node, pairs ...[2]int) {
	for _, pair := range pairs {
		all[pair[0]-1].Member(pair[1], false)
	}
}

func TestQuorum(t *testing.T) {
	best := Here{Reached: 9, Guests: 9}
	split := [][2]int{{1, 3}, {2, 3}, {3, 1}, {3, 2}}
	halves := [][2]int{{1, 3}, {1, 4}, {2, 3}, {2, 4}, {3, 1}, {3, 2}, {4, 1}, {4, 2}}
	for name, test := range map[string]struct {
		here  []Here
		lost  [][2]int
		calls [][2]int
		want  string // which nodes hold their lease in the end
	}{
		"two against one": {[]Here{{}, {}, best}, split, [][2]int{{1, 3}}, "1 2"},
		"two against one, which has not noticed": {
			[]Here{{}, {}, best}, split[:2], [][2]int{{1, 3}}, "1 2"},
		"two against one, which has noticed half": {
			[]Here{{}, {}, best}, split[:3], [][2]int{{2, 3}}, "1 2"},
		"the one asks too":   {[]Here{{}, {}, best}, split, [][2]int{{3, 1}, {3, 2}, {1, 3}}, "1 2"},
		"the one asks alone": {[]Here{{}, {}, best}, split, [][2]int{{3, 1}, {3, 2}}, "1 2 3"},
		"nobody asks":        {[]Here{{}, {}, best}, split, nil, "1 2 3"},
		"halves, more reached": {[]Here{{}, best, {Reached: 10}, {}}, halves,
			[][2]int{{1, 3}, {1, 4}, {3, 1}, {3, 2}}, "3 4"},
		"halves, more guests": {[]Here{{Guests: 2}, {Guests: 2}, {Guests: 3}, {}}, halves,
			[][2]int{{2, 3}, {2, 4}, {4, 1}, {4, 2}}, "1 2"},
		"halves, alike": {make([]Here, 4), halves, [][2]int{{1, 3}, {1, 4}, {3, 1}, {3, 2}}, "1 2"},
		"three against two": {[]Here{best, best, {}, {}, {}},
			[][2]int{{1, 3}, {1, 4}, {1, 5}, {2, 3}, {2, 4}, {2, 5}, {3, 1}, {3, 2}, {4, 1}, {4, 2}, {5, 1}, {5, 2}},
			[][2]int{{1, 3}, {3, 1}, {3, 2}}, "3 4 5"},
	} {
		all := nodes(t, test.here...)
		loses(all, test.lost...)
		for _, c := range test.calls {
			n := all[c[0]-1]
			n.Fence(c[1], n.now, n.now+20*second)
		}
		for range 8 {
			meet(all)
		}
		var held []string
		for i, n := range all {
			if phase, _ := n.Phase(); phase == Held {
				held = append(held, fmt.Sprint(i+1))
			}
		}
		if got := strings.Join(held, " "); got != test.want {
			t.Errorf("%s: nodes %s hold their lease, want %s", name, got, test.want)
		}
	}
}

func TestNoQuorumNoFencing(t *testing.T) {
	all := nodes(t, Here{}, Here{}, Here{})
	loses(all, [2]int{3, 1}, [2]int{3, 2})
	n := all[2]
	n.Fence(1, n.now, n.now+20*second)
	n.Slot(lease.Slot{Node: 1, Generation: 1, Counter: 99, State: lease.Surrendered}, n.now, n.now)
	if o := n.Step(n.now); len(o.Verdicts) != 1 || o.Verdicts[0].Fenced ||
		!strings.Contains(o.Verdicts[0].Evidence, "no quorum: it sees 1 of 3 nodes") {
		t.Errorf("%+v", o.Verdicts)
	}
}
