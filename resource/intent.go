package resource

import (
	"errors"
	"io/fs"
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
