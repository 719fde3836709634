package resource

import (
	"context"
	"errors"
	"strings"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// start brings the guest up from its config file, unless it is here already in any
// form. Only a guest that is proven not to run is started, and the start has succeeded
// only when the guest was seen to run.
func (a *run) start(ctx context.Context) error {
	alone, err := a.onlyStart(ctx)
	if err != nil {
		return err
	}
	defer alone.Release()
	p := &proof{run: a}
	o, c, by, err := p.find(ctx)
	switch {
	case err != nil:
		return err
	case o.verdict == running:
		a.Log.Infof("already running: %s", o)
		a.tryNoteGuest(o)
		a.saver.remove(ctx, o)
		a.arrived(ctx)
		return nil
	case c == bringIt:
	case o.verdict != notRunning:
		return a.refuse(o)
	case o.libErr != nil:
		return because(Generic, o.libErr, "cannot start guest %q", a.guest.Name)
	}
	how, err := a.begin(ctx, o, c, by)
	if err != nil {
		return err
	}
	a.step("created")
	a.removeFailureNote()
	runs, err := a.waitRunning(ctx, how)
	if err != nil {
		return err
	}
	defer a.announce(ctx, announcedBefore(c, runs))()
	a.removeIntentNote()
	return a.settleIn(ctx)
}

// announcedBefore are the processes for which the node daemon's announcement suffices: those that a migration brought. QEMU's
// own announcement has taught them to this host's bridge. To a guest that boots nobody else does that: the daemon may
// not change the bridge, and the guest may send nothing before it is asked. Where it ran before, its frames came in
// from another node, and the bridge would go on to look for it there: its clients would wait until their entries expire.
func announcedBefore(c course, o observation) []hostproc.Process {
	if c != bringIt {
		return nil
	}
	return o.found
}

// ready looks until the guest can be started, or is seen to run.
func (a *run) ready(ctx context.Context) observation {
	soft, cancel := context.WithTimeout(ctx, orphanTime)
	defer cancel()
	o, ok := a.lookUntil(soft, readyToStart)
	if !ok && ctx.Err() == nil {
		o = a.clearOrphan(ctx, a.look(ctx)) // the last look may have been cut short
	}
	if !readyToStart(o) && ctx.Err() == nil && a.fetchesFrom(o) == "" {
		o, _ = a.lookUntil(ctx, readyToStart)
	}
	return a.outlast(ctx, o, a.budget.settle)
}

// begin starts the guest that runs nowhere, or fetches it from where it runs; how says which.
func (a *run) begin(ctx context.Context, o observation, c course, by heard) (how string, err error) {
	switch c {
	case goAhead:
	case bringIt:
		return "fetched", a.fetch(ctx, by)
	default:
		return "", a.refusal(by)
	}
	if err := a.checkImages(ctx); err != nil {
		return "", err
	}
	a.step("proven")
	// Where the storage is not mounted, to boot would leave a saved state behind that fits the disks no more.
	if err := timely(ctx, a.checkSaveDirs); err != nil {
		return "", err
	}
	if a.isLost(o) {
		if err := a.revive(ctx); err != nil {
			return "", because(Generic, err, "guest %q not started", a.guest.Name)
		}
	}
	if err := a.create(ctx, o); err != nil {
		return "", err
	}
	a.forgetMoves(ctx)
	return "started", nil
}

// onlyStart waits until no other start of this resource is under way: Heartbeat begins
// several at once when it takes a group over. The second finds the guest running.
func (a *run) onlyStart(ctx context.Context) (*migrate.Slot, error) {
	slot, err := a.notes.StartLock(a.Instance).Acquire(ctx, func() {
		a.Log.Info("waiting for another start of this resource")
	})
	if err != nil {
		return nil, because(Generic, err, "guest %q not started: another start of it does not end", a.guest.Name)
	}
	return slot, nil
}

// readyToStart waits for libvirt, which may itself be starting, and for a guest that a
// migration is bringing. All else is decided at once.
func readyToStart(o observation) bool {
	switch o.verdict {
	case notRunning:
		return o.libErr == nil
	case running, stalled:
		return true
	}
	return false
}

func (a *run) create(ctx context.Context, o observation) error {
	conn, err := a.connect(ctx)
	if err != nil {
		return because(Generic, err, "cannot start guest %q", a.guest.Name)
	}
	a.warnOfMemory()
	a.warnOfWriters(ctx)
	a.Log.Infof("starting from %s", a.Params.File())
	err = a.bringUp(ctx, conn, o)
	if err == nil {
		return nil
	}
	a.dropBroken(err)
	// Another start may have come first, or the answer got lost on its way.
	if again := a.look(ctx); again.verdict == running {
		a.Log.WithError(err).Warn("libvirt reported an error for the start, but the guest runs")
		return nil
	}
	if imageLocked(err) {
		return because(Generic, err, "guest %q not started, its disk is in use by another process: is the guest running on another node", a.guest.Name)
	}
	return because(Generic, err, "cannot start guest %q", a.guest.Name)
}

// imageLocked knows QEMU's message for a disk that another QEMU has open.
func imageLocked(err error) bool {
	var lerr *libvirt.Error
	if !errors.As(err, &lerr) {
		return false
	}
	for _, words := range []string{"Failed to get \"write\" lock", "Failed to get shared \"write\" lock",
		"Is another process using the image", "resource busy"} {
		if strings.Contains(lerr.Message, words) {
			return true
		}
	}
	return false
}

// waitRunning returns nil when the guest is seen to run here, and has noted it.
func (a *run) waitRunning(ctx context.Context, how string) (observation, error) {
	o, ok := a.lookUntil(ctx, func(o observation) bool { a.welcome(o); return o.verdict == running })
	if !ok {
		return o, fail(Generic, "guest %q was %s but does not run in time: %s", a.guest.Name, how, o)
	}
	if err := a.noteGuest(o); err != nil {
		return o, because(Generic, err, "guest %q was %s, but this cannot be noted for the node daemon", a.guest.Name, how)
	}
	a.Log.Infof("%s: %s", how, o)
	a.arrived(ctx)
	a.removeDepartureNote()
	return o, nil
}
