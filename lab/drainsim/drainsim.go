package drainsim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/predict"
)

// Config is a cluster, what is done with it, and what goes wrong.
type Config struct {
	Nodes  int
	Guests []drain.Guest // they begin on the nodes in turn; Link is not used
	Link   drain.Link    // every node's way out
	Window time.Duration // for each node to be emptied, 0 for none
	Empty  int           // how many nodes are emptied in all, from the first on
	AtOnce int           // how many at the same time, 1 when 0; each is back when it is empty
	Seed   uint64        // for what is left to chance
	Jitter float64       // by which part the truth differs from what the planner knows, at most
	Refuse []int         // nodes that refuse every guest
	Slow   Slow
	Dying  float64 // the part of the callers that die in mid-move, and are called again
}

// Slow is a link that becomes slower in the middle.
type Slow struct {
	After  time.Duration // from the begin of each node's drain, 0 for never
	Factor float64       // of its rate that is left
}

// Result is what became of it.
type Result struct {
	Drains    []Drain
	Moved     int      // moves that ended at the target
	Cold      int      // guests that were started again elsewhere
	Refusals  int      // by targets
	Deaths    int      // of callers
	OverPause []string // guests that was paused for longer than their budget
	Wrong     []string // what must never be: a guest in two places, in none, moved twice at a time, left behind
}

// Drain is how one node was emptied.
type Drain struct {
	Node   int
	Guests int
	Took   time.Duration
	Bound  time.Duration // the bandwidth bound of the plan made at the begin
	Late   int           // guests that left after the window
}

// world is the cluster.
type world struct {
	Config
	clock  clock
	rand   *rand.Rand
	guests []*guest
	nodes  []*node
	next   int // node to be emptied
	target int // the last that was chosen
	result Result
}

type node struct {
	index    int
	draining *evacuation // nil when it is not
	refuses  bool
	guests   map[*guest]bool // that run here
}

// guest is a machine as it really is.
type guest struct {
	drain.Guest
	truth predict.Load
	index int
}

// Run empties the nodes. The error says that the Config makes no sense.
func Run(c Config) (Result, error) {
	c.AtOnce = max(c.AtOnce, 1)
	switch {
	case c.Nodes-len(c.Refuse)-c.AtOnce < 1:
		return Result{}, fmt.Errorf("%d nodes leave no target when %d are emptied at once, and %d take no guests",
			c.Nodes, c.AtOnce, len(c.Refuse))
	case c.Empty > c.Nodes:
		return Result{}, fmt.Errorf("%d of %d nodes cannot be emptied", c.Empty, c.Nodes)
	}
	w := &world{Config: c, rand: rand.New(rand.NewPCG(c.Seed, 0))}
	w.clock.now = time.Unix(0, 0)
	for i := range c.Nodes {
		w.nodes = append(w.nodes, &node{index: i, guests: make(map[*guest]bool)})
	}
	for _, i := range c.Refuse {
		w.nodes[i].refuses = true
	}
	for i, g := range c.Guests {
		v := &guest{Guest: g, truth: w.truth(g.Load), index: i}
		v.Link = ""
		w.guests = append(w.guests, v)
		w.nodes[i%c.Nodes].guests[v] = true
	}
	for range c.AtOnce {
		if err := w.emptyNext(); err != nil {
			return Result{}, err
		}
	}
	w.clock.run()
	w.census()
	return w.result, nil
}

// truth differs from what it knows.
func (w *world) truth(l predict.Load) predict.Load {
	l.DirtyRate *= w.about(1)
	l.Memory = uint64(float64(l.Memory) * w.about(1))
	return l
}

// about is x with the jitter.
func (w *world) about(x float64) float64 { return x * (1 + w.Jitter*(2*w.rand.Float64()-1)) }

// choose is the next node that takes guests and is not one of those in tried; nil when there is none.
func (w *world) choose(tried map[*node]bool) *node {
	for range w.nodes {
		w.target = (w.target + 1) % w.Nodes
		if n := w.nodes[w.target]; n.draining == nil && !tried[n] {
			return n
		}
	}
	return nil
}

// wrong notes what must not be.
func (w *world) wrong(format string, args ...any) {
	w.result.Wrong = append(w.result.Wrong, fmt.Sprintf(format, args...))
}

// census counts the guests: each must run once.
func (w *world) census() {
	runs := make(map[*guest]int)
	for _, n := range w.nodes {
		for g := range n.guests {
			runs[g]++
		}
		if n.draining != nil {
			w.wrong("node %d never became empty", n.index)
		}
	}
	for _, g := range w.guests {
		if runs[g] != 1 {
			w.wrong("guest %s runs %d times", g.Name, runs[g])
		}
	}
}
