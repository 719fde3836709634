package main

import (
	"context"
	"errors"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
)

// The cluster managers that the configuration can name.
const (
	managerAuto      = "auto"
	managerPacemaker = "pacemaker"
	managerHeartbeat = "heartbeat"
)

var managers = []string{managerAuto, managerPacemaker, managerHeartbeat}

// newManager makes the one that is configured.
func newManager(c Config) hbplugin.Manager {
	all := newManagers(c)
	if len(all) == 1 {
		return all[0]
	}
	return whichever(all)
}

// newManagers makes all that the configuration allows.
func newManagers(c Config) []hbplugin.Manager {
	p := &pacemaker.Client{Agents: c.Agents, Node: c.Node}
	h := &heartbeat.Client{Node: c.Node}
	switch c.Manager {
	case managerPacemaker:
		return []hbplugin.Manager{p}
	case managerHeartbeat:
		return []hbplugin.Manager{h}
	}
	return []hbplugin.Manager{p, h}
}

// whichever is all cluster managers that run on this node, looked for at each
// call. Normally that is one; it may be another after an upgrade, and while a
// node is moved from one to the other both may run.
type whichever []hbplugin.Manager

var _ hbplugin.Manager = whichever{}

var errNoManager = errors.New("no cluster manager runs on this node")

// String names the managers in messages.
func (w whichever) String() string {
	var names []string
	for _, m := range w {
		names = append(names, m.String())
	}
	return strings.Join(names, " or ")
}

// View implements hbplugin.Manager: the guests of all that run, in standby when
// each says so. One that cannot tell spoils the answer, as guests may be its own.
func (w whichever) View(ctx context.Context) (hbplugin.View, error) {
	all := hbplugin.View{Standby: true}
	for _, m := range w {
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
func (w whichever) Standby(ctx context.Context) error {
	return w.each(ctx, hbplugin.Manager.Standby)
}

// Unstandby implements hbplugin.Manager: it asks all that run.
func (w whichever) Unstandby(ctx context.Context) error {
	return w.each(ctx, hbplugin.Manager.Unstandby)
}

// each asks every manager that runs, and also those of which that cannot be
// told. Whoever fails does not keep the others from being asked.
func (w whichever) each(ctx context.Context, ask func(hbplugin.Manager, context.Context) error) error {
	var errs []error
	asked := false
	for _, m := range w {
		v, err := m.View(ctx)
		if err == nil && !v.Running {
			continue
		}
		asked = true
		errs = append(errs, ask(m, ctx))
	}
	if !asked {
		return errNoManager
	}
	return errors.Join(errs...)
}
