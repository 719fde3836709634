package torture

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Fault is one planned fault.
type Fault struct {
	Number int // from 1
	Kind   Kind
	Node   string
	Lasts  time.Duration // 0 for a fault that is done at once
	// Rest is how long it begins after the recovery from the fault before it, or, where it Overlaps, after that fault's
	// begin.
	Rest     time.Duration
	Overlaps bool
	Flaps    []time.Duration // of a flapping link: down, up, down and so on; together they are Lasts
	Step     time.Duration   // of the clock
	Delay    time.Duration   // of a kill of the agent: after the agent was seen
}

// String is the fault in one line.
func (f Fault) String() string {
	text := fmt.Sprintf("%d: %s of %s", f.Number, f.Kind, f.Node)
	if f.Lasts > 0 {
		text += " for " + f.Lasts.String()
	}
	switch f.Kind {
	case Flapping:
		text += fmt.Sprintf(" (%d times down)", (len(f.Flaps)+1)/2)
	case ClockStep:
		text += " by " + f.Step.String()
	case KillAgent:
		text += ", " + f.Delay.String() + " after it began"
	}
	after := "the recovery"
	if f.Overlaps {
		after = fmt.Sprintf("the begin of fault %d", f.Number-1)
	}
	return text + ", " + f.Rest.String() + " after " + after
}

// Request says which faults are wanted.
type Request struct {
	Seed   uint64
	Faults int      // how many
	First  int      // number of the first one, from 1; those before it are drawn and left out
	Only   []Kind   // of which kinds
	Nodes  []string // to which this happens
}

// A fault overlaps the one before it with this chance, and begins at most so long after that one's begin.
const (
	overlapChance = 0.2
	overlapMost   = 12 * time.Second
	restMost      = 8 * time.Second
)

// Plan draws the faults. The same request gives the same plan, and a request for more faults begins with the same ones.
//
// Each row of as many faults as there are kinds has each kind once. So 20 faults have nearly all kinds, and 100 have each
// kind at least 4 times.
func Plan(r Request) ([]Fault, error) {
	if r.Faults < 1 || r.First < 1 || len(r.Only) == 0 || len(r.Nodes) == 0 {
		return nil, errors.New("plan faults: at least one fault, one kind and one node are needed")
	}
	random := rand.New(rand.NewPCG(r.Seed, 0x766d6665727279))
	var plan []Fault
	var deck []Kind
	for number := 1; number < r.First+r.Faults; number++ {
		if len(deck) == 0 {
			deck = slices.Clone(r.Only)
			random.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		f := draw(random, number, deck[0], r.Nodes)
		deck = deck[1:]
		if number == 1 || plan[number-2].Overlaps {
			f.Overlaps = false // a fault has one follower at most
		}
		plan = append(plan, f)
	}
	plan = plan[r.First-1:]
	plan[0].Overlaps = false
	return plan, nil
}

// draw draws one fault. What it takes from random does not depend on anything but random itself, the kind and the
// number of nodes.
func draw(random *rand.Rand, number int, kind Kind, nodes []string) Fault {
	t := kind.trait()
	f := Fault{Number: number, Kind: kind, Node: nodes[random.IntN(len(nodes))],
		Overlaps: random.Float64() < overlapChance}
	f.Rest = between(random, time.Second, restMost)
	if f.Overlaps {
		f.Rest = between(random, 200*time.Millisecond, overlapMost)
	}
	if t.most > 0 {
		f.Lasts = between(random, t.least, t.most)
	}
	switch kind {
	case Flapping:
		f.Flaps = flaps(random, f.Lasts)
	case ClockStep:
		f.Step = between(random, time.Second, 2*time.Hour)
		if random.IntN(2) == 0 {
			f.Step = -f.Step
		}
	case KillAgent:
		f.Delay = between(random, time.Millisecond, 1500*time.Millisecond)
	}
	return f
}

// flaps parts a time into times down and up, of 0.1 to 4 s each. It ends with the link down.
func flaps(random *rand.Rand, total time.Duration) (parts []time.Duration) {
	for rest := total; rest > 0; {
		part := min(rest, between(random, 100*time.Millisecond, 4*time.Second))
		rest -= part
		parts = append(parts, part)
	}
	if n := len(parts); n%2 == 0 {
		parts[n-2] += parts[n-1]
		return parts[:n-1]
	}
	return parts
}

// between draws a time, in whole milliseconds, so that it reads well and short times are as likely as long ones: a hang
// of 2 s and one of 50 s find different errors.
func between(random *rand.Rand, least, most time.Duration) time.Duration {
	spread := float64(most) / float64(least)
	return (time.Duration(float64(least) * math.Pow(spread, random.Float64()))).Round(time.Millisecond)
}

// Episodes parts a plan into faults that are recovered from together: each but the first of an episode overlaps.
func Episodes(plan []Fault) (episodes [][]Fault) {
	for _, f := range plan {
		if n := len(episodes); f.Overlaps && n > 0 {
			episodes[n-1] = append(episodes[n-1], f)
		} else {
			episodes = append(episodes, []Fault{f})
		}
	}
	return episodes
}

// WritePlan prints a plan, one fault a line, with the time in which all guests must answer again.
func WritePlan(to io.Writer, plan []Fault, l Limits) error {
	var text strings.Builder
	for _, e := range Episodes(plan) {
		for _, f := range e {
			fmt.Fprintln(&text, f)
		}
		fmt.Fprintf(&text, "    then all guests answer within %s\n", l.Within(e))
	}
	_, err := io.WriteString(to, text.String())
	return err
}
