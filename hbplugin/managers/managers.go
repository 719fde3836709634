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
	View     hbplugin.View      // of all of them: the guests of each, in standby when each says so
	Standby  bool               // all of them have the node in standby, and leave no guest on it
	Busy     bool               // one is at work on a guest that is here
}

// ErrNone says that no manager runs here.
var ErrNone = errors.New("no cluster manager runs on this node: type systemctl start pacemaker, or heartbeat")

// Look asks which managers run. It is ErrNone where none does. One that cannot tell spoils the answer, as guests may be
// its own.
func Look(ctx context.Context, all []hbplugin.Cluster) (Running, error) {
	r := Running{View: hbplugin.View{Running: true, Standby: true}}
	for _, m := range all {
		v, err := m.View(ctx)
		if err != nil {
			return Running{}, err
		}
		if v.Running {
			r.Managers, r.View.Standby = append(r.Managers, m), r.View.Standby && v.Standby
			r.View.Guests = append(r.View.Guests, v.Guests...)
		}
	}
	if len(r.Managers) == 0 {
		return Running{}, ErrNone
	}
	// Heartbeat's is in standby, too, where no other node is active to take its guests.
	isStuck := func(g hbplugin.Guest) bool { return g.Stuck != "" }
	r.Standby = r.View.Standby && !slices.ContainsFunc(r.View.Guests, isStuck)
	r.Busy = slices.ContainsFunc(r.View.Guests, func(g hbplugin.Guest) bool { return g.Moving })
	return r, nil
}

// Any is all cluster managers that run on this node as one, looked for at each
// call. Normally that is one; it may be another after an upgrade, and while a
// node is moved from one to the other both may run.
type Any []hbplugin.Cluster

var _ hbplugin.Manager = Any{}

// String names the managers in messages.
func (a Any) String() string {
	var names []string
	for _, m := range a {
		names = append(names, m.String())
	}
	return strings.Join(names, " or ")
}

// View implements hbplugin.Manager.
func (a Any) View(ctx context.Context) (hbplugin.View, error) {
	r, err := Look(ctx, a)
	if errors.Is(err, ErrNone) {
		err = nil
	}
	return r.View, err
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
	for _, m := range a {
		if v, err := m.View(ctx); err != nil || v.Running {
			errs = append(errs, ask(m, ctx))
		}
	}
	if len(errs) == 0 {
		return ErrNone
	}
	return errors.Join(errs...)
}
