package resource

import (
	"context"
	"errors"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
)

const (
	// askAgain is when a guest that has not shut down is asked once more. A guest that is
	// still booting does not hear the first time.
	askAgain = 15 * time.Second
	// askLimit is how often a request may fail before the guest counts as deaf.
	askLimit = 3
	// libvirtPatience is how long a stop waits for a libvirt that does not answer. A daemon
	// that is restarted by an upgrade is back by then, and the guest gets its clean end.
	libvirtPatience = 10 * time.Second
)

// stop ends the guest: by saving it where its parameters want that, by its own shutdown, by libvirt's
// destroy, by killing its process, in this order and each until its part of the time is over. It
// succeeds only with the proof that the guest does not run here.
func (a *run) stop(ctx context.Context) error {
	o := a.outlast(ctx, a.look(ctx), a.budget.graceful)
	if o.verdict == notRunning {
		a.Log.Infof("already stopped: %s", o)
		a.removeGuestNote()
		a.noteStopped()
		a.removeFailureNote()
		a.tidyLost(ctx, o)
		return nil
	}
	if a.guess {
		return fail(Generic, "cannot tell whether this resource's guest runs here, as config file %q is gone and never was seen: restore it; %s", a.Params.File(), o)
	}
	a.callOff(ctx)
	a.saver.remove(ctx, o)
	a.beforeStop(ctx, o)
	why := newEvacuation(ctx, a)
	saves := why.saves(ctx)
	orphan := a.isArrival(o) // of which libvirt could end nothing before its source does
	for _, s := range []stopStep{
		{"save", ladder.Save, a.budget.save, func(a *run, ctx context.Context) error { return a.saver.save(ctx) }},
		{"shutdown", ladder.Shutdown, a.budget.graceful, (*run).shutdown},
		{"destroy", ladder.Destroy, a.budget.destroy, (*run).destroy},
		{"kill", ladder.Destroy, a.budget.end, (*run).kill},
	} {
		if s.means == ladder.Save && !saves || orphan && s.name != "kill" || !a.try(ctx, s) {
			continue
		}
		a.removeGuestNote()
		if orphan {
			a.tidyLost(ctx, a.look(ctx))
		}
		why.record(ctx, a.began, a.rungs, a.saver)
		a.removeFailureNote()
		return nil
	}
	return fail(Generic, "guest %q could not be stopped: %s", a.guest.Name, a.lastLook())
}

// callOff ends a migration that an agent which was killed has left under way: it would carry
// the guest to where nobody asked for it any more, while this stop waits for its end here.
func (a *run) callOff(ctx context.Context) {
	i, pending, err := a.pending()
	if err != nil || !pending || i.Way != notes.Outward {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, a.budget.call)
	defer cancel()
	if err := a.abortJob(ctx); err != nil {
		a.Log.WithError(err).Infof("a migration to %s that may be under way is not called off", i.Peer)
		return
	}
	a.Log.Infof("called off the migration to %s, which was under way", i.Peer)
}

// abortJob ends the migration of the guest that is under way: by libvirt, or by the witness where its driver cannot. The
// error, which most often says that there is none, is nothing to fail for: the steps that follow meet the same libvirt.
func (a *run) abortJob(ctx context.Context) error {
	if lack := libvirt.DriverOf(a.Params.Hypervisor).Lacks(libvirt.CanAbort); lack != nil {
		if w, ok := a.Witness.(Aborter); ok {
			return w.Abort(ctx, a.guest.Name, a.guest.UUID)
		}
		return lack
	}
	conn, err := a.connectBriefly(ctx)
	if err != nil {
		return err
	}
	err = conn.AbortJob(ctx, a.ref())
	a.dropBroken(err)
	return err
}

// stopStep is one way to end the guest.
type stopStep struct {
	name  string
	means ladder.Rung   // the rung that it is
	end   time.Duration // until when it may take, counted from the action's start
	do    func(*run, context.Context) error
}

// try makes one step of the stop and tells whether the guest is proven to be gone.
func (a *run) try(ctx context.Context, s stopStep) bool {
	ctx, cancel := a.at(ctx, s.end)
	defer cancel()
	rung := migrate.RungTime{Rung: s.means}
	began := time.Now()
	err := s.do(a, ctx)
	rung.MS = float64(time.Since(began).Microseconds()) / 1000
	if err != nil {
		rung.Error = err.Error()
		a.Log.WithError(err).Warnf("%s did not stop the guest", s.name)
	} else {
		a.Log.Infof("stopped by %s", s.name)
	}
	a.rungs = append(a.rungs, rung)
	return err == nil
}

// lastLook is for the reason of a failure, when the action's own time is over.
func (a *run) lastLook() observation {
	ctx, cancel := context.WithTimeout(context.Background(), answerReserve/4)
	defer cancel()
	return a.look(ctx)
}

var (
	errForced    = errors.New("force_stop is set")
	errNotAlive  = errors.New("the guest cannot act on it")
	errDeaf      = errors.New("the guest cannot be asked")
	errNoLibvirt = errors.New("libvirt does not answer")
	errTimeUp    = errors.New("its time is over")
)

// shutdown asks the guest to shut down and waits for its end. It gives up early on a guest that
// cannot act (paused, crashed), and on a libvirt that cannot be asked.
func (a *run) shutdown(ctx context.Context) error {
	if a.Params.ForceStop {
		return errForced
	}
	var asked, silent time.Time
	failures := 0
	for {
		o := a.look(ctx)
		switch {
		case o.verdict == notRunning:
			return nil
		case o.libErr != nil && silent.IsZero():
			silent = time.Now()
		case o.libErr != nil && time.Since(silent) >= libvirtPatience:
			return a.shutdownAlone(ctx, o)
		case o.libErr != nil:
		case o.sight == ending: // it does already, and then goes, or is back
		case o.answer == beingSaved && a.saver.saving: // its libvirtd was away when the saving was given up
			a.saver.saving = false
			a.saver.abort(ctx)
			continue
		case o.answer == postCopySource: // it leaves by itself, and would be lost without what is here
		case !o.executing() && o.answer != "no state/unknown":
			return errNotAlive
		case asked.IsZero() || time.Since(asked) >= askAgain:
			silent = time.Time{}
			if err := a.ask(ctx); err == nil {
				asked = time.Now()
				a.step("asked")
			} else if failures++; failures >= askLimit {
				return errors.Join(errDeaf, err)
			}
		default:
			silent = time.Time{}
		}
		if !pause(ctx, pollInterval) {
			return errTimeUp
		}
	}
}

// shutdownAlone is shutdown without libvirt, where a witness can ask the guest.
func (a *run) shutdownAlone(ctx context.Context, o observation) error {
	gentle, ok := a.Witness.(Gentle)
	switch {
	case !ok:
		return errNoLibvirt
	case o.sight == halted || o.sight == broken:
		return errNotAlive
	}
	a.Log.Warn("asking the guest to shut down without libvirt, which does not answer")
	return a.endEach(ctx, func(p hostproc.Process) error { return gentle.Shutdown(ctx, p, a.Params.ShutdownMode) })
}

func (a *run) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.budget.call)
	defer cancel()
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	a.Log.Info("asking the guest to shut down")
	err = conn.Shutdown(ctx, a.ref(), a.Params.ShutdownMode)
	a.dropBroken(err)
	if errors.Is(err, libvirt.ErrNoDomain) {
		return nil // gone meanwhile: the next look proves it
	}
	return err
}

// destroy has libvirt end the guest and waits for the proof.
func (a *run) destroy(ctx context.Context) error {
	conn, err := a.connectBriefly(ctx)
	if err != nil {
		return err
	}
	a.Log.Info("destroying the guest")
	a.step("destroying")
	err = conn.Destroy(ctx, a.ref())
	a.dropBroken(err)
	if err != nil {
		// "No such domain" and "not running" are what was wanted: a look decides.
		if o := a.look(ctx); o.verdict == notRunning {
			return nil
		}
		return err
	}
	if o, gone := a.lookUntil(ctx, isGone); !gone {
		return errors.Join(errTimeUp, errors.New(o.String()))
	}
	return nil
}

func (a *run) connectBriefly(ctx context.Context) (Hypervisor, error) {
	ctx, cancel := context.WithTimeout(ctx, a.budget.call)
	defer cancel()
	return a.connect(ctx)
}

func isGone(o observation) bool { return o.verdict == notRunning }

// kill ends the guest's process without libvirt, and waits until both witnesses say
// that it is gone, as far as libvirt says anything.
func (a *run) kill(ctx context.Context) error {
	return a.endEach(ctx, func(p hostproc.Process) error {
		a.Log.Warnf("killing %v", p)
		a.step("killing")
		remaining := time.Until(a.began.Add(a.budget.end))
		return a.Witness.Kill(ctx, p, remaining/2)
	})
}

// endEach ends whatever runs the guest until nothing does.
func (a *run) endEach(ctx context.Context, end func(hostproc.Process) error) error {
	for {
		found, err := a.find(ctx)
		for _, p := range found {
			if err := end(p); err != nil {
				return err
			}
		}
		o := a.look(ctx)
		if isGone(o) {
			return nil
		}
		if !pause(ctx, pollInterval) {
			return errors.Join(errTimeUp, err, errors.New(o.String()))
		}
	}
}
