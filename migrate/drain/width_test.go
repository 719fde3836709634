package drain

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// pipe is what moves really share: each gets an equal part of the rate, but never more than each.
type pipe struct {
	rate, each float64 // bytes per second
	under      []float64
}

// step moves what d is enough for, and says which of those under way are done.
func (p *pipe) step(d time.Duration) (done int) {
	part := min(p.each, p.rate/float64(max(len(p.under), 1))) * d.Seconds()
	var left []float64
	for _, bytes := range p.under {
		if bytes -= part; bytes > 0 {
			left = append(left, bytes)
		}
	}
	done = len(p.under) - len(left)
	p.under = left
	return done
}

// TestQueueExplores has eight guests of 10 GB leave over a link that is thought to carry 1 GB/s. One that is full with one
// of them sees two at once for a while; of one that is not, as many as fill it make use.
func TestQueueExplores(t *testing.T) {
	bounded := func(g *Guest) { g.Load.Budget = 100 * ms }
	for _, c := range []struct {
		name       string
		rate, each float64
		guest      func(string) Guest
		pause      time.Duration
		most       int     // at once
		within     float64 // seconds until the last has left, about
	}{
		{"one fills it", gb, gb, func(n string) Guest { return idle(n, 10) }, ms, 2, 85},
		{"four fill it", gb, gb / 4, func(n string) Guest { return idle(n, 10) }, ms, 4, 162}, // 1, 2, 4, and the last,
		{"nothing fills it", 100 * gb, gb, func(n string) Guest { return idle(n, 10) }, ms, 4, 42},
		{"they bear no company", 100 * gb, gb, func(n string) Guest { return tight(n, 10) }, ms, 1, 88},
		{"nothing fills it, but pauses become too long", 100 * gb, gb,
			func(n string) Guest { return with(idle(n, 10), bounded) }, 200 * ms, 2, 75},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBench(t, Node{Links: []Link{{Name: "lan", Rate: gb}}}, Options{Explore: true, Gather: sec}, func(b *bench) {
				var turns, moving []*Turn
				for i := range 8 {
					turn, err := b.q.Join(c.guest(fmt.Sprint("g", i)))
					if err != nil {
						t.Fatal(err)
					}
					turns = append(turns, turn)
				}
				p, most, left := &pipe{rate: c.rate, each: c.each}, 0, 0
				for left < len(turns) && time.Since(b.begin) < time.Hour {
					synctest.Wait()
					for _, turn := range turns {
						if isReady(turn) && !slices.Contains(moving, turn) {
							moving, p.under = append(moving, turn), append(p.under, 10*gb)
						}
					}
					most = max(most, len(p.under))
					b.pass(100 * ms)
					for range p.step(100 * ms) { // equal parts: who came first is done first
						if most > 1 {
							moving[left].Paused(c.pause)
						} else {
							moving[left].Paused(ms)
						}
						moving[left].Copied()
						moving[left].Release()
						left++
					}
				}
				if took := time.Since(b.begin).Seconds(); most != c.most || took > c.within {
					t.Errorf("%d at once at most, all had left after %.1f s; want %d, %v s", most, took, c.most, c.within)
				}
			})
		})
	}
}

func isReady(t *Turn) bool {
	select {
	case <-t.Ready():
		return true
	default:
		return false
	}
}
