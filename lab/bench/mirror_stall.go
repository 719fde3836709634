package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	stallChanged = 100 // MiB
	stallDisk    = 512 // MiB
	// stallPace is between two numbers that the guest is sent, and between two requests of its other client.
	stallPace = 5 * time.Millisecond
	// stallAround is for how long the clients are there before a round and after it.
	stallAround = 500 * time.Millisecond
)

// stalls are what clients saw in the turns of one side, in milliseconds.
type stalls struct {
	fsyncs []float64 // of all turns
	p99    []float64 // of each turn
	gaps   []float64 // the longest wait of each turn
}

func (s *stalls) add(fsyncs []float64, gap float64) {
	s.fsyncs = append(s.fsyncs, fsyncs...)
	s.p99, s.gaps = append(s.p99, Summarize(fsyncs).P99), append(s.gaps, gap)
}

// stallResults compare the turns with a round with those without one.
func stallResults(with, without stalls) []Result {
	const name = "no round"
	fsync, gap := compare("mirror-stall-fsync", "ms", name, with.p99, without.p99), compare("mirror-stall-gap", "ms", name,
		with.gaps, without.gaps)
	a, b := Summarize(with.fsyncs), Summarize(without.fsyncs)
	fsync.Notes = []string{
		fmt.Sprintf("p99 of each turn of a guest's write and fsync of 4 KiB, with its way to the client, beside a round of %d MiB; "+
			"to reach: a ratio of 1.5", stallChanged),
		fmt.Sprintf("of all turns: p50 %.1f ms, p99 %.1f ms, max %.1f ms in %d; without a round %.1f ms, %.1f ms, %.1f ms in %d",
			a.P50, a.P99, a.Max, a.N, b.P50, b.P99, b.Max, b.N),
	}
	gap.Notes = []string{fmt.Sprintf("the longest wait in each turn of a client that asks again when it was answered; the medians are "+
		"%.1f ms apart; to reach: 20 ms", gap.Ours.P50-gap.Peer.P50)}
	return []Result{fsync, gap}
}

// mirrorStall measures what a guest notices of a round.
func mirrorStall(ctx context.Context, s *Stage) ([]Result, error) {
	kind := localKind{name: "stall", first: 83, disk: stallDisk, written: 2 * stallChanged, interval: seldom}
	var with, without stalls
	err := s.localGuests(ctx, kind, func(ctx context.Context, l *locals) error {
		took := time.Duration(0) // the last round with its surroundings, which the first turn makes
		return turns(sides, s.N, true, func(round int, who side) error {
			l.Progress(fmt.Sprintf("mirror-stall: round %d of %d, with a round: %t", round+1, s.N, who.ours))
			if err := l.ours.newClient(0).Fill(ctx, 0, stallChanged); err != nil {
				return err
			}
			if err := wait.For(ctx, settle); err != nil {
				return err
			}
			begun := time.Now()
			fsyncs, gap, err := l.ours.watched(ctx, func(ctx context.Context) error {
				if !who.ours {
					return wait.For(ctx, took)
				}
				if err := wait.For(ctx, stallAround); err != nil {
					return err
				}
				if _, err := l.sync(ctx); err != nil {
					return err
				}
				return wait.For(ctx, stallAround)
			})
			into := &without
			if who.ours {
				into, took = &with, time.Since(begun)
			}
			if err == nil && round >= 0 {
				into.add(fsyncs, gap)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return stallResults(with, without), nil
}

// watched has two clients of the guest while do runs: how long each number took, and the longest wait of the other, in
// milliseconds.
func (g *local) watched(ctx context.Context, do func(context.Context) error) (fsyncs []float64, gap float64, err error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	var longest longestWait
	var failed error
	client := g.newClient(stallPace)
	client.Took = func(d time.Duration) { fsyncs = append(fsyncs, ms(d)) }
	all.Go(func() { client.Run(watching) })
	all.Go(func() {
		longest, failed = request(watching, net.JoinHostPort(g.Address, strconv.Itoa(guest.ReflectorPort)), stallPace)
	})
	err = do(ctx)
	stop()
	all.Wait()
	if err == nil && len(fsyncs) == 0 {
		err = errors.New("the guest acknowledged nothing")
	}
	return fsyncs, ms(longest.Longest), errors.Join(err, failed)
}
