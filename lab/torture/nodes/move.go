package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/torture"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	moveTime = 90 * time.Second     // for a move by the manager
	seekTime = 20 * time.Second     // until the agent of a move is there
	seekRest = 5 * time.Millisecond // between two looks for it
)

// choose finds a guest of the node, and where to; where it has none, a guest elsewhere and the node itself.
func (w *World) choose(node string) (guest, from, to string, err error) {
	for _, g := range w.Runner.Guests {
		at := w.Runner.Where(g.Name)
		if len(at) != 1 {
			continue
		}
		guest, from, to = g.Name, at[0], node
		if at[0] == node {
			i := slices.IndexFunc(w.cluster().Nodes, func(n string) bool { return n != node })
			return guest, node, w.cluster().Nodes[i], nil
		}
	}
	if guest == "" {
		err = errors.New("no guest runs, so none can be moved")
	}
	return guest, from, to, err
}

// anywhere runs a command on the first of the nodes where it succeeds.
func (w *World) anywhere(ctx context.Context, program string, args ...string) error {
	var all error
	for _, node := range w.cluster().Nodes {
		_, err := w.cluster().Run(ctx, node, program, args...)
		if err == nil {
			return nil
		}
		all = errors.Join(all, err)
	}
	return all
}

// settleMove waits until the manager has nothing left to do, and takes the constraint back that the move was.
func (w *World) settleMove(ctx context.Context, guest string) error {
	ctx, cancel := context.WithTimeout(ctx, moveTime)
	defer cancel()
	// a fault beside it may take longer: that is seen later
	_ = w.anywhere(ctx, "crm_resource", "--wait", "--timeout=60")
	return w.anywhere(ctx, "crm_resource", "--clear", "--resource="+guest)
}

// Move is as in [torture.World].
func (w *World) Move(ctx context.Context, node string) error {
	guest, _, to, err := w.choose(node)
	if err != nil {
		return err
	}
	if err := w.anywhere(ctx, "crm_resource", "--move", "--resource="+guest, "--node="+to); err != nil {
		return err
	}
	return w.settleMove(ctx, guest)
}

// KillAgent is as in [torture.World].
func (w *World) KillAgent(ctx context.Context, node string, delay time.Duration) error {
	guest, from, to, err := w.choose(node)
	if err != nil {
		return err
	}
	if err := w.anywhere(ctx, "crm_resource", "--move", "--resource="+guest, "--node="+to); err != nil {
		return err
	}
	return errors.Join(w.killMover(ctx, from, delay), w.settleMove(ctx, guest))
}

// killMover waits for the agent that moves a guest away from the node, and kills it delay later. An agent that is done
// by then is not killed.
func (w *World) killMover(ctx context.Context, node string, delay time.Duration) error {
	seek, cancel := context.WithTimeoutCause(ctx, seekTime,
		fmt.Errorf("no agent began to move a guest away from %s: %w", node, torture.ErrUnable))
	defer cancel()
	for {
		if agents, err := w.movers(node); err != nil || len(agents) > 0 {
			if err == nil {
				err = wait.For(ctx, delay)
			}
			if err != nil {
				return err
			}
			break
		}
		if wait.For(seek, seekRest) != nil {
			return context.Cause(seek)
		}
	}
	agents, err := w.movers(node)
	if err != nil {
		return err
	}
	if len(agents) == 0 {
		return fmt.Errorf("the move was over after %s: %w", delay, torture.ErrUnable)
	}
	return kill(agents)
}

func (w *World) movers(node string) ([]process, error) {
	some, err := processes("/proc", node)
	return slices.DeleteFunc(some, func(p process) bool { return !movesGuest(p) }), err
}

// Settled is as in [torture.World].
func (w *World) Settled(ctx context.Context) error {
	all := w.cluster().Nodes
	var seen cluster.Monitor
	for _, node := range all {
		m, err := w.cluster().Monitor(ctx, node)
		if err != nil {
			return err
		}
		if !m.Ready(all...) {
			return fmt.Errorf("not all nodes are members for %s", node)
		}
		if _, err := w.cluster().Run(ctx, node, "systemctl", "is-active", "--quiet",
			"vmferry-guard.service"); err != nil {
			return fmt.Errorf("the guard of %s: %w", node, err)
		}
		seen = m
	}
	for _, g := range w.Runner.Guests {
		r, at := seen.Resources[g.Name], w.Runner.Where(g.Name)
		if r.Role != "Started" || r.Blocked || !slices.Equal(r.On, at) || len(at) != 1 {
			return fmt.Errorf("guest %s is %s on %v for Pacemaker, and runs on %v", g.Name, r.Role, r.On, at)
		}
	}
	return nil
}
