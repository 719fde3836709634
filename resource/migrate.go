package resource

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
)

// migrator is a migrate_to under way.
type migrator struct {
	*run
	target param.Route
}

// migrateTo moves the guest from here to another node. Run again after it succeeded, it
// finds the guest running there and succeeds at once. After it failed, a stop is what the cluster
// manager tries next: it finds a note of why.
func (m *migrator) migrateTo(ctx context.Context) error {
	err := m.moveAway(ctx)
	if err != nil {
		m.noteFailure(err)
		m.awaitOthers(ctx)
	} else {
		m.removeFailureNote()
	}
	return err
}

func (m *migrator) moveAway(ctx context.Context) (err error) {
	if err := m.isAllowed(); err != nil {
		return err
	}
	if m.target, err = m.routes.To(ctx, m.Target); err != nil {
		return ocf.Wrapf(ocf.Generic, err, "cannot migrate guest %q", m.guest.Name)
	}
	m.Log = m.Log.WithField("peer", m.Target)
	o := m.guest.WaitStable(ctx, m.until(m.budget.stable), m.Probe)
	barred := m.awaitTarget(ctx, o)
	switch decideMigrateTo(o, barred) {
	case migrateBarred:
		return ocf.Wrapf(ocf.Generic, barred, "guest %q is not migrated to %s", m.guest.Name, m.Target)
	case migrateMove:
		err = m.move(ctx, o)
	case migrateConfirm:
		err = m.confirm(ctx, o)
	default:
		err = stateError(m.guest.Name, o)
	}
	if err == nil {
		m.hasLeft(ctx)
	}
	return err
}

// isAllowed refuses what the call and the parameters alone rule out.
func (m *migrator) isAllowed() error {
	edited := m.guest.Configured
	switch {
	case m.Target == "":
		return ocf.Errorf(ocf.Args, "no target node: migrate_to is called by the cluster manager, "+
			"which sets OCF_RESKEY_CRM_meta_migrate_target")
	case !m.Params.Ladder.MovesLive():
		return ocf.Errorf(ocf.Generic,
			"guest %q is not migrated, as its ladder does not name live: set allow-migrate=false",
			m.guest.Name)
	case edited != nil && edited.Name != m.guest.Name: // under which the target would look for it without effect
		return ocf.Errorf(ocf.Generic, "guest %q is not migrated, as config file %q calls it %q by now: "+
			"a stop and a start give it that name", m.guest.Name, m.Params.File(), edited.Name)
	}
	return nil
}

// migrateStep is what a migrate_to does about a guest.
type migrateStep int

const (
	migrateRefuse  migrateStep = iota // it can be called neither running nor stopped
	migrateMove                       // it is here: move it
	migrateConfirm                    // it is not here: an earlier call may have moved it
	migrateBarred                     // the guard of the target would kill it there
)

// decideMigrateTo is the rule; barred is why no guest may run on the target, as this node's guard knows.
func decideMigrateTo(o observe.Observation, barred error) migrateStep {
	switch {
	case o.IsRunning() && barred != nil:
		return migrateBarred
	case o.IsRunning(), o.Libvirt == observe.PausedPostCopyFailed: // which only this migration can recover
		return migrateMove
	case o.IsGone():
		return migrateConfirm
	}
	return migrateRefuse
}

// move migrates the guest, and notes before that this has begun.
func (m *migrator) move(ctx context.Context, o observe.Observation) error {
	m.tryNoteGuest(o) // until the guest is proven to be there, this node answers for it
	if err := m.prepareMove(ctx, o, m.target.URI); err != nil {
		return err
	}
	defer m.holdMirror(ctx)()
	adopt, err := m.beginMove(notes.Outward, m.Target, o.UUID())
	if err == nil {
		err = m.migrate(ctx, o.UUID(), adopt)
	}
	if err == nil {
		m.step("moved")
	}
	return err
}

// migrate has the engine move the guest, with time left to look where it is.
func (m *migrator) migrate(ctx context.Context, uuid string, adopt bool) error {
	soft, cancel := m.at(ctx, m.budget.migrate)
	defer cancel()
	m.Log.Infof("migrating to %s", m.Target)
	move := m.Params.Move(m.guest.Name, uuid, m.target)
	handed, err := m.handOver(soft, adopt)
	if err != nil {
		m.removeIntentNote()
		return ocf.Wrapf(ocf.Generic, err, "migrate_to failed")
	}
	if handed {
		move.Disks, move.Options.CopyInc = preflight.DisksShared, true
	}
	drained := m.isDrained(ctx)
	move.Adopt, move.Rest, move.Others = adopt, migrate.RestTime, func() bool { return drained || m.amongOthers() }
	err = m.Migrate(soft, move)
	if err == nil {
		m.Log.Info("migrated")
		m.leave(ctx)
		return nil
	}
	// The connection may have broken after the switchover: what counts is where the guest runs.
	o := m.guest.Look(ctx)
	if o.IsGone() && m.cluster.RunsAt(ctx, m.target.URI) == nil {
		m.leave(ctx)
		m.Log.WithError(err).Warn("the migration reported an error, but the guest runs on the target")
		return nil
	}
	if o.IsRunning() && !errors.Is(err, migrate.ErrUnknown) {
		m.removeIntentNote() // it stayed
	}
	return ocf.Wrapf(ocf.Generic, err, "migrate_to failed")
}

// confirm is for a guest that does not run here: an earlier call may have moved it.
func (m *migrator) confirm(ctx context.Context, o observe.Observation) error {
	if err := m.cluster.RunsAt(ctx, m.target.URI); err != nil {
		return ocf.Wrapf(ocf.Generic, err, "guest %q is not active on this node (%s), so it cannot be migrated to %s",
			m.guest.Name, o, m.Target)
	}
	m.Log.Info("the guest has moved already")
	return nil
}

// hasLeft puts this node in order after the guest has moved to the target.
func (m *migrator) hasLeft(ctx context.Context) {
	m.images.leaveBehind(ctx)
	m.removeGuestNote()
	m.noteDeparture(m.Target)
	m.removeIntentNote()
}

// othersTime is how long the notes about others may take: they are small, and were just written.
const othersTime = 200 * time.Millisecond

// isDrained reports whether other guests are here and the cluster manager empties this node, also one guest after the
// other.
func (m *migrator) isDrained(ctx context.Context) bool {
	here, err := m.notes.Guests.All()
	if m.Leaving == nil || err == nil && len(here) < 2 {
		return false
	}
	ctx, cancel := timely.Within(ctx, m.budget.call)
	defer cancel()
	leaving, err := m.Leaving(ctx)
	return leaving && err == nil
}

// amongOthers reports whether other guests wait for this one to leave: one is on its way, or has just left. Guests
// that stay here wait for nothing. Where the disk gives no answer, some may wait.
func (m *migrator) amongOthers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), othersTime)
	defer cancel()
	among, err := timely.Get(ctx, func() (bool, error) {
		return len(m.leavingGuests()) > 0 || m.followsOne(), nil
	})
	return among || err != nil
}

// followsOne reports whether another guest has just left this node.
func (m *migrator) followsOne() bool {
	departures, _ := m.notes.Departures.All() // none is as good as one that cannot be read
	return slices.ContainsFunc(departures, func(d notes.Departure) bool {
		return d.Guest != m.guest.Name && d.IsOfThisDrain(time.Now())
	})
}

// othersQuiet is for how long no other guest may be leaving before a failure is reported: the next one may just begin.
const othersQuiet = time.Second

// awaitOthers delays the answer of a migrate_to that failed until no other guest is leaving this node, at most for half
// of the time of a migration. Pacemaker ends its transition at a failure. In the next one it stops a guest, and starts
// it again, whose migrate_to has succeeded and whose migrate_from has not, if the new plan has another node for it
// ("Forcing recovery … because it can no longer migrate", pcmk__create_actions): one guest that cannot move live would
// cost others their live migration.
func (m *migrator) awaitOthers(ctx context.Context) {
	if !m.Pacemaker {
		return
	}
	ctx, cancel := m.at(ctx, m.budget.migrate/2)
	defer cancel()
	others := m.leavingGuests()
	if len(others) == 0 {
		return
	}
	m.Log.Infof("the failure is reported when the others have arrived: %s", strings.Join(others, ", "))
	for last := time.Now(); time.Since(last) < othersQuiet; {
		if wait.For(ctx, observe.PollInterval) != nil {
			return
		}
		if len(m.leavingGuests()) > 0 {
			last = time.Now()
		}
	}
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
	defer a.announcer.announce(ctx, runs.Processes)()
	a.removeIntentNote()
	return a.finishArrival(ctx)
}

// prepareMove does what the parameters request before a migration.
func (m *migrator) prepareMove(ctx context.Context, o observe.Observation, target string) error {
	m.configSaver.save(ctx, o)
	if !m.Params.StartResources {
		return nil
	}
	ctx, cancel := timely.Within(ctx, 2*m.budget.call)
	defer cancel()
	conn, err := m.Open(ctx, target)
	if err != nil {
		return ocf.Wrapf(ocf.Generic, err, "cannot start the resources of guest %q on %s", m.guest.Name, m.Target)
	}
	defer func() { _ = conn.Close() }()
	if err := startResources(ctx, conn, domainxml.HostResourcesOf(m.config.domain.Text)); err != nil {
		return ocf.Wrapf(ocf.Generic, err, "guest %q cannot be migrated to %s", m.guest.Name, m.Target)
	}
	return nil
}
