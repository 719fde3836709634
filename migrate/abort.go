package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

const (
	abortEvery = 250 * time.Millisecond // between two tries to abort

	// abortTime is how long aborting may take before verification goes on without an
	// answer from the migration, and switchGrace how much of it a guest has that stands still
	// already: to let it arrive is quicker than to take it back.
	abortTime   = 5 * time.Second
	switchGrace = time.Second
	// abortTold is abortTime where libvirt did not itself abort the migration. It then tells the target before its call
	// ends, and one that has died it gives up after keepalive_interval × (keepalive_count + 1) of libxl.conf, which is
	// 30 s as it is shipped.
	abortTold = 45 * time.Second
)

// errLastCopy is why a migration is not aborted whose end will not be heard.
var errLastCopy = errors.New("the guest stands still already for its last copy")

// lacksAbort is why the migration cannot be given up, an [*libvirt.Unsupported], or nil where it can: by libvirt's
// driver, or without it by Deps.Abort.
func (m *mover) lacksAbort() error {
	if m.deps.Abort != nil {
		return nil
	}
	return m.driver.Lacks(libvirt.CanAbort)
}

// abort gives the migration up, asking as often as needed: just after its start there
// is no job yet. It returns when the migration ended, or without that after abortTime. The
// migration may have won the race: then the error is nil. One that cannot be aborted, in its post-copy
// phase or by its driver, is awaited instead, as long as there is time at all.
func (m *mover) abort(ctx context.Context, done <-chan error, why error) error {
	defer m.step("abort")()
	m.report("aborting")
	begin := time.Now()
	ctx = context.WithoutCancel(ctx)
	limit := m.abortLimit()
	giveUp := time.NewTimer(limit)
	defer giveUp.Stop()
	tick := time.NewTicker(abortEvery)
	defer tick.Stop()
	for {
		var again <-chan time.Time
		if time.Since(begin) < limit { // else a tick that is due would win over giveUp, by chance and again
			again = tick.C
			if !m.unstoppable() && (time.Since(begin) >= min(switchGrace, limit/2) || !m.standsStill(ctx)) {
				m.tryAbort(ctx)
			}
		}
		select {
		case err := <-done:
			m.callEnded(err)
			if err == nil {
				return nil
			}
			if lack := m.lacksAbort(); lack != nil {
				return fmt.Errorf("%w, and failed by itself: %v", why, err)
			}
			return fmt.Errorf("%w, and was aborted: %v", why, err)
		case <-giveUp.C:
			if lack := m.lacksAbort(); lack != nil {
				return fmt.Errorf("%w, and goes on: %w", why, lack)
			}
			return fmt.Errorf("%w, and could not be aborted within %v", why, limit.Round(time.Millisecond))
		case <-again:
		}
	}
}

// abortLimit leaves a third of the time to verifying.
func (m *mover) abortLimit() time.Duration {
	limit := abortTime
	switch {
	case m.unstoppable():
		limit = postCopyTime
	case !m.driver.Can(libvirt.CanAbort):
		limit = abortTold
	}
	if m.deadline.IsZero() {
		return limit
	}
	return max(min(limit, time.Until(m.deadline)*2/3), sampleTime)
}

// unstoppable tells whether the migration under way goes on to its end, whoever wants it away.
func (m *mover) unstoppable() bool { return m.events.InPostCopy() || m.lacksAbort() != nil }

// standsStill tells whether the guest is in its last copy.
func (m *mover) standsStill(ctx context.Context) bool {
	return m.events.IsSwitching() || m.mustArrive(ctx)
}

// mustArrive tells whether another witness sees that the guest stands still, of a driver that tells of no events. Then
// nothing but the error of the call that migrates would prove that it was not handed over: where that
// call is not ours, a guest that was taken back could not be let go on here.
func (m *mover) mustArrive(ctx context.Context) bool {
	if m.driver.Can(libvirt.CanTellPause) || m.deps.Halted == nil {
		return false
	}
	ask, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	halted, err := m.deps.Halted(ask, m.req.Guest, m.uuid)
	return halted && err == nil
}

func (m *mover) tryAbort(ctx context.Context) {
	limit, abort := sampleTime, func(ctx context.Context) error { return m.source.host.AbortJob(ctx, m.req.Guest) }
	if !m.driver.Can(libvirt.CanAbort) {
		if m.deps.Abort == nil {
			return
		}
		limit, abort = lookTime, func(ctx context.Context) error { return m.deps.Abort(ctx, m.req.Guest, m.uuid) }
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := abort(ctx); err != nil {
		m.log.WithError(err).Debug("abort refused")
	}
}
