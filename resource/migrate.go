package resource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/notes"
)

// migrateTo moves the guest from here to another node. Run again after it succeeded, it
// finds the guest running there and succeeds at once. After it failed, a stop is what the cluster
// manager tries next: it finds a note of why.
func (a *run) migrateTo(ctx context.Context) error {
	err := a.moveAway(ctx)
	if err != nil {
		a.noteFailure(err)
		a.awaitOthers(ctx)
	} else {
		a.removeFailureNote()
	}
	return err
}

func (a *run) moveAway(ctx context.Context) error {
	if a.Target == "" {
		return fail(Args, "no target node: migrate_to is called by the cluster manager, which sets OCF_RESKEY_CRM_meta_migrate_target")
	}
	if !a.Params.MayUse(ladder.Live) {
		return fail(Generic, "guest %q is not migrated, as its ladder does not name live: set allow-migrate=false", a.guest.Name)
	}
	if a.meant != nil && a.meant.Name != a.guest.Name { // under which the target would look for it in vain
		return fail(Generic, "guest %q is not migrated, as config file %q calls it %q by now: a stop and a start give it that name",
			a.guest.Name, a.Params.File(), a.meant.Name)
	}
	target, err := a.routes.To(ctx, a.Target)
	if err != nil {
		return because(Generic, err, "cannot migrate guest %q", a.guest.Name)
	}
	a.Log = a.Log.WithField("peer", a.Target)
	o := a.settle(ctx)
	switch {
	case o.verdict == running, o.answer == tornPostCopy: // which only this migration can mend
	case o.verdict == notRunning:
		return a.alreadyThere(ctx, target.URI, o)
	default:
		return a.refuse(o)
	}
	a.tryNoteGuest(o) // until the guest is proven to be there, this node answers for it
	if err := a.prepareMove(ctx, o, target.URI); err != nil {
		return err
	}
	adopt, err := a.beginMove(notes.Outward, a.Target, o.uuid())
	if err != nil {
		return err
	}
	if err := a.move(ctx, target, o.uuid(), adopt); err != nil {
		return err
	}
	a.step("moved")
	a.gone(ctx)
	return nil
}

// move migrates, with time left to look where the guest is.
func (a *run) move(ctx context.Context, target Route, uuid string, adopt bool) error {
	soft, cancel := a.at(ctx, a.budget.migrate)
	defer cancel()
	a.Log.Infof("migrating to %s", a.Target)
	m := a.Params.Move(a.guest.Name, uuid, target)
	drained := a.isDrained(ctx)
	m.Adopt, m.Rest, m.Others = adopt, migrate.RestTime, func() bool { return drained || a.amongOthers() }
	err := a.Migrate(soft, m)
	if err == nil {
		a.Log.Info("migrated")
		return nil
	}
	// The connection may have broken after the switchover: what counts is where the guest runs.
	o := a.look(ctx)
	if o.verdict == notRunning && a.runsAt(ctx, target.URI) == nil {
		a.Log.WithError(err).Warn("the migration reported an error, but the guest runs on the target")
		return nil
	}
	if o.verdict == running && !errors.Is(err, migrate.ErrUnknown) {
		a.removeIntentNote() // it stayed
	}
	return because(Generic, err, "migrate_to failed")
}

// othersTime is how long the notes about others may take: they are small, and were just written.
const othersTime = 200 * time.Millisecond

// isDrained tells whether other guests are here and the cluster manager empties this node, also one guest after the other.
func (a *run) isDrained(ctx context.Context) bool {
	here, err := a.notes.Guests.All()
	if a.Leaving == nil || err == nil && len(here) < 2 {
		return false
	}
	ctx, cancel := within(ctx, a.budget.call)
	defer cancel()
	leaving, err := a.Leaving(ctx)
	return leaving && err == nil
}

// amongOthers tells whether other guests wait for this one to leave: one is on its way, or has just left. Guests that stay
// here wait for nothing. Where the disk gives no answer, some may wait.
func (a *run) amongOthers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), othersTime)
	defer cancel()
	among, err := timelyValue(ctx, func() (bool, error) { return len(a.leavingGuests()) > 0 || a.followsOne(), nil })
	return among || err != nil
}

// followsOne tells whether another guest has just left this node.
func (a *run) followsOne() bool {
	departures, _ := a.notes.Departures.All() // none is as good as one that cannot be read
	return slices.ContainsFunc(departures, func(d notes.Departure) bool {
		return d.Guest != a.guest.Name && d.IsOfThisDrain(time.Now())
	})
}

// alreadyThere is the answer for a guest that does not run here: an earlier call may have moved it.
func (a *run) alreadyThere(ctx context.Context, target string, o observation) error {
	if err := a.runsAt(ctx, target); err != nil {
		return because(Generic, err, "guest %q is not active on this node (%s), so it cannot be migrated to %s",
			a.guest.Name, o, a.Target)
	}
	a.Log.Info("the guest has moved already")
	a.gone(ctx)
	return nil
}

// gone puts this node in order after the guest has moved to the target.
func (a *run) gone(ctx context.Context) {
	a.leaveBehind(ctx)
	a.removeGuestNote()
	a.noteDeparture(a.Target)
	a.removeIntentNote()
}

// runsAt returns nil when the target's libvirt says that the guest runs there. A guest of the
// same name with another UUID is another guest.
func (a *run) runsAt(ctx context.Context, uri string) error {
	ctx, cancel := context.WithTimeout(ctx, a.budget.call)
	defer cancel()
	status, err := a.statusAt(ctx, uri, a.guest.Name)
	switch {
	case err != nil:
		return err
	case status.State != libvirt.Running && status.State != libvirt.Blocked:
		return fmt.Errorf("on the target it is %s", status.State)
	case a.isOther(status.UUID):
		return fmt.Errorf("the target runs another guest of this name, with UUID %s", status.UUID)
	}
	return nil
}

// isOther tells whether a UUID proves that a guest of our name is another one.
func (a *run) isOther(uuid string) bool { return a.guest.IsOther(uuid) }

// askPeer asks another node's libvirt for the guest.
func (a *run) askPeer(ctx context.Context, node string) (libvirt.Status, error) {
	to, err := a.routes.To(ctx, node)
	if err != nil {
		return libvirt.Status{}, err
	}
	return a.statusAt(ctx, to.URI, a.guest.Name)
}

// isAt tells whether a peer has the guest, or a part of it.
func (a *run) isAt(ctx context.Context, peer string) (bool, error) {
	status, err := a.askPeer(ctx, peer)
	if errors.Is(err, libvirt.ErrNoDomain) {
		return false, nil
	}
	return status.State.Active() && !a.isOther(status.UUID), err
}

// statusAt asks the libvirt at uri for a guest, over a connection of its own.
func (a *run) statusAt(ctx context.Context, uri, name string) (libvirt.Status, error) {
	conn, err := a.Open(ctx, uri)
	if err != nil {
		return libvirt.Status{}, err
	}
	defer func() { _ = conn.Close() }()
	return conn.Status(ctx, name)
}

// migrateFrom waits until the guest that was migrated here runs.
func (a *run) migrateFrom(ctx context.Context) error {
	if a.Source != "" {
		a.Log = a.Log.WithField("peer", a.Source)
		if err := a.noteIntent(notes.Inward, a.Source, a.guest.UUID); err != nil {
			return err
		}
	}
	runs, err := a.waitRunning(ctx, "migrated here")
	if err != nil {
		return err
	}
	defer a.announce(ctx, runs.found)()
	a.removeIntentNote()
	return a.settleIn(ctx)
}
