package drain

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/predict"
)

// oneLink carries a GB per second; a slot costs half a second before and 200 ms after.
func oneLink(window time.Duration) Node {
	return Node{Window: window, Links: []Link{{Name: "lan", Rate: gb, Setup: 500 * ms, Teardown: 200 * ms}}}
}

// idle writes nothing: it bears any company.
func idle(name string, gigabytes uint64) Guest {
	return Guest{Name: name, Load: predict.Load{Memory: gigabytes * gb}}
}

// tight writes the same 100 MB again and again, and its budget is just what they need alone.
func tight(name string, gigabytes uint64) Guest {
	return Guest{Name: name, Load: predict.Load{Memory: gigabytes * gb, DirtyRate: 2 * gb, WorkingSet: 100 * mb,
		Limit: 100 * ms, Budget: 110 * ms}}
}

func with(g Guest, changes ...func(*Guest)) Guest {
	for _, change := range changes {
		change(&g)
	}
	return g
}

func prio(p int) func(*Guest)             { return func(g *Guest) { g.Priority = p } }
func rungs(m ...ladder.Rung) func(*Guest) { return func(g *Guest) { g.Ladder = m } }
func onLink(name string) func(*Guest)     { return func(g *Guest) { g.Link = name } }

// short tells a step in one line: what is done with whom, and Start, Copy, Free in seconds.
func short(s Step) string {
	if !s.IsLive() {
		return fmt.Sprintf("%s %s by %g", s.Guest, s.Rung, s.Start.Seconds())
	}
	return fmt.Sprintf("%s %s %s/%d %g %g %g", s.Guest, s.Rung, s.Link, s.Lane, s.Start.Seconds(), s.Copy.Seconds(),
		s.Free.Seconds())
}

var planCases = []struct {
	name   string
	node   Node
	guests []Guest
	want   []string
	span   time.Duration
}{
	{"nobody", oneLink(0), nil, nil, 0},
	{"one after the other, set up while the one before copies",
		oneLink(0), []Guest{idle("a", 1), idle("b", 4), idle("c", 2)},
		[]string{"b live lan/0 0 0.5 4.5", "c live lan/0 4 4.5 6.5", "a live lan/0 6 6.5 7.5"}, 7700 * ms},
	{"a guest that bears no company waits, and is waited for",
		oneLink(0), []Guest{idle("a", 4), tight("t", 1), idle("b", 2)},
		[]string{"t live lan/0 0 0.5 1.6", "a live lan/0 1.6 2.1 6.1", "b live lan/0 5.6 6.1 8.1"}, 8300 * ms},
	{"priority goes before length",
		oneLink(0), []Guest{idle("big", 9), with(idle("dear", 1), prio(5))},
		[]string{"dear live lan/0 0 0.5 1.5", "big live lan/0 1 1.5 10.5"}, 10700 * ms},
	{"half the link each: two lanes",
		Node{Links: []Link{{Name: "fat", Rate: 2 * gb, Each: gb, Setup: sec}}}, []Guest{idle("a", 3), idle("b", 2), idle("c", 1)},
		[]string{"a live fat/0 0 1 4", "b live fat/1 0 1 3", "c live fat/1 2 3 4"}, 4 * sec},
	{"a third and a bit: three lanes, each a third",
		Node{Links: []Link{{Name: "fat", Rate: 3 * gb, Each: 1.4 * gb}}}, []Guest{idle("a", 2), idle("b", 2), idle("c", 2)},
		[]string{"a live fat/0 0 0 2", "b live fat/1 0 0 2", "c live fat/2 0 0 2"}, 2 * sec},
	{"two links, one guest bound to the slower",
		Node{Links: []Link{{Name: "east", Rate: gb}, {Name: "west", Rate: gb / 2}}},
		[]Guest{idle("a", 4), idle("b", 2), with(idle("w", 3), onLink("west"))},
		[]string{"w live west/0 0 0 6", "a live east/0 0 0 4", "b live east/0 4 4 6"}, 6 * sec},
	{"slowed down where plain pre-copy does not do",
		oneLink(0), []Guest{{Name: "w", Load: predict.Load{Memory: gb, DirtyRate: 1.25 * gb, Budget: 100 * ms}}},
		// The passes of TestPredict, until 84.1 MB fit 100 ms.
		[]string{"w converge lan/0 0 0.5 8.667015074"}, 8867015074},
	{"post-copy where even that is not enough",
		oneLink(0), []Guest{with(idle("w", 1), func(g *Guest) {
			g.Load.DirtyRate, g.Load.Budget, g.Ladder = 1000*gb, 100*ms,
				[]ladder.Rung{ladder.Live, ladder.Converge, ladder.PostCopy, ladder.Shutdown}
		})},
		[]string{"w postcopy lan/0 0 0.5 2.5"}, 2700 * ms},
	{"no deadline and no means that keeps the budget: the last, as well as it goes",
		oneLink(0), []Guest{with(idle("w", 1),
			func(g *Guest) { g.Load.DirtyRate, g.Load.Budget = 1000*gb, 100*ms; g.Priority = 9 }), idle("a", 1)},
		[]string{"a live lan/0 0 0.5 1.5", "w converge lan/0 1.5 2 103"}, 103200 * ms},
	{"a hand-over beyond the budget: to shut it down would be worse, and company makes no difference",
		oneLink(100 * sec), []Guest{with(idle("over", 8),
			func(g *Guest) { g.Load.Budget, g.Load.HandOver = 100*ms, 200*ms }), idle("a", 1)},
		[]string{"over live lan/0 0 0.5 8.7", "a live lan/0 8.2 8.7 9.7"}, 9900 * ms},
	{"too short a window: the short ones leave, the long one is shut down while there is time",
		oneLink(100 * sec), []Guest{idle("a", 90), idle("b", 50), idle("c", 40)},
		[]string{"c live lan/0 0 0.5 40.5", "b live lan/0 40 40.5 90.5", "a shutdown by 40"}, 100 * sec},
	{"too short a window: priority decides",
		oneLink(100 * sec), []Guest{with(idle("a", 90), prio(1)), idle("b", 50), idle("c", 40)},
		[]string{"a live lan/0 0 0.5 90.5", "c shutdown by 40", "b shutdown by 40"}, 100 * sec},
	{"a window for nothing",
		oneLink(10 * sec), []Guest{idle("a", 90), with(idle("b", 91), rungs(ladder.Live, ladder.Destroy))},
		[]string{"a  by 0", "b  by 0"}, 0},
	{"the rung that is still in time",
		oneLink(30 * sec), []Guest{with(idle("a", 90), rungs(ladder.Live, ladder.Shutdown, ladder.Destroy))},
		[]string{"a destroy by 13"}, 30 * sec},
	{"saved one after the other, the dearest as late as can be",
		Node{Window: 30 * sec, StoreRate: gb, Links: oneLink(0).Links},
		[]Guest{with(idle("a", 10), rungs(ladder.Save)),
			with(idle("b", 12), rungs(ladder.Save, ladder.Shutdown), prio(1)),
			with(idle("c", 9), rungs(ladder.Save, ladder.Destroy))},
		[]string{"a save by 8", "c destroy by 13", "b save by 18"}, 30 * sec},
}

func TestPlan(t *testing.T) {
	for _, c := range planCases {
		t.Run(c.name, func(t *testing.T) {
			s, err := Plan(c.node, c.guests)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, step := range s.Steps {
				got = append(got, short(step))
			}
			if !slices.Equal(got, c.want) || s.Makespan != c.span {
				t.Errorf("in %v:\n%s\nwant in %v:\n%s", s.Makespan, strings.Join(got, "\n"), c.span, strings.Join(c.want, "\n"))
			}
			checkSchedule(t, c.node, c.guests, s)
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	link := func(change func(*Link)) Node {
		n := oneLink(0)
		change(&n.Links[0])
		return n
	}
	a := idle("a", 1)
	for _, c := range []struct {
		node   Node
		guests []Guest
		want   string
	}{
		{Node{}, nil, "no link to migrate over"},
		{Node{Links: []Link{{Name: "x", Rate: 1}, {Name: "x", Rate: 1}}}, nil, `link "x" is listed twice`},
		{link(func(l *Link) { l.Rate = 0 }), nil, `link "lan" carries 0`},
		{link(func(l *Link) { l.Rate = math.NaN() }), nil, `link "lan" carries NaN`},
		{link(func(l *Link) { l.Each = -1 }), nil, `link "lan" has a negative`},
		{oneLink(-1), nil, "window"},
		{oneLink(0), []Guest{{}}, "a guest has no name"},
		{oneLink(0), []Guest{a, a}, `guest "a" is listed twice`},
		{oneLink(0), []Guest{with(a, onLink("wan"))}, `over link "wan", which the node does not have`},
		{oneLink(0), []Guest{with(a, func(g *Guest) { g.Load.DirtyRate = math.NaN() })}, `guest "a" has a negative rate`},
		{oneLink(0), []Guest{with(a, rungs(ladder.Live, "prayer"))}, `guest "a": unknown ladder rung "prayer"`},
	} {
		if _, err := Plan(c.node, c.guests); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestStrandedAreExplained(t *testing.T) {
	hot := func(name string, rate float64, means ...ladder.Rung) Guest {
		return Guest{Name: name, Ladder: means,
			Load: predict.Load{Memory: 8 * gb, DirtyRate: rate, Budget: 100 * ms, HandOver: 50 * ms}}
	}
	s, err := Plan(oneLink(100*sec),
		[]Guest{idle("long", 200), hot("hot", 2*gb, ladder.Live, ladder.Shutdown),
			hot("hotter", 1000*gb, ladder.Live, ladder.Shutdown), with(idle("cold", 1), rungs(ladder.Shutdown))})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"long": "it needs 3m20s on a link", "hot": "slowed down by 53 %", "hotter": "only by post-copy", "cold": "no live rung",
	}
	for _, step := range s.Stranded() {
		if !strings.Contains(step.Why, want[step.Guest]) || step.Rung != ladder.Shutdown || step.Start != 40*sec {
			t.Errorf("%s: %q, want %q", short(step), step.Why, want[step.Guest])
		}
		delete(want, step.Guest)
	}
	if len(want) > 0 {
		t.Errorf("not stranded: %v", want)
	}
}

// checkSchedule proves what doc.go promises of every schedule.
func checkSchedule(t *testing.T, n Node, guests []Guest, s Schedule) {
	t.Helper()
	byName := make(map[string]Guest)
	for _, g := range guests {
		byName[g.Name] = g
	}
	for _, step := range s.Steps {
		g, ok := byName[step.Guest]
		if !ok {
			t.Fatalf("%s has a step twice, or is a stranger", step.Guest)
		}
		delete(byName, step.Guest)
		checkStep(t, n, g, step)
	}
	if len(byName) > 0 {
		t.Fatalf("lost: %v", byName)
	}
	for _, l := range n.Links {
		checkLink(t, l, slices.DeleteFunc(slices.Clone(s.Steps), func(x Step) bool { return x.Link != l.Name }))
	}
	if s.Makespan < s.Bound-2 {
		t.Errorf("done in %v, quicker than the bandwidth allows: %v", s.Makespan, s.Bound)
	}
}

func checkStep(t *testing.T, n Node, g Guest, s Step) {
	t.Helper()
	switch {
	case n.Window > 0 && s.End > n.Window:
		t.Fatalf("%+v ends after the window of %v", s, n.Window)
	case s.IsLive() && g.Link != "" && g.Link != s.Link:
		t.Fatalf("%+v leaves on another link than %q", s, g.Link)
	case s.IsLive() && s.Why == "" && !s.Prediction.Kept:
		t.Fatalf("%+v breaks its budget without a word", s)
	case !s.IsLive() && s.Why == "":
		t.Fatalf("%+v stays without a word", s)
	}
	allowed := g.Ladder
	if allowed == nil {
		allowed = ladder.Default
	}
	if s.Rung != "" && !slices.Contains(allowed, s.Rung) {
		t.Fatalf("%+v is not allowed: %v", s, allowed)
	}
}

// checkLink looks at every instant at which something begins: the rates add up to no more than
// the link carries, each lane has one guest, and everybody bears the company.
func checkLink(t *testing.T, l Link, steps []Step) {
	t.Helper()
	for _, at := range steps {
		rate, under, bears := 0.0, 0, mostAtOnce
		lanes := make(map[int]bool)
		for _, s := range steps {
			if s.Copy <= at.Copy && at.Copy < s.Free {
				rate += s.Prediction.Rate
				if lanes[s.Lane] {
					t.Fatalf("two guests in lane %d of %s at %v", s.Lane, l.Name, at.Copy)
				}
				lanes[s.Lane] = true
			}
			if s.Start <= at.Start && at.Start < s.Free {
				under, bears = under+1, min(bears, s.AtOnce)
			}
		}
		if rate > l.Rate*(1+1e-9) || under > max(bears, 1) {
			t.Fatalf("%s carries %g of %g, and %d where %d are borne, at %v", l.Name, rate, l.Rate, under, bears, at.Copy)
		}
	}
}

func randomNode(r *rand.Rand) (Node, []Guest) {
	var n Node
	for i := range 1 + r.IntN(3) {
		l := Link{Name: fmt.Sprint("l", i), Rate: (0.2 + r.Float64()) * gb, Setup: time.Duration(r.Int64N(int64(sec))),
			Teardown: time.Duration(r.Int64N(int64(sec)))}
		if r.IntN(3) == 0 {
			l.Each = l.Rate * (0.1 + r.Float64())
		}
		n.Links = append(n.Links, l)
	}
	if r.IntN(2) == 0 {
		n.Window, n.StoreRate = time.Duration(r.Int64N(int64(200*sec))), float64(r.IntN(2))*gb
	}
	guests := make([]Guest, r.IntN(30))
	for i := range guests {
		guests[i] = Guest{Name: fmt.Sprint("g", i), Load: randomLoad(r), Priority: r.IntN(3)}
		if r.IntN(2) == 0 {
			guests[i].Link = n.Links[r.IntN(len(n.Links))].Name
		}
		if r.IntN(2) == 0 {
			guests[i].Ladder = ladder.All()[r.IntN(len(ladder.All())):]
		}
	}
	return n, guests
}

func TestPlanKeepsItsPromises(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		n, guests := randomNode(r)
		s, err := Plan(n, guests)
		if err != nil {
			t.Fatal(err)
		}
		checkSchedule(t, n, guests, s)
		r.Shuffle(len(guests), func(i, j int) { guests[i], guests[j] = guests[j], guests[i] })
		if again, _ := Plan(n, guests); !reflect.DeepEqual(s, again) {
			t.Fatalf("another order of the same guests makes another plan:\n%v\n%v", s, again)
		}
	}
}

// TestPlanIsNearTheBound takes nodes as they are met: 10 Gbit/s, guests of 2 to 32 GB, one in
// eight so busy and bound so tightly that it must be alone.
func TestPlanIsNearTheBound(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, c := range []struct{ each, allowance float64 }{
		{0, 0.05}, {1.25, 0.05}, {0.625, 0.05}, {0.4, 0.1},
		{0.7, 0.1}, // one cannot fill the link, and those that bear no company leave nearly half of it idle
	} {
		n := Node{Links: []Link{{Name: "lan", Rate: 1.25 * gb, Each: c.each * gb, Setup: 300 * ms, Teardown: 300 * ms}}}
		for range 50 {
			s, err := Plan(n, realistic(r, 40))
			if err != nil {
				t.Fatal(err)
			}
			if over := float64(s.Makespan)/float64(s.Bound) - 1; over > c.allowance {
				t.Errorf("at %v GB/s each: %v is %.1f %% above the bound of %v", c.each, s.Makespan, 100*over, s.Bound)
			}
			if len(s.Stranded()) > 0 {
				t.Errorf("stranded: %v", s.Stranded())
			}
		}
	}
}

func realistic(r *rand.Rand, count int) []Guest {
	guests := make([]Guest, count)
	for i := range guests {
		g := Guest{Name: fmt.Sprintf("g%05d", i), Priority: r.IntN(3)}
		g.Load = predict.Load{Memory: uint64(2*gb + r.Int64N(30*gb)), Device: mb, Budget: 300 * ms, HandOver: 50 * ms}
		g.Load.DirtyRate, g.Load.WorkingSet = r.Float64()*50*mb, g.Load.Memory/8
		if i%8 == 0 {
			g.Load.DirtyRate, g.Load.WorkingSet = 0.8*gb, uint64(100*mb+r.Int64N(150*mb))
		}
		guests[i] = g
	}
	return guests
}

// BenchmarkPlan10k plans for ten thousand guests: on a thousand nodes, and all on one.
func BenchmarkPlan10k(b *testing.B) {
	n := Node{Window: 300 * sec, Links: []Link{{Name: "lan", Rate: 1.25 * gb, Setup: 300 * ms, Teardown: 300 * ms}}}
	guests := realistic(rand.New(rand.NewPCG(7, 8)), 10_000)
	plan := func(b *testing.B, each int) {
		for b.Loop() {
			for part := range slices.Chunk(guests, each) {
				if _, err := Plan(n, part); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("nodes=1000", func(b *testing.B) { plan(b, 10) })
	b.Run("nodes=1", func(b *testing.B) { plan(b, 10_000) })
}

const (
	ms  = time.Millisecond
	sec = time.Second
	mb  = 1_000_000
	gb  = 1_000_000_000
)

func randomLoad(r *rand.Rand) predict.Load {
	l := predict.Load{Memory: 64*mb + uint64(r.Int64N(16*gb)), DirtyRate: r.ExpFloat64() * 300 * mb,
		Device: uint64(r.Int64N(4 * mb)), HandOver: time.Duration(r.Int64N(int64(60 * ms)))}
	if r.IntN(2) == 0 {
		l.WorkingSet = uint64(r.Int64N(int64(l.Memory)))
	}
	if r.IntN(2) == 0 {
		l.Budget = 100*ms + time.Duration(r.Int64N(int64(sec)))
	}
	return l
}
