package drain

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/predict"
)

// bench is a queue in a bubble of fake time, and what happened there, by the second.
type bench struct {
	*testing.T
	q     *Queue
	begin time.Time
	mu    sync.Mutex
	log   []string
}

// onBench runs f with a queue; when f is done, nobody may be left in it.
func onBench(t *testing.T, n Node, o Options, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q, err := NewQueue(n, o)
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, q: q, begin: time.Now()}
		f(b)
		synctest.Wait()
		q.mu.Lock()
		defer q.mu.Unlock()
		if len(q.turns)+len(q.waiting)+len(q.flight) > 0 {
			t.Errorf("left behind: %d turns, %d waiting, %d moving", len(q.turns), len(q.waiting), len(q.flight))
		}
	})
}

func (b *bench) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, fmt.Sprintf("%g ", time.Since(b.begin).Seconds())+fmt.Sprintf(format, args...))
}

func (b *bench) check(want ...string) {
	b.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	slices.SortStableFunc(b.log, func(x, y string) int { // what happens at the same time, by name
		ax, ay := strings.Fields(x), strings.Fields(y)
		if ax[0] != ay[0] {
			return 0
		}
		return strings.Compare(ax[1], ay[1])
	})
	if !slices.Equal(b.log, want) {
		b.Errorf("\n got %s\nwant %s", strings.Join(b.log, "\n     "), strings.Join(want, "\n     "))
	}
}

// move is a caller: it waits for its turn, has the link for so long after the set-up, verifies, and is done.
func (b *bench) move(ctx context.Context, g Guest, took time.Duration) {
	turn, err := enter(b.q, ctx, g)
	if err != nil {
		b.note("%s: %v", g.Name, err)
		return
	}
	defer turn.Release()
	l := b.q.node.Links[turn.link]
	b.note("%s %s", g.Name, turn.Step().Rung)
	select {
	case <-time.After(l.Setup + took):
		turn.Copied()
		b.note("%s left", g.Name)
		time.Sleep(l.Teardown)
	case <-turn.GiveUp():
		b.note("%s gives up: %v", g.Name, turn.Err())
	case <-ctx.Done():
		b.note("%s died", g.Name)
	}
}

// pass lets time pass.
func (b *bench) pass(d time.Duration) { time.Sleep(d) }

func (b *bench) moveAll(guests ...Guest) (wait func()) {
	var wg sync.WaitGroup
	for _, g := range guests {
		wg.Go(func() { b.move(b.Context(), g, time.Duration(g.Load.Memory)) }) // a byte a nanosecond
		synctest.Wait()
	}
	return wg.Wait
}

func TestQueueGrantsByPlan(t *testing.T) {
	onBench(t, oneLink(0), Options{Gather: sec}, func(b *bench) {
		// In the order in which a cluster manager may make its calls.
		b.moveAll(idle("small", 1), idle("big", 4), with(idle("dear", 2), prio(9)))()
		b.check(
			"1 dear live", // the first after the gathering
			"3 big live",  // set up while dear still copies
			"3.5 dear left",
			"7 small live",
			"7.5 big left",
			"8.5 small left",
		)
	})
}

func TestQueueLetsNobodyDisturbTheTight(t *testing.T) {
	onBench(t, oneLink(0), Options{Gather: sec}, func(b *bench) {
		wait := b.moveAll(tight("t", 1), idle("a", 2))
		b.pass(2200 * ms)
		b.check("1 t live") // it should be gone by 2.6, and is not known to be
		b.pass(400 * ms)
		wait()
		b.check("1 t live", "2.5 a live", "2.5 t left", "5 a left")
	})
}

// TestQueueWaitsForTheOverdue has a guest that bears no company take four times as long as predicted.
func TestQueueWaitsForTheOverdue(t *testing.T) {
	onBench(t, oneLink(0), Options{}, func(b *bench) {
		var wg sync.WaitGroup
		wg.Go(func() { b.move(b.Context(), tight("t", 1), 4*sec) })
		synctest.Wait()
		b.moveAll(idle("a", 1))()
		wg.Wait()
		b.check("0 t live", "4.5 a live", "4.5 t left", "6 a left")
	})
}

// TestQueueLearns has a link that carries a third of what was said: two thirds are believed after the first move,
// a half of the rest with each further one.
func TestQueueLearns(t *testing.T) {
	onBench(t, oneLink(0), Options{}, func(b *bench) {
		for range 4 {
			turn, err := enter(b.q, b.Context(), idle("g", 4))
			if err != nil {
				t.Fatal(err)
			}
			b.note("%.3g GB/s", turn.Step().Prediction.Rate/gb)
			b.pass(500*ms + 12*sec)
			turn.Copied()
			turn.Release()
		}
		b.check("0 1 GB/s", "12.5 0.667 GB/s", "25 0.5 GB/s", "37.5 0.417 GB/s")
	})
}

func TestQueueRefusesInTime(t *testing.T) {
	onBench(t, oneLink(100*sec), Options{Gather: sec}, func(b *bench) {
		b.moveAll(idle("a", 60), idle("b", 50), with(idle("c", 10), prio(1)))()
		b.check(
			"1 c live",
			"11 b live",
			"11.5 c left",
			// b leaves at 61.5, too late for a to follow; the last moment for a shutdown of a minute is now.
			`40 a: guest "a" cannot be migrated in the 1m0s that remain: it needs 1m0s on a link, and every link is busy until too late; use "shutdown" instead`,
			"61.5 b left",
		)
	})
}

// TestQueueMindsTheCallers has callers who give up by themselves: those who have the time go first, and nobody is
// refused before his time is over.
func TestQueueMindsTheCallers(t *testing.T) {
	patience := func(d time.Duration) func(*Guest) { return func(g *Guest) { g.Patience = d } }
	for _, c := range []struct {
		name   string
		guests []Guest
		want   []string
	}{
		{"all have the time", []Guest{with(idle("a", 20), patience(100*sec)), with(idle("b", 10), patience(100*sec))},
			[]string{"1 a live", "21 b live", "21.5 a left", "31.5 b left"}},
		{"one has not, after the other", []Guest{with(idle("a", 20), patience(100*sec)), with(idle("b", 10), patience(25*sec))},
			[]string{"1 b live", "11 a live", "11.5 b left", "31.5 a left"}},
		{"one has not, whoever goes first", []Guest{with(idle("a", 60), prio(1)), with(idle("b", 10), patience(30*sec))},
			[]string{"1 a live", `30 b: guest "b" cannot be migrated in the 0s that remain: it needs 10s on a link, and every link is busy until too late; use "shutdown" instead`, "61.5 a left"}},
		{"with nothing to fall back on",
			[]Guest{with(idle("a", 60), prio(1)), with(idle("b", 10), patience(30*sec), rungs(ladder.Live))},
			[]string{"1 a live", `30 b: guest "b" cannot be migrated in the 0s that remain: it needs 10s on a link, and every link is busy until too late; nothing else that it allows can be done in time`, "61.5 a left"}},
		{"not by the prediction, but the link is idle", []Guest{with(idle("a", 60), patience(50*sec))},
			[]string{"1 a live", "61.5 a left"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBench(t, oneLink(0), Options{Gather: sec}, func(b *bench) {
				b.moveAll(c.guests...)()
				b.check(c.want...)
			})
		})
	}
}

func TestQueueTakesInAFailure(t *testing.T) {
	onBench(t, oneLink(100*sec), Options{Gather: sec}, func(b *bench) {
		ctx, cancel := context.WithTimeout(b.Context(), 21*sec)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { b.move(ctx, with(idle("a", 60), prio(1)), 60*sec) })
		synctest.Wait()
		b.moveAll(idle("b", 70))()
		wg.Wait()
		// a dies at 21; b, for which there was no time before, may go after all.
		b.check("1 a live", "21 a died", "21 b live", "91.5 b left")
	})
}

func TestQueueWindowShortened(t *testing.T) {
	onBench(t, oneLink(300*sec), Options{Gather: sec}, func(b *bench) {
		wait := b.moveAll(with(idle("a", 60), prio(1)), idle("b", 50), with(idle("c", 5), rungs(ladder.Live, ladder.Destroy)))
		b.pass(9 * sec)
		b.q.SetDeadline(b.begin.Add(30 * sec))
		wait()
		b.check(
			"1 a live",
			// a needs 50 s more, and there is no time for a clean shutdown of anybody.
			`13 c: guest "c" cannot be migrated in the 17s that remain: it needs 5s on a link, and every link is busy until too late; use "destroy" instead`,
			`30 a gives up: guest "a" cannot be migrated in the 0s that remain: its move takes longer than predicted; nothing else that it allows can be done in time`,
			`30 b: guest "b" cannot be migrated in the 0s that remain: it needs 50s on a link, and every link is busy until too late; nothing else that it allows can be done in time`,
		)
	})
}

func TestQueueGivesUpForTheFallback(t *testing.T) {
	onBench(t, oneLink(100*sec), Options{}, func(b *bench) {
		var wg sync.WaitGroup
		wg.Go(func() { b.move(b.Context(), idle("stuck", 30), time.Hour) })
		wg.Wait()
		// It should be gone by 30.5, and is put off to 38.1 and 47.7; at 40 it is the last moment for a shutdown.
		b.check("0 stuck live", `40 stuck gives up: guest "stuck" cannot be migrated in the 1m0s that remain: its move takes longer than predicted; use "shutdown" instead`)
	})
}

func TestQueueDoesNotCountOnTheStuck(t *testing.T) {
	onBench(t, oneLink(100*sec), Options{}, func(b *bench) {
		var wg sync.WaitGroup
		wg.Go(func() { b.move(b.Context(), tight("stuck", 10), time.Hour) })
		synctest.Wait()
		b.moveAll(idle("a", 2))()
		wg.Wait()
		b.check("0 stuck live",
			`40 a: guest "a" cannot be migrated in the 1m0s that remain: it needs 2s on a link, and every link is busy until too late; use "shutdown" instead`,
			`40 stuck gives up: guest "stuck" cannot be migrated in the 1m0s that remain: its move takes longer than predicted; use "shutdown" instead`)
	})
}

func TestQueueTriesTheHopelessOnAnIdleLink(t *testing.T) {
	onBench(t, oneLink(100*sec), Options{Gather: sec}, func(b *bench) {
		// Its 100 MB take 100 ms.
		hot := with(tight("hot", 1), rungs(ladder.Live, ladder.Shutdown), func(g *Guest) { g.Load.Budget = 50 * ms })
		var wg sync.WaitGroup
		wg.Go(func() { b.move(b.Context(), hot, time.Hour) })
		synctest.Wait()
		b.moveAll(idle("a", 2))()
		wg.Wait()
		b.check("1 a live", "3.5 a left", "3.5 hot live",
			`40 hot gives up: guest "hot" cannot be migrated in the 1m0s that remain: its move takes longer than predicted; use "shutdown" instead`)
	})
}

// TestQueueHearsOfALoad has a guest that seemed idle turn out to bear no company while it waits.
func TestQueueHearsOfALoad(t *testing.T) {
	onBench(t, oneLink(0), Options{Gather: sec}, func(b *bench) {
		turn, err := b.q.Join(idle("t", 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := turn.Update(predict.Load{DirtyRate: -1}); err == nil {
			t.Error("a negative rate was taken")
		}
		if err := turn.Update(tight("t", 1).Load); err != nil {
			t.Error(err)
		}
		<-turn.Ready()
		if n := turn.Step().AtOnce; n != 1 {
			t.Errorf("%d at once", n)
		}
		turn.Release()
		if err := turn.Update(idle("t", 1).Load); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestQueueHearsOfALoadUnderWay has a guest that moves already turn out to bear no company, or to take for ever.
func TestQueueHearsOfALoadUnderWay(t *testing.T) {
	for _, c := range []struct {
		name string
		load predict.Load
		next float64 // when a guest that waits has its turn
	}{
		{"as thought", idle("t", 4).Load, 4},
		{"longer", idle("t", 6).Load, 5}, // it leaves then
		{"tight", tight("t", 4).Load, 5},
		{"hopeless", predict.Load{Memory: 4 * gb, DirtyRate: 2 * gb, Budget: 100 * ms}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBench(t, oneLink(0), Options{}, func(b *bench) {
				turn, err := enter(b.q, b.Context(), idle("t", 4))
				if err != nil {
					t.Fatal(err)
				}
				next, err := b.q.Join(idle("next", 1))
				if err != nil {
					t.Fatal(err)
				}
				b.pass(sec)
				if err := turn.Update(c.load); err != nil {
					t.Error(err)
				}
				go func() { b.pass(4 * sec); turn.Copied(); turn.Release() }()
				<-next.Ready()
				if at := time.Since(b.begin).Seconds(); at != c.next {
					t.Errorf("the next came at %v, want %v", at, c.next)
				}
				next.Release()
				b.pass(10 * sec)
			})
		})
	}
}

// enter waits until it is the guest's turn. When ctx ends, before or after, the turn is released, as the daemon does it
// for an agent that died.
func enter(q *Queue, ctx context.Context, g Guest) (*Turn, error) {
	t, err := q.Join(g)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, t.Release)
	select {
	case <-t.Ready():
		err = t.Err()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		t.Release()
		return nil, err
	}
	return t, nil
}

func TestQueueRefusals(t *testing.T) {
	if _, err := NewQueue(Node{}, Options{}); err == nil {
		t.Error("a queue without a link")
	}
	onBench(t, oneLink(0), Options{}, func(b *bench) {
		if _, err := b.q.Join(Guest{}); err == nil {
			t.Error("a guest without a name")
		}
		a, err := b.q.Join(idle("a", 1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := enter(b.q, b.Context(), idle("a", 1)); !errors.Is(err, ErrQueued) {
			t.Errorf("twice: %v", err)
		}
		ctx, cancel := context.WithTimeout(b.Context(), sec)
		defer cancel()
		if _, err := enter(b.q, ctx, tight("t", 1)); !errors.Is(err, context.DeadlineExceeded) || time.Since(b.begin) != sec {
			t.Errorf("a caller that goes away: %v", err)
		}
		if _, err := enter(b.q, ctx, idle("late", 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller that is away already: %v", err)
		}
		only, err := enter(b.q, b.Context(), with(idle("s", 1), rungs(ladder.Shutdown)))
		var late *TooLate
		if only != nil || !errors.As(err, &late) || late.Rung != ladder.Shutdown {
			t.Errorf("nothing live allowed: %v", err)
		}
		c, _ := b.q.Join(tight("c", 1))
		d, _ := b.q.Join(tight("d", 1))
		b.q.mu.Lock()
		steps := b.q.steps(b.q.clock.Now())
		b.q.mu.Unlock()
		if s := steps; len(s) != 2 || max(s[0].End, s[1].End) <= 2*sec {
			t.Errorf("the plan for two that wait: %+v", s)
		}
		d.Release()
		for _, got := range []struct{ err, want error }{{a.Err(), nil}, {c.Err(), nil}, {d.Err(), ErrReleased}} {
			if !errors.Is(got.err, got.want) {
				t.Errorf("got %v, want %v", got.err, got.want)
			}
		}
		a.Release()
		<-c.Ready()
		a.Release()
		a.Copied()
		c.Release()
	})
}

// TestQueueUnderFire has a hundred callers come, move, fail, die and come back at any time, while the deadline moves.
func TestQueueUnderFire(t *testing.T) {
	n := Node{Window: 300 * sec, Links: []Link{{Name: "a", Rate: gb, Setup: 200 * ms, Teardown: 200 * ms},
		{Name: "b", Rate: 2 * gb, Each: gb, Setup: 200 * ms}}}
	onBench(t, n, Options{Gather: sec}, func(b *bench) {
		var wg sync.WaitGroup
		for i := range 100 {
			r := rand.New(rand.NewPCG(9, uint64(i)))
			g := Guest{Name: fmt.Sprint("g", i), Load: randomLoad(r), Priority: r.IntN(3)}
			wg.Go(func() {
				for range 1 + r.IntN(3) {
					b.pass(time.Duration(r.Int64N(int64(100 * sec))))
					ctx, cancel := context.WithTimeout(b.Context(), time.Duration(r.Int64N(int64(200*sec))))
					b.move(ctx, g, time.Duration(r.Int64N(int64(20*sec))))
					cancel()
				}
			})
		}
		for range 5 {
			b.pass(40 * sec)
			b.q.SetDeadline(time.Now().Add(time.Duration(rand.Int64N(int64(300 * sec)))))
			b.q.SetDeadline(time.Now().Add(400 * sec))
		}
		wg.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		if left := slices.DeleteFunc(b.log, func(l string) bool { return !strings.HasSuffix(l, " left") }); len(left) < 20 {
			t.Errorf("only %d of a hundred left", len(left))
		}
	})
}
