package migrate

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	// A post-copy that failed is recovered after so long, then after twice as long and so on, and without a
	// deadline for so long. A libvirtd 11.3 at the target dies of such a try, and systemd does not
	// start one again that dies too often.
	recoverEvery = 2 * time.Second
	recoverTime  = time.Minute
	// recoverQuiet is how long such a try may carry nothing. One whose connection breaks while QEMU sets it up
	// would wait for ever, and libvirt begins no other meanwhile.
	recoverQuiet = 5 * time.Second
)

// recovery recovers a post-copy that failed: the guest is paused, and its memory is at both ends.
type recovery struct {
	*job
	targetURI string
	params    libvirt.MigrateParams
}

// try tries once. ok is false when no time is left for another try. It is not cancelled with ctx: a caller
// who cancels does not want the guest lost. n counts the tries from 0, and began is when the first one did.
func (r recovery) try(ctx context.Context, began time.Time, n int) (ok bool) {
	defer r.step("recover")()
	r.report("recovering")
	end := began.Add(recoverTime)
	if !r.deadline.IsZero() {
		end = r.deadline.Add(-verifyLeast)
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), end)
	defer cancel()
	if r.source.Connect(ctx, endpoint.LookTime) != nil {
		return wait.For(ctx, recoverEvery) == nil
	}
	r.ended = false
	err := r.call(ctx)
	r.callEnded(err)
	if err == nil {
		r.note("post-copy failed, and was recovered")
		return true
	}
	r.log.WithError(err).Warn("post-copy recovery failed")
	return wait.For(ctx, recoverEvery<<min(n, 4)) == nil
}

// call makes the call that recovers, and ends it where it carries nothing.
func (r recovery) call(ctx context.Context) error {
	params := r.params
	params.Recover, params.Bandwidth = true, 0 // see migration.liftBandwidth
	host, done := r.source.Host, make(chan error, 1)
	go func() { done <- host.MigrateToURI3(ctx, r.guest, r.targetURI, params) }()
	tick := time.NewTicker(convergence.PollEvery)
	defer tick.Stop()
	sent, quiet := uint64(0), time.Now()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
		ask, cancel := context.WithTimeout(ctx, sampleTime)
		if s, err := host.JobStats(ask, r.guest); err == nil && s.Processed != sent {
			sent, quiet = s.Processed, time.Now()
		} else if time.Since(quiet) >= recoverQuiet {
			quiet = time.Now()
			if err := host.BreakPostCopy(ask, r.guest); err != nil {
				r.log.WithError(err).Warn("post-copy recovery stalled; abort failed")
			}
		}
		cancel()
	}
}
