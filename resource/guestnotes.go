package resource

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/timely"
)

// tidyTime is far above what a busy disk needs for a small file.
const tidyTime = 2 * time.Second

// guestNotes is what an action notes of its guest. Where a note cannot be written, the action fails only if it must not
// continue without it.
type guestNotes struct {
	store notes.Store
	id    string            // the resource
	guest *observe.Identity // as the action knows it by now
	entry notes.Guest
	peer  string // the target of a migrate_to
	step  func(name string)
	log   logrus.FieldLogger
	ends  time.Time // of the action
}

// tidy is timely.Do for a note on this node's disk, whose fsync may hang: it takes at most tidyTime, and
// at most half of what the action has left, as its answer is worth more.
func (n *guestNotes) tidy(f func() error) error {
	limit := min(tidyTime, max(time.Until(n.ends)/2, answerReserve/4))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return timely.Do(ctx, f)
}

// warn logs what follows where a note could not be written or removed.
func (n *guestNotes) warn(err error, follows string) {
	if err != nil {
		n.log.WithError(err).Warn(follows)
	}
}

// noteGuest notes that the guest runs here, for vmferryd.
func (n *guestNotes) noteGuest(o observe.Observation) error {
	e := n.entry
	e.Guest, e.UUID = n.guest.Name, o.UUID()
	return n.store.Guests.Save(n.id, e)
}

// tryNoteGuest is noteGuest where a failure to write must not fail the action: the guest does run.
func (n *guestNotes) tryNoteGuest(o observe.Observation) {
	if err := n.noteGuest(o); err != nil {
		n.log.WithError(err).Error("vmferryd will not see this guest: make the state directory writable")
	}
}

// isNoted reports whether the guest was seen to run here.
func (n *guestNotes) isNoted() bool {
	_, noted := n.store.Guests.Age(n.id)
	return noted
}

// removeGuestNote removes the note. A note that stays makes vmferryd wait for a guest that has left.
func (n *guestNotes) removeGuestNote() {
	if err := n.store.Guests.Remove(n.id); err != nil {
		n.log.WithError(err).Errorf("vmferryd may wait for this guest, which has left: type %s",
			shellword.Line("rm", n.store.Guests.Path(n.id)))
	}
	_ = os.Remove(n.store.Utilization.Path(n.id)) // most have none
}

// noteIntent notes that a migration begins. Nothing may be begun without it.
func (n *guestNotes) noteIntent(way, peer, uuid string) error {
	i := notes.Intent{Way: way, Guest: n.guest.Name, UUID: uuid, Peer: peer, Began: time.Now()}
	if err := n.tidy(func() error { return n.store.Intents.Save(n.id, i) }); err != nil {
		return ocf.Wrapf(ocf.Generic, err,
			"the migration cannot be noted before it begins: make the state directory writable")
	}
	n.step("intended")
	return nil
}

// beginMove is noteIntent; adopt reports that the same migration was begun before, and may be under way.
func (n *guestNotes) beginMove(way, peer, uuid string) (adopt bool, err error) {
	before, pending, err := n.pending()
	if err != nil {
		n.log.WithError(err).Warn("the note about the last migration cannot be read, and is replaced")
	}
	return pending && before.Way == way && before.Peer == peer, n.noteIntent(way, peer, uuid)
}

// pending is the note of a migration of this guest whose end is not known; ok is false where
// there is none. A note that cannot be read is an error: it may name a peer.
func (n *guestNotes) pending() (i notes.Intent, ok bool, err error) {
	i, err = n.store.Intents.Load(n.id)
	if errors.Is(err, fs.ErrNotExist) {
		return i, false, nil
	}
	return i, err == nil && i.Guest == n.guest.Name, err
}

// removeIntentNote removes the note: it is known where the guest runs. A note that stays costs the
// next start a question to the peer.
func (n *guestNotes) removeIntentNote() {
	n.warn(n.tidy(func() error { return n.store.Intents.Remove(n.id) }),
		"the note about the migration could not be removed: the next start will ask the peer")
}

// noteDeparture notes that the guest has moved to the peer.
func (n *guestNotes) noteDeparture(peer string) {
	d := notes.Departure{Guest: n.guest.Name, Peer: peer, At: time.Now()}
	n.warn(n.store.Departures.Save(n.id, d),
		"if the migration is withdrawn, the guest cannot be moved back: make the state directory writable")
}

// removeDepartureNote removes the note.
func (n *guestNotes) removeDepartureNote() {
	n.warn(n.store.Departures.Remove(n.id),
		"the note about a migration from here could not be removed: it counts for five minutes")
}

// hasDeparted reports whether the guest has just moved from here to the node. A note that cannot be read is none.
func (n *guestNotes) hasDeparted(node string) bool {
	d, err := n.store.Departures.Load(n.id)
	return err == nil && d.IsTo(node, n.guest.Name, time.Now())
}

// noteDepartureStopped notes that the manager has stopped a guest here that has moved: it knows where the guest is.
func (n *guestNotes) noteDepartureStopped() {
	d, err := n.store.Departures.Load(n.id)
	if err != nil {
		return
	}
	d.Stopped = true
	if err := n.store.Departures.Save(n.id, d); err != nil {
		n.log.WithError(err).Info("a migration that fails in the next 30 s is reported late")
	}
}

// leavingGuests are the other guests that are leaving this node.
func (n *guestNotes) leavingGuests() []string { return n.store.Leaving(n.guest.Name, time.Now()) }

// noteFailure notes that a migrate_to of the guest has failed. Without the note it is shut down.
func (n *guestNotes) noteFailure(why error) {
	f := notes.Failure{Guest: n.guest.Name, Peer: n.peer, Why: why.Error(), At: time.Now()}
	var refusal *preflight.Refusal
	if errors.As(why, &refusal) {
		f.Check = refusal.Check
	}
	n.warn(n.tidy(func() error { return n.store.Failures.Save(n.id, f) }),
		"a stop that follows will not know that the migration failed: make the state directory writable")
}

// removeFailureNote removes the note: the guest has left this node, or was started on it.
func (n *guestNotes) removeFailureNote() {
	n.warn(n.tidy(func() error { return n.store.Failures.Remove(n.id) }),
		"the note about a failed migration could not be removed: a stop soon may save the guest")
}

// recentFailure is a migration that has failed, or was cut short, not long ago.
func (n *guestNotes) recentFailure() (why notes.Failure, is bool) {
	i, pending, err := n.pending()
	if err == nil && pending && i.Way == notes.Outward && i.IsRecent(time.Now()) {
		return notes.Failure{Peer: i.Peer, Why: "its migration was interrupted"}, true
	}
	why, err = n.store.Failures.Load(n.id)
	if !errors.Is(err, fs.ErrNotExist) {
		n.warn(err, "the note about a failed migration cannot be read")
	}
	return why, err == nil && why.ExplainsStop(n.guest.Name, time.Now())
}

// announceTime bounds the announcement that an action makes by itself.
const announceTime = 3 * time.Second

// expecting are the actions after which a guest may come.
var expecting = []string{"start", "monitor", "status", "migrate_from", "reload-agent"}

// announcer tells the network where the guest is, or has vmferryd do so.
type announcer struct {
	notes    notes.Store
	expected notes.Expected    // but for the guest's name
	guest    *observe.Identity // as the action knows it by now
	send     func(ctx context.Context, guest notes.Expected)
	log      logrus.FieldLogger
}

// note is the note about this guest.
func (n announcer) note() notes.Expected {
	e := n.expected
	e.Guest = n.guest.Name
	return e
}

// expect leaves the note. That it cannot be written fails nothing: the action that brings the guest
// announces it too.
func (n announcer) expect() {
	if err := n.notes.Expected.Save(n.expected.Resource, n.note()); err != nil {
		n.log.WithError(err).Warn("the node daemon may not announce this guest: make the state directory writable")
	}
}

// isAnnounced reports whether the node daemon announced the guest after its processes had started: then it announces
// what runs now.
func (n announcer) isAnnounced(processes []hostproc.Process) bool {
	note, err := n.notes.Announced.Load(n.expected.Resource)
	return err == nil && note.Covers(processes)
}

// announce tells the network that the guest runs here, beside what is left of the action, unless the node daemon
// did so already. wait waits for the end of it.
func (n announcer) announce(ctx context.Context, processes []hostproc.Process) (wait func()) {
	if n.send == nil || n.expected.Announce == announce.Off || n.isAnnounced(processes) {
		return func() {}
	}
	ctx, cancel := timely.Within(ctx, announceTime)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.send(ctx, n.note())
	}()
	return func() {
		<-done
		cancel()
	}
}
