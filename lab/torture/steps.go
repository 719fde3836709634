package torture

import (
	"context"
	"errors"
	"time"
)

// step is one thing that is done to the world, so long after the begin of its fault.
type step struct {
	after time.Duration
	do    func(context.Context) error
}

// ways are what the kinds cut.
var ways = map[Kind][]Way{
	CutLink: {Link}, CutNetwork: {Network}, CutGateway: {Gateway}, CutStorage: {Storage},
	CutLinkGateway: {Link, Gateway},
	CutLinkStorage: {Storage, Link}, OneWay: {Inward}, Flapping: {Link},
}

// steps are what a fault consists of. undo leaves nothing of it behind, wherever it was interrupted; nil where there is
// nothing to leave.
func steps(w World, f Fault) (all []step, undo func(context.Context) error) {
	once := func(do func(context.Context) error) []step { return []step{{0, do}} }
	node := func(do func(context.Context, string) error) func(context.Context) error {
		return func(ctx context.Context) error { return do(ctx, f.Node) }
	}
	during := func(begin, end func(context.Context) error) []step { return []step{{0, begin}, {f.Lasts, end}} }
	switch f.Kind {
	case Crash:
		return once(node(w.Crash)), nil
	case Hang:
		return during(node(w.Hang), node(w.Wake)), node(w.Wake)
	case FullDisk:
		return during(node(w.Fill), node(w.Free)), node(w.Free)
	case ClockStep:
		back := func(ctx context.Context) error { return w.StepClock(ctx, f.Node, -f.Step) }
		return during(func(ctx context.Context) error { return w.StepClock(ctx, f.Node, f.Step) }, back), nil
	case Reboot:
		return once(node(w.Reboot)), nil
	case Move:
		return once(node(w.Move)), nil
	case KillAgent:
		return once(func(ctx context.Context) error { return w.KillAgent(ctx, f.Node, f.Delay) }), nil
	}
	if cut, ok := ways[f.Kind]; ok {
		return cuts(w, f, cut)
	}
	return once(func(ctx context.Context) error { return w.Kill(ctx, f.Node, f.Kind) }), nil
}

// cuts are the steps of a fault that cuts ways, once or, of a link that flaps, again and again.
func cuts(w World, f Fault, cut []Way) (all []step, undo func(context.Context) error) {
	each := func(do func(context.Context, string, Way) error) func(context.Context) error {
		return func(ctx context.Context) (err error) {
			for _, way := range cut {
				err = errors.Join(err, do(ctx, f.Node, way))
			}
			return err
		}
	}
	down, up := each(w.Cut), each(w.Heal)
	parts := f.Flaps
	if f.Kind != Flapping {
		parts = []time.Duration{f.Lasts}
	}
	var at time.Duration
	for i, part := range append(parts[:len(parts):len(parts)], 0) {
		do := down
		if i%2 == 1 {
			do = up
		}
		all = append(all, step{at, do})
		at += part
	}
	return all, up
}
