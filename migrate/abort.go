package migrate

import (
	"context"
	"fmt"
	"time"
)

const (
	abortEvery = 250 * time.Millisecond // between two tries to abort

	// abortTime is how long aborting may take before verification continues without an
	// answer from the migration, and switchGrace how much of it a guest has that is stopped
	// already: to let it arrive is quicker than to take it back.
	abortTime   = 5 * time.Second
	switchGrace = time.Second
	// abortTold is abortTime where libvirt did not itself abort the migration. It then tells the target before its call
	// ends, and one that has died it gives up after keepalive_interval × (keepalive_count + 1) of libxl.conf, which is
	// 30 s as it is shipped.
	abortTold = 45 * time.Second

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
				return fmt.Errorf("%w, and goes on: %w", why, lack)
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
		limit = abortTold
	}
	return max(min(limit, j.all()/3*2), sampleTime)
}

// unstoppable reports whether the migration under way continues to its end, whoever wants to abort it.
func (j *job) unstoppable() bool { return j.events.InPostCopy() || j.lacksAbort() != nil }

// isStopped reports whether the guest is in its last copy.
func (j *job) isStopped(ctx context.Context) bool {
	return j.events.IsSwitching() || j.mustArrive(ctx)
}
