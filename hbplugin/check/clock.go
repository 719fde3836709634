package check

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const clockBound = time.Second // that clocks may differ by

// clock is whether this node's clock is right to within clockBound, and who says so; zero where nobody does.
type clock struct {
	by    string
	right bool
}

func (s Sources) clock(ctx context.Context) (c clock) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if out, err := s.Run(ctx, "chronyc", "-c", "tracking"); err == nil {
		c = chrony(out)
	}
	if out, err := s.Run(ctx, "timedatectl", "show", "--property=NTPSynchronized", "--value"); c.by == "" && err == nil {
		c = clock{"timedatectl", strings.TrimSpace(out) == "yes"}
	}
	return c
}

// chrony reads what chronyc -c tracking says. How far the clock may be off is by RFC 5905.
func chrony(out string) clock {
	f := strings.Split(strings.TrimSpace(out), ",")
	if len(f) != 14 {
		return clock{}
	}
	offset, oerr := strconv.ParseFloat(f[4], 64)
	delay, derr := strconv.ParseFloat(f[10], 64)
	dispersion, err := strconv.ParseFloat(f[11], 64)
	if cmp.Or(oerr, derr, err) != nil {
		return clock{}
	}
	return clock{"chrony", f[13] != "Not synchronised" && max(offset, -offset)+delay/2+dispersion <= clockBound.Seconds()}
}

// peerClock is how far another node's clock is ahead of this one's, to within half of the time that the answer took.
type peerClock struct {
	node        string
	ahead, half time.Duration
}

func (p peerClock) judge() (Grade, string) {
	apart := p.ahead.Abs().Round(time.Millisecond)
	switch {
	case apart > clockBound+p.half || apart > clockBound && p.half <= clockBound:
		return Warning, fmt.Sprintf("differs from this node's by %s, to within %s", apart, p.half.Round(time.Millisecond))
	case p.half > clockBound:
		return OK, fmt.Sprintf("is not known: the answer took %s", (2 * p.half).Round(time.Millisecond))
	}
	return OK, "agrees with this node's"
}

// clocks: do the nodes agree on the time? The mirror never compares two clocks; who reads the logs of two nodes does.
func clocks(o *Observed, f *findings) {
	const remedy = "set up chrony on all nodes"
	if c := o.Clock; c.right {
		f.add("", OK, "this node's is synchronized, says "+c.by, "")
	} else if c.by != "" {
		f.add("", Warning, fmt.Sprintf("this node's is not synchronized to within %s, says %s", clockBound, c.by), remedy)
	}
	if o.Mirrors != nil {
		for _, p := range o.Mirrors.clocks {
			grade, found := p.judge()
			f.add(p.node, grade, found, map[Grade]string{Warning: remedy}[grade])
		}
	}
}
