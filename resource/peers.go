package resource

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/resource/notes"
)

// PeerState is what the cluster manager knows of another node.
type PeerState int

// The states of a peer.
const (
	PeerUnknown PeerState = iota // nobody can tell
	PeerUp                       // a member of the cluster
	PeerDown                     // no member of the cluster, and in order; not known to be fenced, so it may run
	PeerFenced                   // fenced with success since it was last a member: nothing of it runs
)

// Peer is another node of the cluster, which may run the guest.
type Peer struct {
	Name  string
	State PeerState
}

// managerTime bounds what the manager is asked before a start, in which clients wait.
const managerTime = 5 * time.Second

// roster is what a cluster manager knows of the other nodes, for one guest.
type roster struct {
	peers    []Peer
	known    bool     // the manager has named them all
	runnable []string // the nodes that may run the guest at all; valid when limited
	limited  bool     // the manager has named those
}

// question is a peer to ask for the guest before a start.
type question struct {
	node string
	must bool // only its answer will do: a migration between it and this node has no known end
	left bool // it is in the cluster no more, in order: that it gives no answer is as expected
}

// questions are the peers to ask before a start at the node own; i is the note of a migration whose end is not known,
// if pending.
//
// One that was fenced runs nothing. One that left in order may run what somebody started there by hand, so it is
// asked, but need not answer. One that may not run the guest at all is not asked, unless the note names it.
func questions(own string, r roster, i notes.Intent, pending bool) []question {
	var all []question
	listed := false
	for _, p := range r.peers {
		noted := pending && i.IsWith(p.Name)
		listed = listed || noted
		isIt := func(node string) bool { return strings.EqualFold(node, p.Name) }
		may := !r.limited || noted || slices.ContainsFunc(r.runnable, isIt)
		if p.State == PeerFenced || !may || strings.EqualFold(p.Name, own) {
			continue
		}
		left := p.State == PeerDown
		all = append(all, question{node: p.Name, must: noted && !left, left: left})
	}
	if pending && !listed { // it was taken out of the cluster, or nobody could say which nodes there are
		all = append(all, question{node: i.Peer, must: !r.known, left: r.known})
	}
	return all
}

// limit is how long a peer gets for its answer.
func (q question) limit(call time.Duration) time.Duration {
	switch {
	case q.must:
		return call
	case q.left:
		return min(leftTime, call)
	}
	return min(peerTime, call)
}

// roster asks the cluster manager.
func (p *proof) roster(ctx context.Context) roster {
	var r roster
	if p.Peers == nil {
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, min(managerTime, p.budget.call))
	defer cancel()
	limits := make(chan error, 1)
	go func() { limits <- p.limit(ctx, &r) }()
	peers, err := p.Peers(ctx)
	if lerr := <-limits; lerr != nil {
		p.once("limit", func() {
			p.Log.WithError(lerr).Info("the cluster manager does not say which nodes may run the guest: all are asked")
		})
	}
	if err != nil {
		p.once("peers", func() {
			p.Log.WithError(err).Warn("the cluster manager does not name the other nodes: " +
				"that none of them runs the guest is not proven, beyond one that a migration was begun with")
		})
		return roster{}
	}
	r.peers, r.known = peers, true
	return r
}

// limit asks which nodes may run the guest, where the manager can tell.
func (a *run) limit(ctx context.Context, r *roster) error {
	if a.Runnable == nil {
		return nil
	}
	nodes, err := a.Runnable(ctx, a.Instance)
	if err != nil {
		return err
	}
	r.runnable, r.limited = nodes, true
	return nil
}
