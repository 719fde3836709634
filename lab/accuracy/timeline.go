package accuracy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// calm is the least time between two outages on a lane. The time up to the
	// next one is longer by a random part of two intervals, so that outages begin
	// anywhere between two probes.
	calm = 100 * time.Millisecond
	// long is from which length on outages are made on many lanes at a time, with
	// probes that are longIntervals as far apart as on the others.
	long          = time.Second
	longIntervals = 10
	longLanes     = 12
)

// The ports of the reflectors and of irtt's servers.
const (
	port     = "7007"
	irttPort = "2112"
)

// timeline is a lane and the outages of one kind that are made on it.
type timeline struct {
	*lane
	kind     string
	interval time.Duration
	lengths  <-chan time.Duration // those still to be made; other lanes take from it too
	servers  []*exec.Cmd          // all of the lane, the reflector first: what is stopped for Stop
	made     []made
}

// timelines makes the lanes for all outages: of each kind, one for the short ones and
// several for the long ones.
func (o Options) timelines(w *world) ([]*timeline, error) {
	var short, tall []time.Duration
	for _, length := range o.Lengths {
		if length < long {
			short = append(short, length)
		} else {
			tall = append(tall, length)
		}
	}
	var all []*timeline
	for _, kind := range Kinds {
		for _, part := range []struct {
			lengths  []time.Duration
			lanes    int
			interval time.Duration
		}{{short, 1, o.Interval}, {tall, longLanes, longIntervals * o.Interval}} {
			queue := shuffled(part.lengths, o.Repeat)
			for range min(part.lanes, len(queue)) {
				l, err := w.newLane(len(all))
				if err != nil {
					return nil, err
				}
				all = append(all, &timeline{lane: l, kind: kind, interval: part.interval, lengths: queue})
			}
		}
	}
	return all, nil
}

// shuffled is a queue of each length, repeat times, in a random order.
func shuffled(lengths []time.Duration, repeat int) <-chan time.Duration {
	var all []time.Duration
	for range repeat {
		all = append(all, lengths...)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	queue := make(chan time.Duration, len(all))
	for _, length := range all {
		queue <- length
	}
	close(queue)
	return queue
}

// set begins an outage, or ends it; when it returns, it holds.
func (c *timeline) set(broken bool) error {
	switch c.kind {
	case Link:
		return c.cut(broken)
	case Out:
		return c.server.gates.shut(c.name(), broken)
	case Back:
		return c.client.gates.shut(c.name(), broken)
	}
	return c.halt(broken)
}

// halt stops the servers of the lane, or lets them continue.
func (c *timeline) halt(on bool) error {
	signal := unix.SIGCONT
	if on {
		signal = unix.SIGSTOP
	}
	for _, cmd := range c.servers {
		if err := cmd.Process.Signal(signal); err != nil {
			return fmt.Errorf("signal the server: %w", err)
		}
	}
	for begun := time.Now(); on && !c.halted(); {
		if time.Since(begun) > patience {
			return errors.New("the server does not stop")
		}
	}
	return nil
}

// halted reports that no thread of the servers runs any more.
func (c *timeline) halted() bool {
	for _, cmd := range c.servers {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", cmd.Process.Pid))
		if err != nil || len(threads) == 0 {
			return false
		}
		for _, path := range threads {
			stat, err := os.ReadFile(path)
			if _, state, _ := strings.Cut(string(stat), ") "); err == nil && !strings.HasPrefix(state, "T") {
				return false
			}
		}
	}
	return true
}

// run makes outages until there are none left.
func (c *timeline) run(ctx context.Context) error {
	near := c.interval + reach
	_ = wait.For(ctx, calm)
	for length := range c.lengths {
		_ = wait.For(ctx, calm-near+rand.N(2*c.interval))
		m := made{kind: c.kind, length: length}
		queued := c.queued()
		_ = wait.For(ctx, near)
		var err error
		if m.begin, err = timed(c.set, true); err != nil {
			return fmt.Errorf("begin an outage %q: %w", c.kind, err)
		}
		m.late += c.queued().since(queued)
		// Not a multiple of the interval: both ends would be as far from a probe.
		_ = wait.For(ctx, length+rand.N(c.interval))
		queued = c.queued()
		if m.end, err = timed(c.set, false); err != nil {
			return fmt.Errorf("end an outage %q: %w", c.kind, err)
		}
		_ = wait.For(ctx, near)
		m.late += c.queued().since(queued)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.made = append(c.made, m)
	}
	_ = wait.For(ctx, calm+c.interval)
	return ctx.Err()
}

// waits are for how long the threads of a server have been waiting for a processor
// since they began.
type waits map[string]time.Duration

// queued looks at the threads of the reflector (the kernel's
// Documentation/scheduler/sched-stats.rst). There are none where the kernel does not
// count.
func (c *timeline) queued() waits {
	all := make(waits)
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", c.servers[0].Process.Pid)) // a good pattern
	for _, path := range paths {
		var ran, waited time.Duration
		if text, err := os.ReadFile(path); err == nil { // else the thread has ended
			_, _ = fmt.Sscan(string(text), &ran, &waited)
			all[path] = waited
		}
	}
	return all
}

// since is how much longer than before the threads have waited, all together.
func (w waits) since(before waits) time.Duration {
	var sum time.Duration
	for path, waited := range w {
		sum += max(waited-before[path], 0)
	}
	return sum
}

// doubt adds how late the machine itself was at each outage, and in the calm before it. A
// server that continued has to be woken twice until it answers: by the signal, and by what
// it waits for.
func (c *timeline) doubt(monitors *stallMonitors) {
	wakes := 1
	if c.kind == Stop {
		wakes = 2
	}
	for i := range c.made {
		m := &c.made[i]
		m.late += monitors.before(m.begin[1], c.interval+reach) + monitors.after(m.end[0], c.interval+reach, wakes)
		if i > 0 {
			before := c.made[i-1].end[1]
			m.blurred = monitors.within(before, m.begin[0]) > m.begin[0].Sub(before)/2
		}
	}
}

// timed calls set and returns the instants before and after.
func timed(set func(bool) error, broken bool) ([2]time.Time, error) {
	before := time.Now()
	err := set(broken)
	return [2]time.Time{before, time.Now()}, err
}
