package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/events"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/qmp"
	"github.com/vmferry/vmferry/migrate/wait"
)

// sampleTime bounds one look at a migration, and each change to one under way.
const sampleTime = 500 * time.Millisecond

// askTime bounds a question to one end beside the migration.
const askTime = 5 * time.Second

// job is the guest's migration job between the two ends: what is known of it, and what libvirt can do with it, or
// Deps where libvirt's driver cannot.
type job struct {
	*account
	*window
	deps           Deps
	driver         libvirt.Driver // the source's
	guest, uuid    string         // uuid is "" before the pre-flight, where the caller does not know it
	source, target endpoint.Endpoint
	caller         endpoint.Endpoint // the source once more, for the call that migrates alone
	events         *events.Log
	hears          struct{ source, target bool } // whose events are seen

	found  preflight.Findings // once that has run
	ended  bool               // no migration is under way at the source
	failed bool               // libvirt itself said that the migration failed
}

// listen puts the events of both ends into the log until stop is called. A guest can be moved without them, and less
// is known of the move then: a failure is a note.
func (j *job) listen(ctx context.Context) (stop func()) {
	if !j.driver.JobControl {
		return func() {}
	}
	var stops []func()
	from := func(s *endpoint.Endpoint, which qmp.Side) bool {
		if s.Host == nil { // only where a migration was adopted whose target gives no answer
			return false
		}
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		end, err := s.Host.Watch(ctx, j.guest, func(e libvirt.Event) { j.events.Add(which, e) })
		if err != nil {
			j.note(fmt.Sprintf("no events from the %s: %v", which, err))
			return false
		}
		stops = append(stops, end)
		return true
	}
	j.hears.source, j.hears.target = from(&j.source, qmp.Source), from(&j.target, qmp.Target)
	return func() {
		for _, end := range stops {
			end()
		}
	}
}

// separate is a second connection to an end, for a goroutine of its own or a call that waits. It is not yet made.
func separate(s *endpoint.Endpoint) endpoint.Endpoint {
	return endpoint.Endpoint{URI: s.URI, Open: s.Open}
}

// callEnded notes whether the end of the call that migrates is the end of the migration: not so
// when the connection broke, for libvirtd may continue without us.
func (j *job) callEnded(err error) {
	broken := errors.Is(err, libvirt.ErrConnect) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	j.ended, j.failed = !broken, !broken && err != nil
	if broken {
		j.source.Drop()
		j.caller.Drop()
	}
}

// stats asks for the job, of a source that is connected.
func (j *job) stats(ctx context.Context, limit time.Duration) (libvirt.JobStats, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return j.source.Host.JobStats(ctx, j.guest)
}

// awaitEnd sends nil, for which done has room, once the source has no job of the guest under way, or has no such guest
// any more. It has a connection of its own, since the other is in use.
func (j *job) awaitEnd(ctx context.Context, done chan<- error) {
	own := separate(&j.source)
	defer own.Close()
	for ; ctx.Err() == nil; _ = wait.For(ctx, convergence.PollEvery) {
		if own.Connect(ctx, endpoint.LookTime) != nil {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, sampleTime)
		job, err := own.Host.JobStats(ask, j.guest)
		cancel()
		switch {
		case errors.Is(err, libvirt.ErrNoDomain), err == nil && !job.Active:
			done <- nil
			return
		case err != nil:
			own.Drop()
		}
	}
}

// setDowntime sets the downtime limit. When that fails the limit so far is kept, so that the next sample tries again. A
// driver that has no limit is not asked.
func (j *job) setDowntime(ctx context.Context, limit time.Duration) {
	if !j.driver.JobControl {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	if err := j.source.Host.SetMaxDowntime(ctx, j.guest, limit); err != nil {
		j.log.WithError(err).Warn("cannot set the downtime limit")
		return
	}
	j.limited(limit)
}

// setSpeed bounds the passes of the migration under way, or its post-copy, in MiB/s. It gives up soon: what follows
// does not depend on it.
func (j *job) setSpeed(ctx context.Context, mibs uint64, postCopy bool) error {
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	return j.source.Host.SetMaxSpeed(ctx, j.guest, mibs, postCopy)
}

// lacksAbort is why the migration cannot be aborted, an [*libvirt.Unsupported], or nil where it can: by libvirt's
// driver, or without it by Deps.Abort.
func (j *job) lacksAbort() error {
	if j.deps.Abort != nil {
		return nil
	}
	return j.driver.Lacks(libvirt.CanAbort)
}

// tryAbort asks once for the migration to be aborted.
func (j *job) tryAbort(ctx context.Context) {
	limit, abort := sampleTime, func(ctx context.Context) error { return j.source.Host.AbortJob(ctx, j.guest) }
	if !j.driver.JobControl {
		if j.deps.Abort == nil {
			return
		}
		limit, abort = endpoint.LookTime, func(ctx context.Context) error { return j.deps.Abort(ctx, j.guest, j.uuid) }
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := abort(ctx); err != nil {
		j.log.WithError(err).Debug("abort refused")
	}
}

// halted asks the hypervisor itself, by Deps.Halted, whether the guest is paused for its switchover.
func (j *job) halted(ctx context.Context) bool {
	if j.deps.Halted == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, endpoint.LookTime)
	defer cancel()
	halted, err := j.deps.Halted(ctx, j.guest, j.uuid)
	return halted && err == nil
}

// mustArrive reports whether the guest is paused for its last copy, of a driver that has no events. Then
// nothing but the error of the call that migrates would prove that it was not handed over: where that
// call is not ours, a guest whose migration was aborted could not be resumed here.
func (j *job) mustArrive(ctx context.Context) bool {
	return !j.driver.JobControl && j.halted(ctx)
}

// isHalted reports whether a guest that runs, as the source's libvirt says, is paused for its switchover all the same:
// a driver may not know it. One that was restarted sees for itself, and calls it suspended.
func (j *job) isHalted(ctx context.Context, source endpoint.Observation) bool {
	if j.driver.TracksProcess || source.Condition(j.uuid) != endpoint.Running {
		return false
	}
	return source.Status.State == libvirt.PMSuspended || j.halted(ctx)
}

const (
	abortEvery = 250 * time.Millisecond // between two tries to abort

	// abortTime is how long aborting may take before verification continues without an
	// answer from the migration, and switchGrace how much of it a guest has that is stopped
	// already: to let it arrive is quicker than to take it back.
	abortTime   = 5 * time.Second
	switchGrace = time.Second
	// libxlAbortTime is abortTime where libvirt did not itself abort the migration. It then informs the target before
	// its call ends, and one that has died it gives up after keepalive_interval × (keepalive_count + 1) of libxl.conf,
	// which is 30 s as it is shipped.
	libxlAbortTime = 45 * time.Second

	// postCopyTime is how long a cancelled move waits for a post-copy that is under way.
	postCopyTime = time.Minute
)

// abort gives the migration up, asking as often as needed: just after its start there
// is no job yet. It returns when the migration ended, or without that after limit. The
// migration may have won the race: then the error is nil. One that cannot be aborted, in its post-copy
// phase or by its driver, is awaited instead, as long as there is time at all.
func (j *job) abort(ctx context.Context, done <-chan error, why error) error {
	defer j.step("abort")()
	j.report("aborting")
	begin := time.Now()
	ctx = context.WithoutCancel(ctx)
	limit := j.abortLimit()
	giveUp := time.NewTimer(limit)
	defer giveUp.Stop()
	tick := time.NewTicker(abortEvery)
	defer tick.Stop()
	for {
		var again <-chan time.Time
		if time.Since(begin) < limit { // else a tick that is due would win over giveUp, by chance and again
			again = tick.C
			if !j.unstoppable() && (time.Since(begin) >= min(switchGrace, limit/2) || !j.isStopped(ctx)) {
				j.tryAbort(ctx)
			}
		}
		select {
		case err := <-done:
			j.callEnded(err)
			return j.aborted(why, err)
		case <-giveUp.C:
			if lack := j.lacksAbort(); lack != nil {
				return fmt.Errorf("%w, and the migration continues: %w", why, lack)
			}
			return fmt.Errorf("%w, and could not be aborted within %v", why, limit.Round(time.Millisecond))
		case <-again:
		}
	}
}

// aborted is why the migration ended, nil where the guest was moved in the last moment.
func (j *job) aborted(why, err error) error {
	switch {
	case err == nil:
		return nil
	case j.lacksAbort() != nil:
		return fmt.Errorf("%w, and failed by itself: %v", why, err)
	}
	return fmt.Errorf("%w, and was aborted: %v", why, err)
}

// abortLimit leaves a third of the time to verifying.
func (j *job) abortLimit() time.Duration {
	limit := abortTime
	switch {
	case j.unstoppable():
		limit = postCopyTime
	case !j.driver.JobControl:
		limit = libxlAbortTime
	}
	return max(min(limit, j.all()/3*2), sampleTime)
}

// unstoppable reports whether the migration under way continues to its end, whoever wants to abort it.
func (j *job) unstoppable() bool { return j.events.InPostCopy() || j.lacksAbort() != nil }

// isStopped reports whether the guest is in its last copy.
func (j *job) isStopped(ctx context.Context) bool {
	return j.events.IsSwitching() || j.mustArrive(ctx)
}

const (
	// silentTime is how long a target gives no answer until it is given up. It is longer than what a busy host, a
	// bridge's table or a new route needs, and half of what libvirt's daemons themselves allow each other, who
	// give up after that: so no move is given up that could have gone through.
	silentTime = 15 * time.Second
	// silentEvery is between two questions to the target.
	silentEvery = 3 * time.Second
)

// watchTarget asks the target again and again whether it is there. lost gets why to give up, at most once. The
// connections that target and source have are in use: it makes its own.
func watchTarget(
	ctx context.Context, target, source *endpoint.Endpoint, guest string,
) (lost <-chan error, stop func()) {
	ctx, stop = context.WithCancel(ctx)
	out := make(chan error, 1)
	go awaitSilence(ctx, separate(target), separate(source), guest, out)
	return out, stop
}

// awaitSilence sends once the target has been silent for silentTime, from the first question that it did not answer,
// and returns then or at the end of ctx. What cannot be asked of the source either counts for nothing: then this
// node is so busy that no answer reaches us.
func awaitSilence(ctx context.Context, target, source endpoint.Endpoint, guest string, lost chan<- error) {
	defer target.Close()
	defer source.Close()
	var since time.Time // zero while it answers
	for asked := time.Now(); ; asked = time.Now() {
		err := target.Observe(ctx, guest).Err
		switch {
		case ctx.Err() != nil:
			return
		case answered(err), !answered(source.Observe(ctx, guest).Err):
			since = time.Time{}
		case since.IsZero():
			since = asked
		case asked.Sub(since) >= silentTime:
			lost <- fmt.Errorf("%w for %v: %w", ErrTargetSilent, asked.Sub(since).Round(time.Second), err)
			return
		}
		if wait.For(ctx, silentEvery-time.Since(asked)) != nil {
			return
		}
	}
}

// unreached are what the kernel says of a host that does not answer. libvirt has it in its text alone, and so has the
// ssh that it may use.
var unreached = []syscall.Errno{syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ETIMEDOUT}

// answered reports whether what came of a question shows that the host asked is there. A connection that it
// refuses does, as while its libvirtd is started again: whether the migration outlives that is not ours to judge. A
// libvirtd that takes a connection and then says nothing does not: the source's daemon gives it up as well.
func answered(err error) bool {
	if err == nil || errors.Is(err, libvirt.ErrNoDomain) {
		return true
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	text := strings.ToLower(err.Error())
	return !slices.ContainsFunc(unreached, func(no syscall.Errno) bool { return strings.Contains(text, no.Error()) })
}
