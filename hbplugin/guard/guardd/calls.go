package guardd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
	"github.com/vmferry/vmferry/migrate/wait"
)

// Fence waits for the proof that a node runs no guest, until the deadline of ctx, which must have one. Its error is
// that there is none, and why.
func (d *Daemon) Fence(ctx context.Context, node string) (evidence string, err error) {
	id := d.Header.ID(node)
	if id == 0 || id == d.ID {
		return "", fmt.Errorf("node %q cannot be fenced from here: the lease device names %v", node, d.Header.Nodes)
	}
	until, ok := ctx.Deadline()
	if !ok {
		return "", errors.New("a fence call needs a deadline")
	}
	d.readMembers(ctx)
	answer := make(chan protocol.Verdict, 1)
	d.do(ctx, func(now time.Duration) {
		d.calls[id] = append(d.calls[id], fenceCall{begun: now, guests: d.Node.Measure().Guests, answer: answer})
		d.guard.Fence(id, now, now+time.Until(until)-step)
	})
	select {
	case v := <-answer:
		if !v.Fenced {
			return "", fmt.Errorf("node %s is not fenced: %s", node, v.Evidence)
		}
		return v.Evidence, nil
	case <-ctx.Done():
		go d.leave(context.WithoutCancel(ctx), id, answer)
		return "", fmt.Errorf("node %s is not fenced: %w", node, ctx.Err())
	}
}

// leaveTime is far more than the loop takes to call a function.
const leaveTime = time.Minute

// leave ends a fence call whose caller has gone: a claim that nobody waits for must not make a node surrender.
func (d *Daemon) leave(ctx context.Context, id int, answer chan protocol.Verdict) {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	d.do(ctx, func(time.Duration) {
		waiting := slices.IndexFunc(d.calls[id], func(c fenceCall) bool { return c.answer == answer })
		if waiting < 0 {
			return
		}
		if d.calls[id] = slices.Delete(d.calls[id], waiting, waiting+1); len(d.calls[id]) == 0 {
			delete(d.calls, id)
			d.guard.Unfence(id)
		}
	})
}

// OpenLease takes the lease, in a new generation, and returns once guests may run. It waits for what it can wait for,
// until ctx ends: the error then is what was missing.
func (d *Daemon) OpenLease(ctx context.Context) error {
	d.readMembers(ctx) // both nodes of a cluster that boots ask at once, as soon as each is a member
	problem := errors.New("the guard does not answer")
	for {
		asked := d.ask(ctx, func(now time.Duration) {
			d.closed = false
			if err := d.openGuard(now); err != nil {
				problem = err
			} else {
				problem = d.mayRun(now)
			}
		})
		if asked && problem == nil {
			return nil
		}
		if wait.For(ctx, step) != nil {
			return problem
		}
	}
}

// MayRun reports whether guests may run and be started on a node, "" for this one; its error says why not. Of another
// node it says what was last seen: that its lease is held, and was renewed a moment ago.
func (d *Daemon) MayRun(ctx context.Context, node string) error {
	problem := errors.New("the guard does not answer")
	d.ask(ctx, func(now time.Duration) {
		if problem = nil; node == "" || node == d.name(d.ID) {
			problem = d.mayRun(now)
			return
		}
		problem = d.mayRunAt(node, now)
	})
	return problem
}

func (d *Daemon) close() (protocol.Phase, string) {
	d.closed = true
	d.guard.Close()
	return d.guard.Phase()
}

// mayRunAt says why guests may not be moved to a node, or nil.
func (d *Daemon) mayRunAt(node string, now time.Duration) error {
	for _, v := range d.guard.Views(now) {
		switch {
		case d.name(v.Node) != node:
		case !v.Seen:
			return fmt.Errorf("the lease of node %s cannot be read", node)
		case v.Slot.State != lease.Held:
			return fmt.Errorf("node %s does not hold its lease: it is %s", node, v.Slot.State)
		case v.Renewed > d.Header.Times.Fresh():
			return fmt.Errorf("node %s has not renewed its lease for %s", node, v.Renewed.Round(time.Millisecond))
		default:
			return nil
		}
	}
	return fmt.Errorf("the lease device knows no node %q: it names %v", node, d.Header.Nodes)
}

// Surrender gives the lease back, for the orderly end of the node: guests that still run are killed. It returns once
// the surrender is on the device, or with the error of ctx.
func (d *Daemon) Surrender(ctx context.Context) error {
	for {
		var phase protocol.Phase
		var why string
		if d.ask(ctx, func(time.Duration) { phase, why = d.close() }) && phase == protocol.Out {
			return nil
		}
		if wait.For(ctx, step) != nil {
			return fmt.Errorf("the surrender is not on the lease device yet: %s", why)
		}
	}
}
