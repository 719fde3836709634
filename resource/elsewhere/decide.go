package elsewhere

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/observe"
)

// Presence is what a peer's libvirt says of a guest that is to be started here.
type Presence int

// What is on a peer, the less of a hindrance first.
const (
	Nothing    Presence = iota // it does not have the guest, or cannot be asked and need not be
	Moving                     // it has a part of the guest, or is removing it: soon it is gone or runs there
	Unanswered                 // it cannot be asked, and only its answer will do
	Running                    // the guest runs there
	Held                       // the guest is there, and does not run
)

// presences are those of libvirt's states. Both ends of a migration call the guest paused while it switches over, and
// its target does so until libvirt there has noticed that the source is gone (keepalive: half a minute) and has
// dropped what came.
var presences = map[observe.LibvirtState]Presence{
	"running":                 Running,
	"blocked":                 Running,
	"running/postcopy":        Moving, // it arrives
	"running/postcopy-failed": Held,
	"no state":                Moving,
	"paused":                  Held,
	"paused/migration":        Moving,
	observe.PausedStartingUp:  Moving,
	observe.PausedPostCopy:    Moving, // it leaves
	observe.PausedSave:        Moving,
	"paused/dump":             Moving,
	"paused/snapshot":         Moving,
	"paused/from-snapshot":    Moving,
	"paused/shutting-down":    Moving,
	"shutting down":           Moving,
	"shut off":                Nothing,
	"crashed":                 Held,
	"suspended":               Held,
}

// presenceOf is a peer's by libvirt's status. What the table does not know, the peer has.
func presenceOf(s libvirt.Status) Presence {
	if p, ok := observe.Lookup(presences, observe.StateOf(s)); ok {
		return p
	}
	return Held
}

// Answer is what came of one question.
type Answer struct {
	Question
	Presence Presence
	Status   libvirt.Status // of Moving, Running and Held
	Err      error          // why there is no answer
}

// Decision is what a start does about the guest's traces on other nodes.
type Decision int

// The decisions. The zero value starts nothing.
const (
	Refuse Decision = iota // somebody else has it, or may have it
	Wait                   // ask again in a moment
	Fetch                  // move it here from where it runs, live
	Start                  // it is nowhere
)

// Decide is what to do by all answers, and the answer that decides. fetches reports whether a guest that runs on a node
// is to be brought here.
//
// A guest that is on its way somewhere is waited for: soon it runs there, or is gone. One that runs on a peer is not.
func Decide(all []Answer, fetches func(node string) bool) (Decision, Answer) {
	var worst Answer
	moving, traces := false, 0
	for _, a := range all {
		moving = moving || a.Presence == Moving
		if a.Presence != Nothing {
			traces++
		}
		if a.Presence > worst.Presence {
			worst = a
		}
	}
	mayFetch := worst.Presence == Running && fetches(worst.Node)
	switch {
	case traces == 0:
		return Start, worst
	case moving && (worst.Presence <= Unanswered || mayFetch):
		return Wait, worst
	case mayFetch && traces == 1:
		return Fetch, worst
	}
	return Refuse, worst
}

// PresentError is why a guest is not started: another node has it.
type PresentError struct {
	Node     string
	Status   libvirt.Status
	Guest    string
	Resource string // the resource's id in the cluster manager
}

// Error says where it is and what to do.
func (e *PresentError) Error() string {
	if presenceOf(e.Status) == Moving {
		return fmt.Sprintf("a part of it is on %s still, %s (%s): wait until that has ended; "+
			"if nothing sends it any more, on %s type virsh destroy %s",
			e.Node, e.Status.State, e.Status.Reason, e.Node, shellword.Operands(e.Guest))
	}
	return fmt.Sprintf("it is on %s already, %s (%s): to end it, on %s type virsh shutdown %s; "+
		"to let Pacemaker find it, type crm_resource --refresh --resource %s",
		e.Node, e.Status.State, e.Status.Reason, e.Node, shellword.Operands(e.Guest), shellword.Word(e.Resource))
}

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
