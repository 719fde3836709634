package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/accuracy"
	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/predict"
)

// aloneBenches are those that need no lab.
func aloneBenches() []Bench {
	benches := []Bench{{Results: []string{"plan-10k"}, N: 15, Alone: true, Run: planMany}}
	for _, e := range accuracy.All {
		run := func(ctx context.Context, s *Stage) ([]Result, error) { return measureProbe(ctx, s, e) }
		benches = append(benches, Bench{Results: e.Names, N: e.Repeat, Alone: true, Run: run})
	}
	return benches
}

// measureProbe runs an experiment on the probe, on N known outages of each kind and length or in N runs.
func measureProbe(ctx context.Context, s *Stage, e accuracy.Experiment) ([]Result, error) {
	s.Progress(fmt.Sprintf("%s: %d of each", strings.Join(e.Names, ", "), s.N))
	measured, err := accuracy.Run(ctx, e.Names[0], accuracy.Options{Program: s.Blackout, Repeat: s.N})
	if err != nil {
		return nil, err
	}
	var results []Result
	for _, one := range measured {
		if len(one.Ours) == 0 {
			return nil, fmt.Errorf("%s: nothing was measured", one.Name)
		}
		r := compare(one.Name, one.Unit, one.PeerName, one.Ours, one.Peer)
		r.Notes = one.Notes
		for _, c := range one.Classes {
			r.Classes = append(r.Classes, Class(c).rounded())
		}
		results = append(results, r)
	}
	return results, nil
}

// The cluster of plan-10k.
const (
	planNodes  = 1000
	planGuests = 10_000
)

// planMany measures how long the drain planner takes to plan every node of a large cluster.
func planMany(ctx context.Context, s *Stage) ([]Result, error) {
	s.Progress(fmt.Sprintf("plan-10k: planning %d guests on %d nodes %d times", planGuests, planNodes, s.N))
	nodes := crowd(planNodes, planGuests)
	var took []float64
	for range s.N {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		began := time.Now()
		for _, guests := range nodes {
			if _, err := drain.Plan(planSite, guests); err != nil {
				return nil, err
			}
		}
		took = append(took, ms(time.Since(began)))
	}
	return []Result{compare("plan-10k", "ms", "", took, nil)}, nil
}

// planSite is a node on ten-gigabit Ethernet, with a window of twenty minutes.
var planSite = drain.Node{
	Window: 20 * time.Minute,
	Links:  []drain.Link{{Name: "lan", Rate: 1.25e9, Setup: 300 * time.Millisecond, Teardown: 300 * time.Millisecond}},
}

// crowd makes guests of 2 to 32 GB, every eighth of them so busy that it must be alone on the
// link, and deals them out to nodes. It is the same each time.
func crowd(nodes, guests int) [][]drain.Guest {
	const mb, gb = 1e6, 1e9
	r := rand.New(rand.NewPCG(1, 1))
	all := make([][]drain.Guest, nodes)
	for i := range guests {
		l := predict.Load{
			Memory: uint64(2*gb + r.Int64N(30*gb)), Device: mb, DirtyRate: r.Float64() * 50 * mb,
			Budget: 300 * time.Millisecond, HandOver: 50 * time.Millisecond,
		}
		l.WorkingSet = l.Memory / 8
		if i%8 == 0 {
			l.DirtyRate, l.WorkingSet = 0.8*gb, uint64(100*mb+r.Int64N(150*mb))
		}
		all[i%nodes] = append(all[i%nodes], drain.Guest{Name: fmt.Sprintf("g%05d", i), Priority: r.IntN(3), Load: l})
	}
	return all
}
