package elsewhere

import (
	"slices"
	"strings"
	"time"
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

const (
	// peerTime is for a peer that need not answer, as one that crashed does not: a live
	// libvirt takes some tenths of a second. One that must answer gets as long as any call.
	peerTime = 2 * time.Second
	// leftTime is for one that left the cluster in order. Most often it is switched off.
	leftTime = time.Second
)

// Members is what a cluster manager knows of the other nodes, for one guest.
type Members struct {
	Peers    []Peer
	Known    bool     // the manager has named them all
	Runnable []string // the nodes that may run the guest at all; valid when Limited
	Limited  bool     // the manager has named those
}

// Question is a peer to ask for the guest before a start.
type Question struct {
	Node string
	Must bool // only its answer will do: a migration between it and this node has no known end
	Left bool // it left the cluster in order: that it gives no answer is as expected
}

// Questions are the peers to ask before a start at the node own. pending is the peer of a migration whose end is not
// known, empty for none.
//
// One that was fenced runs nothing. One that left in order may run what somebody started there by hand, so it is
// asked, but need not answer. One that may not run the guest at all is not asked, unless it is pending.
func Questions(own string, m Members, pending string) []Question {
	var all []Question
	listed := false
	for _, p := range m.Peers {
		isIt := func(node string) bool { return strings.EqualFold(node, p.Name) }
		isPending := pending != "" && isIt(pending)
		listed = listed || isPending
		may := !m.Limited || isPending || slices.ContainsFunc(m.Runnable, isIt)
		if p.State == PeerFenced || !may || isIt(own) {
			continue
		}
		left := p.State == PeerDown
		all = append(all, Question{Node: p.Name, Must: isPending && !left, Left: left})
	}
	if pending != "" && !listed { // it was taken out of the cluster, or nobody could say which nodes there are
		all = append(all, Question{Node: pending, Must: !m.Known, Left: m.Known})
	}
	return all
}

// limit is how long a peer gets for its answer.
func (q Question) limit(call time.Duration) time.Duration {
	switch {
	case q.Must:
		return call
	case q.Left:
		return min(leftTime, call)
	}
	return min(peerTime, call)
}
