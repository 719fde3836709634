package torture

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

var twoNodes = []string{"node1", "node2"}

func plan(t *testing.T, r Request) []Fault {
	t.Helper()
	if r.Nodes == nil {
		r.Nodes = twoNodes
	}
	p, err := Plan(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlanFollowsFromItsSeed(t *testing.T) {
	for seed := range uint64(20) {
		whole := plan(t, Request{Seed: seed, Faults: 60, First: 1, Only: Kinds()})
		if again := plan(t, Request{Seed: seed, Faults: 60, First: 1, Only: Kinds()}); !reflect.DeepEqual(whole,
			again) {
			t.Fatalf("seed %d gives two plans", seed)
		}
		if fewer := plan(t, Request{Seed: seed, Faults: 25, First: 1, Only: Kinds()}); !reflect.DeepEqual(whole[:25],
			fewer) {
			t.Errorf("seed %d: 25 faults are not the first of 60", seed)
		}
		// Each episode can be repeated alone.
		for _, e := range Episodes(whole) {
			part := plan(t, Request{Seed: seed, Faults: len(e), First: e[0].Number, Only: Kinds()})
			if !reflect.DeepEqual(part, e) {
				t.Fatalf("seed %d, from fault %d: %v, want %v", seed, e[0].Number, part, e)
			}
		}
	}
	if reflect.DeepEqual(plan(t, Request{Seed: 1, Faults: 9, First: 1, Only: Kinds()}),
		plan(t, Request{Seed: 2, Faults: 9, First: 1, Only: Kinds()})) {
		t.Error("two seeds give one plan")
	}
}

// 20 faults have each kind more often than not, and 100 have it at least four times.
func TestPlanHasEachKind(t *testing.T) {
	const seeds = 200
	among := map[Kind]int{}
	for seed := range uint64(seeds) {
		counts := map[Kind]int{}
		for i, f := range plan(t, Request{Seed: seed, Faults: 100, First: 1, Only: Kinds()}) {
			counts[f.Kind]++
			if i < 20 {
				among[f.Kind]++
			}
		}
		for _, k := range Kinds() {
			if counts[k] < 4 {
				t.Errorf("seed %d: 100 faults have %d of %s", seed, counts[k], k)
			}
		}
	}
	for _, k := range Kinds() {
		if among[k] < seeds/2 {
			t.Errorf("20 faults have %s in %d of %d plans", k, among[k], seeds)
		}
	}
}

func TestPlanOfSomeKinds(t *testing.T) {
	nodes, overlaps := map[string]int{}, 0
	for i, f := range plan(t, Request{Seed: 5, Faults: 200, First: 1, Only: []Kind{Hang, Flapping, ClockStep}}) {
		nodes[f.Node]++
		if f.Overlaps {
			overlaps++
		}
		trait := f.Kind.trait()
		if f.Number != i+1 || f.Lasts < trait.least || f.Lasts > trait.most || f.Rest <= 0 || f.Rest > overlapMost {
			t.Errorf("%+v", f)
		}
		var sum time.Duration
		for _, part := range f.Flaps {
			sum += part
		}
		if f.Kind == Flapping && (sum != f.Lasts || len(f.Flaps)%2 != 1) {
			t.Errorf("%+v", f)
		}
		if (f.Kind == ClockStep) != (f.Step != 0) {
			t.Errorf("%+v", f)
		}
	}
	if len(nodes) != 2 || nodes["node1"] < 70 || nodes["node2"] < 70 || overlaps < 15 || overlaps > 50 {
		t.Errorf("nodes %v, %d overlaps", nodes, overlaps)
	}
}

func TestPlanRefuses(t *testing.T) {
	for _, r := range []Request{
		{Faults: 0, First: 1, Only: Kinds(), Nodes: twoNodes},
		{Faults: 1, First: 0, Only: Kinds(), Nodes: twoNodes},
		{Faults: 1, First: 1, Nodes: twoNodes},
		{Faults: 1, First: 1, Only: Kinds()},
	} {
		if p, err := Plan(r); err == nil {
			t.Errorf("%+v: %v", r, p)
		}
	}
}

func TestParseKinds(t *testing.T) {
	for list, want := range map[string][]Kind{"": Kinds(), "hang": {Hang}, "hang,crash": {Hang, Crash}} {
		if got, err := ParseKinds(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
	if _, err := ParseKinds("hang,fire"); err == nil ||
		!strings.Contains(err.Error(), `no fault "fire": use crash, hang,`) {
		t.Error(err)
	}
}

func TestEpisodes(t *testing.T) {
	faults := []Fault{{Number: 1}, {Number: 2, Overlaps: true}, {Number: 3}, {Number: 4}, {Number: 5, Overlaps: true}}
	var got []int
	for _, e := range Episodes(faults) {
		got = append(got, len(e))
	}
	if !slices.Equal(got, []int{2, 1, 2}) {
		t.Errorf("%v", got)
	}
}

func TestWithin(t *testing.T) {
	l := Limits{Guard: timing.Bounds{Crash: 10 * time.Second, Split: 15 * time.Second}, Boot: 8 * time.Second,
		Blip: 3 * time.Second, Restart: 20 * time.Second, Return: 40 * time.Second}
	long := 30 * time.Second
	for _, test := range []struct {
		name    string
		episode []Fault
		want    time.Duration
	}{
		{"a crash", []Fault{{Kind: Crash}}, 18 * time.Second},
		{"a hang, however long", []Fault{{Kind: Hang, Lasts: long}}, 18 * time.Second},
		{"a split", []Fault{{Kind: CutLink, Lasts: long}}, 23 * time.Second},
		{"a flapping link", []Fault{{Kind: Flapping, Lasts: long}}, 53 * time.Second},
		{"link and storage", []Fault{{Kind: CutLinkStorage, Lasts: long}}, 23 * time.Second},
		{"storage", []Fault{{Kind: CutStorage, Lasts: long}}, 48 * time.Second},
		{"the agent", []Fault{{Kind: KillAgent}}, 28 * time.Second},
		{"an orderly reboot", []Fault{{Kind: Reboot}}, 3 * time.Second},
		{"a guard process", []Fault{{Kind: KillPair}}, 3 * time.Second},
		{"one after the other", []Fault{{Kind: Crash, Node: "a"}, {Kind: KillGuard, Node: "b", Rest: 2 * time.Second}},
			21 * time.Second},
		{"long after the other", []Fault{{Kind: Move, Node: "a"}, {Kind: Crash, Node: "b", Rest: 10 * time.Second}},
			28 * time.Second},
		{"both nodes", []Fault{{Kind: Crash, Node: "a"}, {Kind: Hang, Node: "b", Lasts: long}}, 106 * time.Second},
		{"one node twice", []Fault{{Kind: Crash, Node: "a"}, {Kind: Hang, Node: "a", Lasts: long}}, 36 * time.Second},
	} {
		if got := l.Within(test.episode); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestWritePlan(t *testing.T) {
	var text strings.Builder
	faults := []Fault{
		{Number: 7, Kind: Hang, Node: "node1", Lasts: 2 * time.Second, Rest: time.Second},
		{Number: 8, Kind: ClockStep, Node: "node2", Lasts: time.Second, Step: -time.Hour, Rest: time.Second,
			Overlaps: true},
	}
	if err := WritePlan(&text, faults, Limits{Boot: 5 * time.Second, Blip: time.Second}); err != nil {
		t.Fatal(err)
	}
	const want = `7: hang of node1 for 2s, 1s after the recovery
8: clock-step of node2 for 1s by -1h0m0s, 1s after the begin of fault 7
    then all guests answer within 6s
`
	if text.String() != want {
		t.Errorf("got\n%s", text.String())
	}
}
