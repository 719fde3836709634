package guardd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
)

// Status is what the guard knows now, and whether it is well: it holds its lease, and reads every slot.
func (d *Daemon) Status(ctx context.Context) (report control.StatusReport, err error) {
	err = fmt.Errorf("the guard does not answer")
	d.ask(ctx, func(now time.Duration) { report, err = d.status(now) })
	return report, err
}

func (d *Daemon) status(now time.Duration) (control.StatusReport, error) {
	phase, why := d.guard.Phase()
	r := control.StatusReport{Schema: 1, Cluster: d.Header.Cluster, Node: d.name(d.ID), Phase: phase.String(), Why: why,
		Prepared: d.Prepared}
	own := d.guard.Own()
	if phase == protocol.Held || phase == protocol.Moving {
		r.AgeMS = d.guard.Age(now).Milliseconds()
	}
	here := d.Node.Measure()
	r.Nodes = []control.NodeReport{{Name: r.Node, State: own.State.String(), Generation: own.Generation, Member: true,
		Reached: here.Reached, Guests: here.Guests, WatchdogMS: own.Watchdog.Milliseconds(), Gone: phase == protocol.Out}}
	var problem error
	if phase != protocol.Held {
		problem = fmt.Errorf("this node does not hold its lease: %s", why)
	}
	if r.NoSecond = !d.secondRuns(); r.NoSecond {
		problem = cmp.Or(problem, errNoSecond)
	}
	for _, v := range d.guard.Views(now) {
		n := control.NodeReport{Name: d.name(v.Node), State: v.Slot.State.String(), Generation: v.Slot.Generation,
			Member: v.Member, Reached: v.Slot.Reached, Guests: v.Slot.Guests, SeenMS: v.Renewed.Milliseconds(),
			Expired: v.Expired, Gone: v.Gone, WatchdogMS: v.Slot.Watchdog.Milliseconds()}
		if v.Foreign != "" {
			n.NotShared, problem = true, cmp.Or(problem, errors.New(v.Foreign))
		}
		n.Claim, n.Claimed = v.Mine, v.Theirs
		if !v.Seen {
			n.State = "unknown"
			problem = cmp.Or(problem, fmt.Errorf("the slot of node %s cannot be read", n.Name))
		}
		r.Nodes = append(r.Nodes, n)
	}
	slices.SortFunc(r.Nodes, func(a, b control.NodeReport) int { return cmp.Compare(a.Name, b.Name) })
	return r, problem
}

// Answer serves the control socket.
func (d *Daemon) Answer(ctx context.Context, r control.Request) control.Reply {
	var why string
	var err error
	switch r.Verb {
	case control.Fence:
		why, err = d.Fence(ctx, r.Node)
	case control.Open:
		if own := d.name(d.ID); r.Node != "" && r.Node != own {
			return control.Reply{Why: fmt.Sprintf("node %s takes its lease itself: this is node %s", r.Node, own)}
		}
		err = d.OpenLease(ctx)
	case control.Surrender:
		err = d.Surrender(ctx)
	case control.Confirm:
		why, err = d.Confirm(ctx, r.Node, r.UID)
	case control.MayRun:
		err = d.MayRun(ctx, r.Node)
	case control.Status:
		var report control.StatusReport
		report, err = d.Status(ctx)
		text, encodeErr := json.Marshal(report)
		reply := control.Reply{OK: err == nil && encodeErr == nil, Status: text}
		if err != nil {
			reply.Why = err.Error()
		}
		return reply
	default:
		err = fmt.Errorf("unknown request %q: the guard and its caller are of different versions", r.Verb)
	}
	if err != nil {
		return control.Reply{Why: err.Error()}
	}
	return control.Reply{OK: true, Why: why}
}
