package notes

import (
	"strings"
	"time"
)

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
