package managers

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
)

// Configured makes the managers that the configuration allows.
func Configured(c config.Config) []hbplugin.Cluster {
	return Select(c, &pacemaker.Client{Agents: c.Agents, Node: c.Node}, &heartbeat.Client{Node: c.Node})
}

// Select is those of the two managers that the configuration allows.
func Select(c config.Config, p, h hbplugin.Cluster) []hbplugin.Cluster {
	switch c.Manager {
	case config.Pacemaker:
		return []hbplugin.Cluster{p}
	case config.Heartbeat:
		return []hbplugin.Cluster{h}
	}
	return []hbplugin.Cluster{p, h}
}

// Running is one look at the cluster managers of this node.
type Running struct {
	Managers []hbplugin.Cluster // those that run: one at least
	Standby  bool               // all of them have the node in standby, and leave no guest on it
	Busy     bool               // one is at work on a guest that is here
}

// Look asks which managers run. It is ErrNone where none does.
func Look(ctx context.Context, all []hbplugin.Cluster) (Running, error) {
	r := Running{Standby: true}
	for _, m := range all {
		v, err := m.View(ctx)
		if err != nil {
			return Running{}, err
		}
		if v.Running {
			// Heartbeat's is in standby, too, where no other node is active to take its guests.
			left := slices.ContainsFunc(v.Guests, func(g hbplugin.Guest) bool { return g.Stuck != "" })
			r.Managers, r.Standby = append(r.Managers, m), r.Standby && v.Standby && !left
			r.Busy = r.Busy || slices.ContainsFunc(v.Guests, func(g hbplugin.Guest) bool { return g.Moving })
		}
	}
	if len(r.Managers) == 0 {
		return Running{}, ErrNone
	}
	return r, nil
}

// Any is all cluster managers that run on this node as one, looked for at each
// call. Normally that is one; it may be another after an upgrade, and while a
// node is moved from one to the other both may run.
type Any []hbplugin.Cluster

var _ hbplugin.Manager = Any{}

// ErrNone says that no manager runs here.
var ErrNone = errors.New("no cluster manager runs on this node")

// String names the managers in messages.
func (a Any) String() string {
	var names []string
	for _, m := range a {
		names = append(names, m.String())
	}
	return strings.Join(names, " or ")
}

// View implements hbplugin.Manager: the guests of all that run, in standby when
// each says so. One that cannot tell spoils the answer, as guests may be its own.
func (a Any) View(ctx context.Context) (hbplugin.View, error) {
	all := hbplugin.View{Standby: true}
	for _, m := range a {
		v, err := m.View(ctx)
		if err != nil {
			return hbplugin.View{}, err
		}
		if v.Running {
			all.Running = true
			all.Standby = all.Standby && v.Standby
			all.Guests = append(all.Guests, v.Guests...)
		}
	}
	if !all.Running {
		return hbplugin.View{}, nil
	}
	return all, nil
}

// Standby implements hbplugin.Manager: it asks all that run.
func (a Any) Standby(ctx context.Context) error {
	return a.each(ctx, hbplugin.Manager.Standby)
}

// Unstandby implements hbplugin.Manager: it asks all that run.
func (a Any) Unstandby(ctx context.Context) error {
	return a.each(ctx, hbplugin.Manager.Unstandby)
}

// each asks every manager that runs, and also those of which that cannot be
// told. Whoever fails does not keep the others from being asked.
func (a Any) each(ctx context.Context, ask func(hbplugin.Manager, context.Context) error) error {
	var errs []error
	asked := false
	for _, m := range a {
		v, err := m.View(ctx)
		if err == nil && !v.Running {
			continue
		}
		asked = true
		errs = append(errs, ask(m, ctx))
	}
	if !asked {
		return ErrNone
	}
	return errors.Join(errs...)
}
