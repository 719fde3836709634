package resource

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
)

const (
	// requestAgain is when a guest that has not shut down is asked again. A guest that is
	// still booting ignores the first request.
	requestAgain = 15 * time.Second
	// requestLimit is how often a request may fail before the stop continues with destroy.
	requestLimit = 3
	// libvirtPatience is how long a stop waits for a libvirt that does not answer. A daemon
	// that is restarted by an upgrade is back by then, and the guest gets its clean end.
	libvirtPatience = 10 * time.Second
)

// stopper is a stop under way.
type stopper struct {
	*run
	rungs []record.RungTime // what was tried
}

// stop ends the guest: by saving it where its parameters want that, by its own shutdown, by libvirt's
// destroy, by killing its process, in this order and each until its part of the time (budget.go) is over. It
// succeeds only with the proof that the guest does not run here.
//
// When libvirtd is dead or does not answer:
//   - the guest is here if its process is; no process is the proof that it is stopped.
//   - save fails at once, or when its part of the time is over.
//   - shutdown waits ten seconds for libvirtd to come back, and then gives up. A Xen domain is asked to shut down
//     through xl instead.
//   - destroy fails at once, or when its part of the time is over.
//   - kill sends SIGTERM and then SIGKILL to the process (xl destroy to a Xen domain), and waits for its exit.
//
// Where the processes cannot be read either, the stop fails: the cluster manager has to fence the node.
func (s *stopper) stop(ctx context.Context) error {
	o := s.guest.WaitReboot(ctx, s.guest.Look(ctx), s.until(s.budget.graceful))
	switch {
	case o.IsGone():
		s.tidyStopped(ctx, o)
		return nil
	case s.guess:
		return ocf.Errorf(ocf.Generic,
			"cannot tell whether this resource's guest runs here, as config file %q is gone "+
				"and never was seen: restore it; %s", s.Params.File(), o)
	}
	s.broken.abort(ctx)
	if o.IsRunning() {
		s.settleMirror(ctx)
	}
	s.saver.remove(ctx, o)
	s.saveConfig(ctx, o)
	why := newEvacuation(ctx, s.run)
	arrival := isArrival(s.guest.Driver(), o, s.isNoted())
	for _, step := range decideStop(s.budget, s.Params.Ladder.ForStop(), why.saves(ctx), arrival) {
		if !s.try(ctx, step) {
			continue
		}
		s.closeMirror(ctx)
		s.removeGuestNote()
		if arrival {
			s.removeStuck(ctx, s.guest.Look(ctx))
		}
		why.record(ctx, s.began, s.rungs, s.saver)
		s.removeFailureNote()
		return nil
	}
	return ocf.Errorf(ocf.Generic, "guest %q could not be stopped: %s", s.guest.Name, s.lastLook())
}

// saveConfig saves the configuration of a guest that is about to end, in at most a quarter of
// the time that the guest has for it.
func (s *stopper) saveConfig(ctx context.Context, o observe.Observation) {
	if s.Params.ForceStop {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Until(s.until(s.budget.graceful))/4)
	defer cancel()
	s.configSaver.save(ctx, o)
}

// tidyStopped puts this node in order for a guest that is not here.
func (s *stopper) tidyStopped(ctx context.Context, o observe.Observation) {
	s.Log.Infof("already stopped: %s", o)
	s.closeMirror(ctx)
	s.removeGuestNote()
	s.noteDepartureStopped()
	s.removeFailureNote()
	s.removeStuck(ctx, o)
}

// stopStep is one way to end the guest.
type stopStep struct {
	name string
	rung ladder.Rung                           // the rung that it is
	end  time.Duration                         // until when it may take, counted from the action's start
	do   func(*stopper, context.Context) error // nil is the proof that the guest is gone
}

// decideStop is what a stop tries, in order: how the agent takes each rung of the guest's ladder that ends it. A save
// is also made where another parameter than the ladder wants it. Of a guest that has only arrived in part libvirt could
// end nothing before its source does.
func decideStop(b budget, may ladder.Rungs, saves, arrival bool) []stopStep {
	all := []stopStep{
		{"save", ladder.Save, b.save, func(s *stopper, ctx context.Context) error { return s.saver.save(ctx) }},
		{"shutdown", ladder.Shutdown, b.graceful, (*stopper).shutdown},
		{"destroy", ladder.Destroy, b.destroy, (*stopper).destroy},
		{"kill", ladder.Destroy, b.end, (*stopper).kill},
	}
	if arrival {
		return all[len(all)-1:]
	}
	return slices.DeleteFunc(all, func(s stopStep) bool {
		if s.rung.Saves() {
			return !saves
		}
		return !slices.Contains(may, s.rung)
	})
}

// try makes one step of the stop and reports whether the guest is proven to be gone.
func (s *stopper) try(ctx context.Context, step stopStep) bool {
	ctx, cancel := s.at(ctx, step.end)
	defer cancel()
	began := time.Now()
	err := step.do(s, ctx)
	s.rungs = append(s.rungs, record.NewRungTime(step.rung, began, err))
	if err != nil {
		s.Log.WithError(err).Warnf("%s did not stop the guest", step.name)
	} else {
		s.Log.Infof("stopped by %s", step.name)
	}
	return err == nil
}

// lastLook is for the reason of a failure, when the action's own time is over.
func (s *stopper) lastLook() observe.Observation {
	ctx, cancel := context.WithTimeout(context.Background(), answerReserve/4)
	defer cancel()
	return s.guest.Look(ctx)
}

var (
	errForced    = errors.New("force_stop is set")
	errRequest   = errors.New("shutdown request failed")
	errNoLibvirt = errors.New("libvirt does not answer")
)

// shutdownAct is what a shutdown does next.
type shutdownAct int

const (
	shutdownWait           shutdownAct = iota // look again in a moment
	shutdownDone                              // the guest is gone
	shutdownRequest                           // ask the guest to shut down
	shutdownAbortSave                         // end the save that keeps it paused
	shutdownGiveUp                            // the guest cannot act on a request
	shutdownWithoutLibvirt                    // libvirt does not answer: ask the guest another way, if there is one
)

// shutdownFacts is all that decideShutdown looks at.
type shutdownFacts struct {
	observe.Observation
	silent time.Duration // since when libvirt has not answered
	due    bool          // the guest was not asked yet, or long ago
	saving bool          // a save was begun by this stop, and not seen to end
}

// decideShutdown gives up early on a guest that cannot act (paused, crashed), and on a libvirt that does not answer.
func decideShutdown(f shutdownFacts) shutdownAct {
	switch {
	case f.IsGone():
		return shutdownDone
	case f.LibvirtErr != nil && f.silent >= libvirtPatience:
		return shutdownWithoutLibvirt
	case f.LibvirtErr != nil:
		return shutdownWait
	case f.Proc == observe.ProcEnding: // it does already, and then goes, or is back
		return shutdownWait
	case f.Libvirt == observe.PausedSave && f.saving: // its libvirtd was away when the save was aborted
		return shutdownAbortSave
	case f.Libvirt == observe.PausedPostCopy: // it leaves by itself, and would be lost without what is here
		return shutdownWait
	case !f.IsExecuting() && f.Libvirt != observe.NoState:
		return shutdownGiveUp
	case f.due:
		return shutdownRequest
	}
	return shutdownWait
}

// shutdownClock is when things happened in a shutdown; zero where they did not.
type shutdownClock struct{ requested, silent time.Time }

func (c *shutdownClock) facts(o observe.Observation, saving bool) shutdownFacts {
	switch {
	case o.LibvirtErr == nil:
		c.silent = time.Time{}
	case c.silent.IsZero():
		c.silent = time.Now()
	}
	f := shutdownFacts{Observation: o, saving: saving}
	f.due = c.requested.IsZero() || time.Since(c.requested) >= requestAgain
	if !c.silent.IsZero() {
		f.silent = time.Since(c.silent)
	}
	return f
}

// shutdown asks the guest to shut down and waits for its end.
func (s *stopper) shutdown(ctx context.Context) error {
	if s.Params.ForceStop {
		return errForced
	}
	var clock shutdownClock
	for failures := 0; ; {
		f := clock.facts(s.guest.Look(ctx), s.saver.saving)
		switch decideShutdown(f) {
		case shutdownDone:
			return nil
		case shutdownGiveUp:
			return errNotAlive
		case shutdownWithoutLibvirt:
			return s.shutdownWithoutLibvirt(ctx, f.Observation)
		case shutdownAbortSave:
			s.saver.saving = false
			s.saver.abort(ctx)
			continue
		case shutdownRequest:
			if err := s.request(ctx); err == nil {
				clock.requested = time.Now()
				s.step("asked")
			} else if failures++; failures >= requestLimit {
				return errors.Join(errRequest, err)
			}
		}
		if wait.For(ctx, observe.PollInterval) != nil {
			return errTimeUp
		}
	}
}

// request asks the guest once.
func (s *stopper) request(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.budget.call)
	defer cancel()
	err := s.guest.Call(ctx, func(conn observe.Hypervisor) error {
		s.Log.Info("asking the guest to shut down")
		return conn.Shutdown(ctx, s.guest.Ref(), s.Params.ShutdownMode)
	})
	if errors.Is(err, libvirt.ErrNoDomain) {
		return nil // gone meanwhile: the next look proves it
	}
	return err
}

// shutdownWithoutLibvirt asks the guest where that is possible.
func (s *stopper) shutdownWithoutLibvirt(ctx context.Context, o observe.Observation) error {
	direct, ok := s.guest.Processes.(observe.Shutdowner)
	switch {
	case !ok:
		return errNoLibvirt
	case o.Proc == observe.ProcHalted || o.Proc == observe.ProcBroken:
		return errNotAlive
	}
	s.Log.Warn("libvirt does not answer: requesting the shutdown without it")
	return s.endEach(ctx, func(p hostproc.Process) error { return direct.Shutdown(ctx, p, s.Params.ShutdownMode) })
}

// destroy has libvirt end the guest and waits for the proof.
func (s *stopper) destroy(ctx context.Context) error {
	if err := s.guest.Connect(ctx); err != nil {
		return err
	}
	s.Log.Info("destroying the guest")
	s.step("destroying")
	err := s.guest.Call(ctx, func(conn observe.Hypervisor) error { return conn.Destroy(ctx, s.guest.Ref()) })
	if err != nil {
		// "No such domain" and "not running" are what was wanted: a look decides.
		if s.guest.Look(ctx).IsGone() {
			return nil
		}
		return err
	}
	if o, gone := s.guest.WaitFor(ctx, observe.Observation.IsGone); !gone {
		return errors.Join(errTimeUp, errors.New(o.String()))
	}
	return nil
}

// kill ends the guest's process without libvirt, and waits until both sides say
// that it is gone, as far as libvirt says anything.
func (s *stopper) kill(ctx context.Context) error {
	return s.endEach(ctx, func(p hostproc.Process) error {
		s.Log.Warnf("killing %v", p)
		s.step("killing")
		return s.guest.Processes.Kill(ctx, p, time.Until(s.until(s.budget.end))/2)
	})
}

// endEach ends whatever runs the guest until nothing does.
func (s *stopper) endEach(ctx context.Context, end func(hostproc.Process) error) error {
	for {
		found, err := s.guest.Find(ctx)
		for _, p := range found {
			if err := end(p); err != nil {
				return err
			}
		}
		o := s.guest.Look(ctx)
		if o.IsGone() {
			return nil
		}
		if wait.For(ctx, observe.PollInterval) != nil {
			return errors.Join(errTimeUp, err, errors.New(o.String()))
		}
	}
}

// removeStuck is for a stop of a guest that is not here: the next migration to here would be refused for what libvirt
// still has of it. That it cannot be removed fails nothing.
func (s *stopper) removeStuck(ctx context.Context, o observe.Observation) {
	if !isStuck(s.guest.Driver(), o) {
		return
	}
	if err := s.broken.restartLibvirt(ctx); err != nil {
		s.Log.WithError(err).Warn("the guest cannot be migrated to this node before that is corrected")
	}
}
