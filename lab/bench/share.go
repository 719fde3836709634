package bench

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/wait"
)

// shareTime is for how long the machine's processors are watched, with probing and without.
const shareTime = 5 * time.Second

// probeShare measures what probing one guest as the benches of moves do costs the machine: its clients, the network
// and the emulation of the guest that answers them.
func probeShare(ctx context.Context, s *Stage) ([]Result, error) {
	m, err := s.mover(s.Guest)
	if err != nil {
		return nil, err
	}
	m.probe = true
	m.runner.Interval = moveInterval
	var with, without, more []float64
	err = m.run(ctx, func(ctx context.Context) error {
		for round := range s.N {
			s.Progress(fmt.Sprintf("probe-share: round %d of %d", round+1, s.N))
			var shares [2]float64
			for i, probing := range []bool{false, true} {
				if shares[i], err = m.share(ctx, probing); err != nil {
					return err
				}
			}
			without, with = append(without, shares[0]), append(with, shares[1])
			more = append(more, shares[1]-shares[0])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := compare("probe-share", "%", "", more, nil)
	r.Notes = []string{
		fmt.Sprintf("of all processors: clients over ICMP, UDP and TCP, every %s, one that waits, and the guest that answers", moveInterval),
		fmt.Sprintf("medians: %.1f %% with them, %.1f %% without", Summarize(with).P50, Summarize(without).P50),
		idleWork,
	}
	return []Result{r}, nil
}

// share is how much of the processors is busy for a while, in per cent.
func (m *mover) share(ctx context.Context, probing bool) (float64, error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	see := func(*move) error { return nil }
	if probing {
		var err error
		if see, err = m.watch(watching); err != nil {
			return 0, err
		}
	}
	if err := wait.For(ctx, time.Second); err != nil { // the clients have started
		return 0, err
	}
	var text [2]string
	for i := range text {
		stat, err := os.ReadFile("/proc/stat")
		if err != nil {
			return 0, err
		}
		if text[i] = string(stat); i == 0 {
			if err := wait.For(ctx, shareTime); err != nil {
				return 0, err
			}
		}
	}
	stop()
	if err := see(new(move)); err != nil {
		return 0, err
	}
	return busyShare(text[0], text[1])
}

// busyShare is how much of all processors' time was not idle between two readings of proc_stat(5), in per cent.
func busyShare(before, after string) (float64, error) {
	busy, all, err := processorTime(before)
	if err != nil {
		return 0, err
	}
	busier, more, err := processorTime(after)
	if err != nil {
		return 0, err
	}
	if more <= all {
		return 0, fmt.Errorf("no time passed between two readings of /proc/stat")
	}
	return 100 * (busier - busy) / (more - all), nil
}

// processorTime reads the first line of proc_stat(5): ticks in which processors were busy, and all.
func processorTime(stat string) (busy, all float64, err error) {
	line, _, _ := strings.Cut(stat, "\n")
	words := strings.Fields(line)
	const idle, iowait, steal = 4, 5, 8 // guest time, behind them, is in user time already
	if len(words) <= steal || words[0] != "cpu" {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	for i, word := range words[1 : steal+1] {
		ticks, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat begins with %q", line)
		}
		all += ticks
		if i+1 != idle && i+1 != iowait {
			busy += ticks
		}
	}
	return busy, all, nil
}

// probeHalved measures what is seen of moves at half the rate of probes.
func probeHalved(ctx context.Context, s *Stage) ([]Result, error) {
	m, err := s.mover(s.Guest)
	if err != nil {
		return nil, err
	}
	m.probe = true
	full, half := sides[0], sides[0]
	half.ours = false
	intervals := map[bool]time.Duration{true: moveInterval, false: 2 * moveInterval}
	full.label, half.label = intervals[true].String(), intervals[false].String()
	m.sides = []side{full, half}
	m.pace = func(who side) time.Duration { return intervals[who.ours] }
	all, err := m.shuttle(ctx, "probe-halved", s.N, true)
	if err != nil {
		return nil, err
	}
	return []Result{all.halved()}, nil
}

// halved is by how many intervals the medians of moves' gaps differ between the two rates, a sample for each depth.
func (m moves) halved() Result {
	var differ []float64
	var words []string
	for _, d := range []struct {
		name string
		of   func(move) float64
	}{{"kernel, ICMP", icmpOf}, {"kernel, TCP", acksOf}, {"light service, UDP", udpOf}, {"light service, TCP", tcpOf}} {
		full, half := Summarize(live(m.ours, d.of)).P50, Summarize(live(m.peer, d.of)).P50
		differ = append(differ, math.Abs(full-half)/ms(moveInterval))
		words = append(words, fmt.Sprintf("%s %.1f and %.1f", d.name, full, half))
	}
	r := compare("probe-halved", "intervals", "", differ, nil)
	r.OursEnded = endings(append(append([]move(nil), m.ours...), m.peer...))
	r.Notes = []string{fmt.Sprintf("medians in ms of %d moves of ours probed every %s and of %d probed every %s: %s",
		len(m.ours), moveInterval, len(m.peer), 2*moveInterval, strings.Join(words, "; "))}
	return r
}

// interval is between two probes while who moves the guest.
func (m *mover) interval(who side) time.Duration {
	if m.pace == nil {
		return moveInterval
	}
	return m.pace(who)
}
