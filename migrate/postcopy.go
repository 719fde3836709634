package migrate

import (
	"context"
	"errors"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"

	"github.com/vmferry/vmferry/migrate/ladder"
)

const (
	// postCopyTime is how long a cancelled move waits for a post-copy that is under way.
	postCopyTime = time.Minute

	// A post-copy that broke is tried again after so long, then after twice as long and so on, and without a
	// deadline for so long. A libvirtd 11.3 at the target dies of such a try, and systemd does not
	// start one again that dies too often.
	recoverEvery = 2 * time.Second
	recoverTime  = time.Minute
	// recoverQuiet is how long such a try may carry nothing. One whose connection breaks while QEMU sets it up
	// would wait for ever, and libvirt begins no other meanwhile.
	recoverQuiet = 5 * time.Second
)

// startPostCopy lets the guest go on at the target. Where that is refused, pre-copy goes on.
func (m *mover) startPostCopy(ctx context.Context) {
	defer m.step("post-copy")()
	m.unboundPostCopy(ctx)
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	err := m.source.host.StartPostCopy(ctx, m.req.Guest)
	if errors.Is(err, context.DeadlineExceeded) {
		m.events.ExpectPostCopy() // libvirt may do it yet
	}
	if err != nil {
		m.policy.PostCopy = false
		m.note("no switch to post-copy: " + err.Error())
		return
	}
	m.events.ExpectPostCopy()
	m.climb(ladder.PostCopy)
	m.note("the guest did not converge, and was switched to post-copy")
}

// unboundPostCopy lifts the bound for what follows the switch, where one was asked for: from there on the guest waits for
// each page that it lacks, and a bound is meant to spare others a copy that nobody waits for. virsh migrate has it so, too.
func (m *mover) unboundPostCopy(ctx context.Context) {
	if m.req.Bandwidth == 0 {
		return
	}
	if err := m.setSpeed(ctx, 0, true); err != nil {
		m.log.WithError(err).Warn("the bound on the bandwidth will hold for the post-copy too, and the guest be slow until its end")
	}
}

// recover goes on, once, with a post-copy that broke: the guest stands still, and its memory is at both
// ends. ok is false when no time is left for another try. It is not cancelled with ctx: a caller
// who cancels does not want the guest lost. try counts from 0.
func (m *mover) recover(ctx context.Context, began time.Time, try int) (ok bool) {
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
	params.Recover, params.Bandwidth = true, 0 // see unboundPostCopy
	m.ended = false
	err := m.goOn(ctx, params)
	m.callEnded(err)
	if err == nil {
		m.note("the post-copy broke, and was gone on with")
		return true
	}
	m.log.WithError(err).Warn("the post-copy cannot be gone on with yet")
	return sleep(ctx, recoverEvery<<min(try, 4)) == nil
}

// goOn makes the call that goes on with a post-copy, and breaks it off where it carries nothing.
func (m *mover) goOn(ctx context.Context, params libvirt.MigrateParams) error {
	host, done := m.source.host, make(chan error, 1)
	go func() { done <- host.MigrateToURI3(ctx, m.req.Guest, m.req.TargetURI, params) }()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	sent, quiet := uint64(0), time.Now()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
		ask, cancel := context.WithTimeout(ctx, sampleTime)
		if s, err := host.JobStats(ask, m.req.Guest); err == nil && s.Processed != sent {
			sent, quiet = s.Processed, time.Now()
		} else if time.Since(quiet) >= recoverQuiet {
			quiet = time.Now()
			if err := host.BreakPostCopy(ask, m.req.Guest); err != nil {
				m.log.WithError(err).Warn("a try to go on with the post-copy stands still, and cannot be broken off")
			}
		}
		cancel()
	}
}
