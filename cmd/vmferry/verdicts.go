package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource"
)

const (
	// forecastTime bounds the manager's word: Pacemaker's scheduler runs once for it.
	forecastTime = 30 * time.Second
	// examineTime bounds the pre-flight of one guest. A libvirtd that was just started takes most of a minute to
	// tell its capabilities.
	examineTime = time.Minute
	// foretellTime bounds all verdicts of a node together.
	foretellTime = 5 * time.Minute
)

// forecaster is the manager as one that tells beforehand what it would do.
func forecaster(m hbplugin.Manager) (hbplugin.Forecaster, bool) {
	f, ok := m.(hbplugin.Forecaster)
	return f, ok
}

// foretold is the verdict of a guest, whether a manager has it or not.
type foretold struct {
	guest *guest
	hbplugin.Verdict
}

// foretell asks what becomes of each guest of this node when the node goes into standby, and says so meanwhile.
// Nothing is changed. Who gives no answer in time is Untold, as is everybody when ctx ends.
func (c *call) foretell(ctx context.Context, inv *inventory) []foretold {
	ctx, cancel := context.WithTimeoutCause(ctx, foretellTime, fmt.Errorf("not all was answered within %v", foretellTime))
	defer cancel()
	said := map[string][]hbplugin.Verdict{}
	for _, m := range inv.managers {
		said[m.String()] = c.askManager(ctx, inv, m)
	}
	var out []foretold
	for _, g := range inv.guests {
		if g.here() && !(g.Incoming && !g.active()) {
			out = append(out, foretold{g, inv.verdictOf(g, said)})
		}
	}
	return out
}

// askManager has the verdicts of the guests that one manager has here.
func (c *call) askManager(ctx context.Context, inv *inventory, m managed) []hbplugin.Verdict {
	guests := inv.managedBy(m)
	if len(guests) == 0 {
		return nil
	}
	meter := c.meter()
	defer meter.end()
	c.tell("asking %s what becomes of %s", m, plural(len(guests), "guest"))
	asker := verdict.For(predictor{m.Cluster, c.forecaster}, c.openHost, c.program)
	examine := asker.Examine
	var mu sync.Mutex
	asker.Examine = func(ctx context.Context, req migrate.Request) (migrate.Examination, error) {
		mu.Lock()
		doing := fmt.Sprintf("asking node %s about guest %s", req.Target, req.Guest)
		meter.show(time.Now(), doing, doing)
		mu.Unlock()
		return examine(ctx, req)
	}
	return asker.Ask(ctx, guests)
}

// predictor is a manager of which it is not known yet whether it tells beforehand what it would do.
type predictor struct {
	hbplugin.Cluster
	forecaster func(hbplugin.Manager) (hbplugin.Forecaster, bool)
}

// Forecast implements hbplugin.Forecaster, within its time.
func (p predictor) Forecast(ctx context.Context) ([]hbplugin.Verdict, error) {
	f, able := p.forecaster(p.Cluster)
	if !able {
		return nil, fmt.Errorf("%s does not say beforehand what it would do", p.Cluster)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, forecastTime, fmt.Errorf("no answer within %v", forecastTime))
	defer cancel()
	return f.Forecast(ctx)
}

// Claims implements hbplugin.Forecaster.
func (p predictor) Claims(ctx context.Context) ([]hbplugin.Claim, error) {
	f, able := p.forecaster(p.Cluster)
	if !able {
		return nil, fmt.Errorf("%s does not list its guests", p.Cluster)
	}
	return f.Claims(ctx)
}

// program runs a program of the cluster manager's.
func (m *machine) program(ctx context.Context, name string, args ...string) (string, error) {
	out, err := m.run(ctx, name, args...)
	return string(out), err
}

// peersUp are the other nodes that can take guests now.
func peersUp(ctx context.Context, m managed) (up []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, managerTime)
	defer cancel()
	peers, err := m.Peers(ctx)
	for _, p := range peers {
		if p.State == resource.PeerUp {
			up = append(up, p.Name)
		}
	}
	return up, err
}

// managedBy are the guests that the manager has here, as far as it is known what libvirt calls them.
func (inv *inventory) managedBy(m managed) []verdict.Guest {
	var out []verdict.Guest
	for _, g := range inv.guests {
		if g.View != nil && g.Claim != nil && g.Claim.manager == m.String() {
			v := verdict.Guest{Resource: g.Claim.resource, Name: g.Name, UUID: g.UUID,
				Params: g.Claim.env.Params, Ruled: g.Claim.ruled}
			if !g.Claim.foreign { // another agent may make something of what this one cannot use
				v.Problems = g.Claim.env.Problems
			}
			out = append(out, v)
		}
	}
	return out
}

// verdictOf is the verdict of one guest. said is by manager.
func (inv *inventory) verdictOf(g *guest, said map[string][]hbplugin.Verdict) hbplugin.Verdict {
	switch {
	case g.Claim == nil && inv.unsure != nil:
		why := "it is not known whether a cluster manager has it: " + oneLine(inv.unsure)
		return hbplugin.Verdict{Fate: hbplugin.Untold, Why: why}
	case g.Claim == nil:
		return hbplugin.Verdict{Fate: hbplugin.Stays, Why: "no cluster manager has it", Remedy: byHandRemedy(g.Name)}
	}
	list := said[g.Claim.manager]
	i := slices.IndexFunc(list, func(v hbplugin.Verdict) bool { return v.Resource == g.Claim.resource })
	switch {
	case i >= 0:
		return list[i]
	case g.View == nil:
		return hbplugin.Verdict{Resource: g.Claim.resource, Fate: hbplugin.Untold,
			Why:    "it is here, and " + g.Claim.manager + " does not have it on this node",
			Remedy: "a move may be under way: type: vmferry status"}
	}
	why := g.Claim.manager + " says nothing of it"
	return hbplugin.Verdict{Resource: g.Claim.resource, Fate: hbplugin.Untold, Why: why}
}

// byHandRemedy is what moves a guest that no manager moves.
func byHandRemedy(name string) string {
	return "before the node goes down, type: vmferry migrate " + shellword.Operands(name, "NODE")
}

// notLive names the guests that would not be moved live, with why; nil where there is none.
func notLive(said []foretold) error {
	var names []string
	for _, f := range said {
		if !f.Fate.KeepsRunning() {
			names = append(names, f.guest.Name+" "+verdict.Words(f.Verdict))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %s would not be moved live: %s",
		len(names), plural(len(said), "guest"), strings.Join(names, "; "))
}
