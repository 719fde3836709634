package migrate

import (
	"context"
	"errors"
	"time"

	"github.com/vmferry/vmferry/migrate/drain"
)

const (
	// postCopyTime is how long a cancelled move waits for a post-copy that is under way.
	postCopyTime = time.Minute

	// A post-copy that broke is tried again so often, and without a deadline for so long.
	recoverEvery = 2 * time.Second
	recoverTime  = time.Minute
)

// startPostCopy lets the guest go on at the target. Where that is refused, pre-copy goes on.
func (m *mover) startPostCopy(ctx context.Context) {
	defer m.step("post-copy")()
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	err := m.source.host.StartPostCopy(ctx, m.req.Guest)
	if errors.Is(err, context.DeadlineExceeded) {
		m.tape.expectPostCopy() // libvirt may do it yet
	}
	if err != nil {
		m.policy.PostCopy = false
		m.note("no switch to post-copy: " + err.Error())
		return
	}
	m.tape.expectPostCopy()
	m.climb(drain.PostCopy)
	m.note("the guest did not converge, and was switched to post-copy")
}

// recover goes on, once, with a post-copy that broke: the guest stands still, and its memory is at both
// ends. ok is false when no time is left for another try. It is not cancelled with ctx: a caller
// who cancels does not want the guest lost.
func (m *mover) recover(ctx context.Context, began time.Time) (ok bool) {
	defer m.step("recover")()
	m.report("recovering")
	end := began.Add(recoverTime)
	if !m.deadline.IsZero() {
		end = m.deadline.Add(-verifyLeast)
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), end)
	defer cancel()
	if m.source.connect(ctx, lookTime) != nil {
		return sleep(ctx, recoverEvery) == nil
	}
	params := m.params()
	params.Recover = true
	m.ended = false
	err := m.source.host.MigrateToURI3(ctx, m.req.Guest, m.req.TargetURI, params)
	m.callEnded(err)
	if err == nil {
		m.note("the post-copy broke, and was gone on with")
		return true
	}
	m.log.WithError(err).Warn("the post-copy cannot be gone on with yet")
	return sleep(ctx, recoverEvery) == nil
}
