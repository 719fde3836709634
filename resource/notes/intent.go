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
	// from its begin: it may have gone on for long.
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
