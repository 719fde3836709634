package resource

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// migrateTo moves the guest from here to another node. Run again after it succeeded, it
// finds the guest running there and succeeds at once. After it failed, a stop is what the cluster
// manager tries next: it finds a note of why.
func (a *run) migrateTo(ctx context.Context) error {
	err := a.moveAway(ctx)
	if err != nil {
		a.strand(err)
	} else {
		a.unstrand()
	}
	return err
}

func (a *run) moveAway(ctx context.Context) error {
	if a.Target == "" {
		return fail(Args, "no target node: migrate_to is called by the cluster manager, which sets OCF_RESKEY_CRM_meta_migrate_target")
	}
	if !a.Params.MayUse(drain.Live) {
		return fail(Generic, "guest %q is not migrated, as its ladder does not name live: set allow-migrate=false", a.guest.Name)
	}
	target, err := a.Params.TargetURI(a.targetNode(ctx))
	if err != nil {
		return because(Generic, err, "cannot migrate guest %q", a.guest.Name)
	}
	a.Log = a.Log.WithField("peer", a.Target)
	o := a.settle(ctx)
	switch {
	case o.verdict == running, o.answer == tornPostCopy: // which only this migration can mend
	case o.verdict == notRunning:
		return a.alreadyThere(ctx, target, o)
	default:
		return a.refuse(o)
	}
	a.keep(o) // until the guest is proven to be there, this node answers for it
	if err := a.prepareMove(ctx, o, target); err != nil {
		return err
	}
	before, pending, err := a.pending()
	if err != nil {
		a.Log.WithError(err).Warn("the note about the last migration cannot be read, and is replaced")
	}
	if err := a.intend(outward, a.Target, o.uuid()); err != nil {
		return err
	}
	adopt := pending && before.Way == outward && before.Peer == a.Target
	if err := a.move(ctx, target, o.uuid(), adopt); err != nil {
		return err
	}
	a.step("moved")
	a.leaveBehind(ctx)
	a.forget()
	a.resolve()
	return nil
}

// move migrates, with time left to look where the guest is.
func (a *run) move(ctx context.Context, target, uuid string, adopt bool) error {
	soft, cancel := a.at(ctx, a.budget.migrate)
	defer cancel()
	a.Log.Infof("migrating to %s", target)
	err := a.Migrate(soft, Move{
		Guest: a.guest.Name, UUID: uuid, SourceURI: a.Params.Hypervisor,
		Target: a.Target, TargetURI: target, MigrateURI: a.Params.DataURI(a.Target),
		Bandwidth: a.Params.Bandwidth(), Downtime: a.Params.Downtime, Tuning: a.Params.tuning(), Adopt: adopt,
		Relay: a.Params.Announce != announce.Off,
	})
	if err == nil {
		a.Log.Info("migrated")
		return nil
	}
	// The connection may have broken after the switchover: what counts is where the guest runs.
	o := a.look(ctx)
	if o.verdict == notRunning && a.runsAt(ctx, target) == nil {
		a.Log.WithError(err).Warn("the migration reported an error, but the guest runs on the target")
		return nil
	}
	if o.verdict == running && !errors.Is(err, migrate.ErrUnknown) {
		a.resolve() // it stayed
	}
	return because(Generic, err, "migrate_to failed")
}

// alreadyThere is the answer for a guest that does not run here: an earlier call may have moved it.
func (a *run) alreadyThere(ctx context.Context, target string, o observation) error {
	if err := a.runsAt(ctx, target); err != nil {
		return because(Generic, err, "guest %q is not active on this node (%s), so it cannot be migrated to %s",
			a.guest.Name, o, a.Target)
	}
	a.Log.Info("the guest has moved already")
	a.leaveBehind(ctx)
	a.forget()
	a.resolve()
	return nil
}

// runsAt returns nil when the target's libvirt says that the guest runs there. A guest of the
// same name with another UUID is another guest.
func (a *run) runsAt(ctx context.Context, uri string) error {
	ctx, cancel := context.WithTimeout(ctx, a.budget.call)
	defer cancel()
	status, err := a.statusAt(ctx, uri)
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

// migrateFrom waits until the guest that was migrated here runs.
func (a *run) migrateFrom(ctx context.Context) error {
	if a.Source != "" {
		a.Log = a.Log.WithField("peer", a.Source)
		if err := a.intend(inward, a.Source, a.guest.UUID); err != nil {
			return err
		}
	}
	if err := a.waitRunning(ctx, "migrated here"); err != nil {
		return err
	}
	defer a.announce(ctx)()
	a.resolve()
	return a.settleIn(ctx)
}
