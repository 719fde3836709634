package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/vmferry/vmferry/lab/report"
)

// BurnerName is the file name under which the lab's program is a [Burn].
const BurnerName = "burn_lab"

// loadGroup is the cgroup of a Burn, below that of its node's systemd.
const loadGroup = "bench-load"

// Burn keeps one processor busy until in ends, as it does when whoever started it is gone.
func Burn(in io.Reader) {
	var ended atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, in)
		ended.Store(true)
	}()
	for !ended.Load() {
	}
}

// burn starts a busy loop of normal priority on a node.
func (s *Stage) burn(ctx context.Context, name string) (stop func() error, err error) {
	program, err := s.alias(ctx, name, BurnerName)
	if err != nil {
		return nil, err
	}
	group, err := s.nodeGroup(ctx, name)
	if err != nil {
		return nil, err
	}
	cmd, err := s.Cluster.Command(ctx, name, program)
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	started, err := inGroup(cmd, group.of(loadGroup))
	if err != nil {
		return nil, err
	}
	defer started()
	// The kernel shares processors out to sessions first (sched(7), autogroups): in the bench's own one the loop would
	// take its part from the bench's clients.
	cmd.SysProcAttr.Setsid = true
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a busy loop on node %q: %w", name, err)
	}
	return func() error { return errors.Join(in.Close(), cmd.Wait()) }, nil
}

// beside calls body while each node has a busy loop.
func (s *Stage) beside(ctx context.Context, body func(context.Context) error) (err error) {
	for _, name := range s.Cluster.Nodes {
		stop, err := s.burn(ctx, name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	return body(ctx)
}

// loaded measures moves of an idle guest while each node has other work.
func loaded(ctx context.Context, s *Stage) ([]Result, error) {
	m, err := s.mover(s.Guest)
	if err != nil {
		return nil, err
	}
	m.probe = true
	var all moves
	err = s.beside(ctx, func(ctx context.Context) (err error) {
		all, err = m.shuttle(ctx, "loaded-blackout-udp", s.N, true)
		return err
	})
	if err != nil {
		return nil, err
	}
	udp, tcp := all.light("loaded-blackout-udp", udpOf), all.light("loaded-blackout-tcp", tcpOf)
	udp.Notes = append(udp.Notes, "beside one busy loop of normal priority on each node; "+idleWork, all.depths())
	return []Result{udp, tcp}, nil
}

// depths reports the pause and the kernel's gaps of moves, where they are not results of their own.
func (m moves) depths() string {
	p50 := func(all []move, of func(move) float64) float64 { return Summarize(live(all, of)).P50 }
	part := func(all []move) string {
		return fmt.Sprintf("pause %.1f, kernel %.1f (ICMP) and %.1f (TCP), light service %.1f (UDP) and %.1f (TCP)",
			p50(all, pauseOf), p50(all, icmpOf), p50(all, acksOf), p50(all, udpOf), p50(all, tcpOf))
	}
	return fmt.Sprintf("medians of the same moves in ms: %s; with %s %s", part(m.ours), report.Peer, part(m.peer))
}
