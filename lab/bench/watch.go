package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/migrate/blackout"
)

// moveInterval is between two probes of one target while a guest moves, and the least between two requests of a
// client that waits for its answers.
const moveInterval = 25 * time.Millisecond

// addition waits for what watched a move and adds what it saw.
type addition func(*move) error

// watch starts the clients and the meter that a move is to have. What it returns waits for their end, which is
// that of ctx.
func (m *mover) watch(ctx context.Context) (addition, error) {
	var all []addition
	for _, part := range []struct {
		wanted bool
		start  func(context.Context) (addition, error)
	}{{m.probe, m.watchProbes}, {m.probe, m.watchRequests}, {m.game, m.watchGame}, {m.weigh, m.watchWork}} {
		if !part.wanted {
			continue
		}
		add, err := part.start(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, add)
	}
	return func(one *move) error {
		var errs []error
		for _, add := range all {
			errs = append(errs, add(one))
		}
		return errors.Join(errs...)
	}, nil
}

// watchProbes has the probe program watch the guest.
func (m *mover) watchProbes(ctx context.Context) (addition, error) {
	probes, err := probe(ctx, m.runner)
	if err != nil {
		return nil, err
	}
	return func(one *move) error {
		seen, err := probes()
		one.see(seen[m.guest.Name])
		return err
	}, nil
}

// watchRequests has a client ask the guest's reflector, one request at a time. A connection that breaks, as where the
// guest boots again, has no longest wait.
func (m *mover) watchRequests(ctx context.Context) (addition, error) {
	done := make(chan struct{})
	var wait longestWait
	var err error
	go func() {
		defer close(done)
		at := net.JoinHostPort(m.guest.Address, strconv.Itoa(guest.ReflectorPort))
		wait, err = request(ctx, at, m.runner.Interval)
	}()
	return func(one *move) error {
		<-done
		if err == nil {
			one.Request = new(ms(wait.Longest))
		}
		return nil
	}, nil
}

// watchWork measures the processor time of what works for moves.
func (m *mover) watchWork(ctx context.Context) (addition, error) {
	meter, err := m.stage.newMeter(ctx)
	if err != nil {
		return nil, err
	}
	readings := meter.start(ctx)
	return func(one *move) error {
		all, err := readings()
		if err != nil {
			return err
		}
		m.metering = append(m.metering, 1000*ms(meter.cost)/ms(meter.took))
		if one.Ended != endedLive {
			return nil
		}
		spent, ok := spentBetween(all, one.stop, one.resume.Add(workAfter))
		if !ok {
			return fmt.Errorf("processor times were not read from STOP to %s after RESUME", workAfter)
		}
		one.Work = &spent
		return nil
	}, nil
}

// see adds what the probes of the guest saw.
func (m *move) see(s scenario.Seen) {
	m.ICMP, m.UDP, m.TCP = gap(s.ICMP), gap(s.UDP), gap(s.TCP)
	if s.TCP != nil && s.TCP.KernelBlackoutMs != nil {
		m.Acks = new(max(*s.TCP.KernelBlackoutMs, s.TCP.KernelBelowErrorMs))
	}
}

// gap is the longest silence of a target in milliseconds, also one that is not longer than its own error: a median
// of many has no use for a zero in its place.
func gap(t *blackout.Target) *float64 {
	if t == nil {
		return nil
	}
	return new(max(t.BlackoutMs, t.BelowErrorMs))
}

// probe starts to probe a runner's guests, as [scenario.Runner.Probe] does. What an earlier probe has
// left must not be taken for what this one saw.
func probe(ctx context.Context, r *scenario.Runner) (func() (scenario.Probes, error), error) {
	file := filepath.Join(r.Scratch, "bench.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return r.Probe(ctx, file), nil
}
