package notes

import (
	"strings"
	"time"
)

// The directions of a migration, seen from this node.
const (
	Outward = "out" // migrate_to began here
	Inward  = "in"  // migrate_from waited here, or a start fetched the guest
)

const (
	// interruptedTime is for how long a migration whose agent was killed explains what happens to its guest, counted
	// from its begin: it may have taken long.
	interruptedTime = time.Hour
	// underWayTime is how long a migration is under way at most.
	underWayTime = 5 * time.Minute
)

// Intent is intents/ID.json: a migration of the guest has begun, and its end is not known. Both nodes write it: the
// source before the first step, the target while it waits. It is removed when it is known where the guest runs. What is
// left of a killed agent tells the next one whom to ask before it starts the guest, and that a migration which it finds
// under way is its own.
type Intent struct {
	Way   string    `json:"way"` // Outward or Inward
	Guest string    `json:"guest"`
	UUID  string    `json:"uuid"`
	Peer  string    `json:"peer"` // the other node's name
	Began time.Time `json:"began"`
}

func (i Intent) isWhole() bool { return i.Peer != "" }

// IsRecent reports whether the migration began not long ago: then it explains why the guest is stopped or started here.
func (i Intent) IsRecent(now time.Time) bool { return now.Sub(i.Began).Abs() < interruptedTime }

// IsLeaving reports whether the guest may be on its way from here. A migration that began long ago was interrupted.
func (i Intent) IsLeaving(now time.Time) bool {
	return i.Way == Outward && isWithin(underWayTime, i.Began, now)
}

// IsWith reports whether the other node is this one. Names of nodes have no case.
func (i Intent) IsWith(node string) bool { return strings.EqualFold(i.Peer, node) }

const (
	// returnTime is for how long a guest that moved to a peer is brought back by a start here, instead of refused. The
	// cluster manager orders such a start as soon as the move has ended, after what else it has under way.
	returnTime = 5 * time.Minute
	// handOverTime is how long the cluster manager may take, after a migrate_to, for the migrate_from on the target and
	// the stop here. Later than that it has done something else.
	handOverTime = 30 * time.Second
	// drainTime is how long ago another guest may have left this node in the same drain.
	drainTime = 15 * time.Second
)

// Departure is departures/ID.json: the guest has moved from here to a peer. A migrate_to that succeeds writes it,
// before it removes the [Intent]: one of them is always there. A start soon after that reads it, and brings the guest
// back; so does a migrate_to of another guest that fails, which waits until the cluster manager has stopped this one
// here. A start or a migrate_from of the guest removes it.
type Departure struct {
	Guest string    `json:"guest"`
	Peer  string    `json:"peer"`
	At    time.Time `json:"at"`
	// Stopped says that the cluster manager has had the guest stopped here since: it knows that the guest has moved.
	Stopped bool `json:"stopped,omitempty"`
}

func (d Departure) isWhole() bool { return true }

// IsTo reports whether the guest has just moved to the node. A time that is to come is none.
func (d Departure) IsTo(node, guest string, now time.Time) bool {
	return d.Guest == guest && strings.EqualFold(d.Peer, node) && isWithin(returnTime, d.At, now)
}

// AwaitsStop reports whether the guest has moved, and the cluster manager has yet to call migrate_from on the target
// and to stop it here.
func (d Departure) AwaitsStop(now time.Time) bool {
	return !d.Stopped && isWithin(handOverTime, d.At, now)
}

// IsOfThisDrain reports whether the guest left so lately that others who leave now do so for the same reason.
func (d Departure) IsOfThisDrain(now time.Time) bool { return now.Sub(d.At).Abs() < drainTime }

// failureTime is for how long a failed migration explains a stop. The cluster manager requests that
// stop as soon as its other work is done; much later it is the operator's wish.
const failureTime = 15 * time.Minute

// Failure is stranded/ID.json: a migrate_to of the guest has failed here. That migrate_to writes it. The next stop
// reads it: it is a rung of the guest's ladder, and not the wish of an operator to have the guest down. It is removed
// when the guest has left this node, or was started on it.
type Failure struct {
	Guest string    `json:"guest"`
	Peer  string    `json:"peer,omitempty"`
	Why   string    `json:"why"`
	Check string    `json:"check,omitempty"` // of the pre-flight, that refused it
	At    time.Time `json:"at"`
}

func (f Failure) isWhole() bool { return true }

// ExplainsStop reports whether a stop of the guest follows from the failure.
func (f Failure) ExplainsStop(guest string, now time.Time) bool {
	return f.Guest == guest && now.Sub(f.At).Abs() < failureTime
}
