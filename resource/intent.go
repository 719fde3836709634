package resource

import (
	"errors"
	"io/fs"
	"strings"
	"time"
)

// intentsDir is the folder of the state directory that outlives a boot.
const intentsDir = "intents"

// The directions of a migration, seen from this node.
const (
	outward = "out" // migrate_to began here
	inward  = "in"  // migrate_from waited here
)

// intent is the note that a migration has begun and that its end is not known. Both nodes
// keep one: the source from before the first step until the guest is proven to be at one end,
// the target while it waits. What is left of a killed agent tells the next one whom to ask
// before it starts the guest, and that a migration which it finds under way is its own.
type intent struct {
	Way   string    `json:"way"` // outward or inward
	Guest string    `json:"guest"`
	UUID  string    `json:"uuid"`
	Peer  string    `json:"peer"` // the other node's name
	Began time.Time `json:"began"`
}

// intend writes the note. Nothing may be begun without it.
func (a *run) intend(way, peer, uuid string) error {
	i := intent{Way: way, Guest: a.guest.Name, UUID: uuid, Peer: peer, Began: time.Now()}
	if err := a.tidy(func() error { return a.lasting.save(intentsDir, a.Instance, i) }); err != nil {
		return because(Generic, err, "the migration cannot be noted before it begins: make the state directory writable")
	}
	a.step("intended")
	return nil
}

// pending is the note of a migration of this guest whose end is not known; ok is false where
// there is none. A note that cannot be read is an error: it may name a peer.
func (a *run) pending() (i intent, ok bool, err error) {
	err = a.lasting.load(intentsDir, a.Instance, &i)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return intent{}, false, nil
	case err != nil:
		return intent{}, false, err
	}
	return i, i.Peer != "" && i.Guest == a.guest.Name, nil
}

// resolve removes the note: it is known where the guest runs. A note that stays costs the
// next start a question to the peer.
func (a *run) resolve() {
	if err := a.tidy(func() error { return a.lasting.remove(intentsDir, a.Instance) }); err != nil {
		a.Log.WithError(err).Warn("the note about a migration stays: the next start will ask the peer")
	}
}

// departuresDir is a folder of the state directory that ends with the boot.
const departuresDir = "departures"

// departureTime is for how long a guest that moved to a peer is brought back by a start here, instead of refused. The
// cluster manager orders such a start as soon as the move has ended, after what else it has under way.
const departureTime = 5 * time.Minute

// departure is the note that the guest has moved from here to a peer.
type departure struct {
	Guest string    `json:"guest"`
	Peer  string    `json:"peer"`
	At    time.Time `json:"at"`
	// Stopped says that the cluster manager has had the guest stopped here since: it knows that the guest has moved.
	Stopped bool `json:"stopped,omitempty"`
}

// depart writes the note, before that of the migration is removed: one of them is always there.
func (a *run) depart(peer string) {
	d := departure{Guest: a.guest.Name, Peer: peer, At: time.Now()}
	if err := a.state.save(departuresDir, a.Instance, d); err != nil {
		a.Log.WithError(err).Warn("should the move be withdrawn, the guest cannot be brought back: " +
			"make the state directory writable")
	}
}

// returned removes the note.
func (a *run) returned() {
	if err := a.state.remove(departuresDir, a.Instance); err != nil {
		a.Log.WithError(err).Warn("the note that the guest has moved away stays, for five minutes")
	}
}

// hasDeparted tells whether the guest has just moved from here to the node. A note that cannot be read, or of a time
// that is to come, is none.
func (a *run) hasDeparted(node string) bool {
	var d departure
	if err := a.state.load(departuresDir, a.Instance, &d); err != nil {
		return false
	}
	age := time.Since(d.At)
	return d.Guest == a.guest.Name && strings.EqualFold(d.Peer, node) && age >= 0 && age < departureTime
}

// beginMove writes the note of a migration; adopt tells that the same one was begun before, and may be under way.
func (a *run) beginMove(way, peer, uuid string) (adopt bool, err error) {
	before, pending, err := a.pending()
	if err != nil {
		a.Log.WithError(err).Warn("the note about the last migration cannot be read, and is replaced")
	}
	return pending && before.Way == way && before.Peer == peer, a.intend(way, peer, uuid)
}
