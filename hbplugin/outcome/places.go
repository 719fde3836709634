package outcome

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/managers"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/command"
)

// startTime is how long is waited, once the node is empty, until the guests that were stopped have been started
// elsewhere or the cluster manager has given up.
const startTime = 2 * time.Minute

// connections is how many connections to other nodes are begun at the same time: sshd turns away some of more than ten
// that have not logged in yet (MaxStartups in sshd_config(5)).
const connections = 8

// Sources are who is asked where the guests are.
type Sources struct {
	Node    string // that was drained
	Manager inventory.Manager
	Open    inventory.Opener
	Run     command.Runner // runs a program of the cluster manager's
	Poll    time.Duration  // from one look to the next
	Guests  []inventory.Prediction
	Held    []hbplugin.Guest // what is still on the node by the manager's word
	Report  func(format string, args ...any)
}

// Wait finds out where each guest is, by name. isEmpty reports that the node is: then it waits for those that are
// started elsewhere.
func (s Sources) Wait(ctx context.Context, isEmpty bool) map[string]Place {
	places := s.places(ctx)
	if !isEmpty || allPlaced(s.Guests, places) || ctx.Err() != nil {
		return places
	}
	s.Report("waiting for %s to start what was stopped", s.Manager)
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if p := s.Manager.Pacemaker(); p != nil {
		if err := p.Wait(ctx, startTime); err != nil {
			s.Report("Pacemaker still has actions to run: %s", verdict.OneLine(err))
		}
		return s.places(context.WithoutCancel(ctx))
	}
	managers.Poll(ctx, s.Poll, time.Time{}, func() bool {
		places = s.places(context.WithoutCancel(ctx))
		return allPlaced(s.Guests, places)
	})
	return places
}

// places asks once. Guests that no manager has are where libvirt on this node has them.
func (s Sources) places(ctx context.Context) map[string]Place {
	ctx, cancel := context.WithTimeout(ctx, managers.AnswerTime)
	defer cancel()
	find := s.onPeers
	if p := s.Manager.Pacemaker(); p != nil {
		status, err := p.Status(ctx)
		find = func(_ context.Context, f inventory.Prediction) Place {
			p, known := status.Places[f.Resource]
			switch {
			case err != nil:
				return Place{Err: err}
			case !known:
				return Place{Err: errors.New("pacemaker has no such resource any more")}
			}
			return Place{Nodes: p.Nodes, IsBusy: p.Pending != ""}
		}
	}
	out := map[string]Place{}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(connections)
	for _, f := range s.Guests {
		group.Go(func() error {
			p := s.place(ctx, f, find)
			mu.Lock()
			defer mu.Unlock()
			out[f.Guest.Name] = p
			return nil
		})
	}
	_ = group.Wait() // none fails
	return out
}

func (s Sources) place(ctx context.Context, f inventory.Prediction,
	find func(context.Context, inventory.Prediction) Place) Place {
	if f.Guest.Claim == nil {
		return s.here(ctx, f.Guest)
	}
	p := find(ctx, f)
	if p.Err == nil && len(p.Nodes) == 0 {
		if here := s.here(ctx, f.Guest); here.Err == nil { // the manager may not know of it
			p.Nodes, p.There = here.Nodes, here.There
		}
	}
	if p.There == nil && len(p.Nodes) > 0 && !slices.Contains(p.Nodes, s.Node) {
		p.There, _ = StatusOn(ctx, s.Open, s.Run, f.Guest, p.Nodes[0]) // else the manager's word counts
	}
	return p
}

// here looks for a guest that nobody moves.
func (s Sources) here(ctx context.Context, g *inventory.Guest) Place {
	status, err := s.Open.Status(ctx, g.URI, g.Name)
	switch {
	case err != nil:
		return Place{Err: err}
	case status.State.Active():
		return Place{Nodes: []string{s.Node}, There: status}
	}
	return Place{}
}

// onPeers asks the libvirt of each other node for the guest, where the manager does not say where it is.
func (s Sources) onPeers(ctx context.Context, f inventory.Prediction) Place {
	if slices.ContainsFunc(s.Held, func(g hbplugin.Guest) bool { return g.Name == f.Resource }) {
		return Place{Nodes: []string{s.Node}}
	}
	peers, err := s.Manager.PeersUp(ctx)
	if err != nil {
		return Place{Err: err}
	}
	var p Place
	for _, node := range peers {
		switch status, err := StatusOn(ctx, s.Open, s.Run, f.Guest, node); {
		case err != nil:
			p.Err = err
		case status.State.Active():
			return Place{Nodes: []string{node}, There: status}
		}
	}
	return p
}

// StatusOn asks another node's libvirt for a guest that has a claim.
func StatusOn(ctx context.Context, open inventory.Opener, run command.Runner, g *inventory.Guest,
	node string) (*libvirt.Status, error) {
	to, err := g.Claim.Environ.Params.RouteTo(ctx, run, node)
	if err != nil {
		return nil, err
	}
	return open.Status(ctx, to.URI, g.Name)
}
