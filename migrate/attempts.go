package migrate

import (
	"context"
	"fmt"

	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
	"github.com/vmferry/vmferry/migrate/verify"
)

// attempts starts the migration, and again where another attempt makes sense.
type attempts struct {
	*migration
	relay  *relaying
	params libvirt.MigrateParams // those that do not depend on the attempt
	// switchover is the bandwidth of the last copy with XBZRLE, in MiB/s.
	switchover func() uint64
	// verify says where the guest is after an attempt that failed.
	verify func(ctx context.Context) verify.Verdict
}

// run migrates as first says, and again where that was refused for something that it can
// do without, or aborted for something that it lacked. The error says nothing of where the guest is.
func (a *attempts) run(ctx context.Context, first attempt) error {
	a.try = first
	if first.pace > 0 {
		a.rec.Cap, a.rec.Pace = first.pace<<20, first.pace<<20
	}
	for {
		err := a.once(ctx)
		if isFinal(ctx, err) {
			return err
		}
		refused := a.ended && a.hears.source && !a.events.IsActive()
		next := failure{a.try, err, refused, a.policy.AutoConverge, a.switchover()}.retry()
		if next == nil || a.verify(ctx).Outcome != record.Stayed {
			return err
		}
		a.note(next.why)
		a.try, a.policy.PostCopy = next.attempt, next.postCopy
		if next.plain {
			a.policy.XBZRLECache = 0
		}
		a.relay.end(ctx)
		a.reset()
	}
}

// once runs one migration and steers it. The error is libvirt's, or why it was aborted.
func (a *attempts) once(ctx context.Context) error {
	defer a.step("migrate")()
	if ctx.Err() != nil || a.left() <= 0 {
		return fmt.Errorf("%w: no time was left to begin", ErrOutOfTime)
	}
	if a.hears.source {
		a.relay.begin(ctx, a.source.Host)
	}
	a.setDowntime(ctx, a.policy.InitialDowntime) // before the start: a short migration is over before the first look
	a.escalate(ladder.Live)
	a.report("migrating")
	params := a.try.params(a.params)
	a.rec.Compression, a.rec.Cache = params.Compression, a.try.cache
	if params.Compressed && params.Compression == "" {
		a.rec.Compression = "xbzrle" // libvirt's default (qemuMigrationParamsSetCompression)
	}
	a.rec.Compressed, a.rec.Encrypted = a.try.compression() != "", params.TLS
	return a.call(ctx, params)
}

// call makes the call to libvirt that migrates, and steers until it ends. The call outlives ctx: a
// cancelled migration is aborted, and then its end is awaited.
func (a *attempts) call(ctx context.Context, params libvirt.MigrateParams) error {
	call, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	done := make(chan error, 1)
	a.ended = false
	host := a.source.Host
	// A connection in which a call waits hands each event from thread to thread (virNetClientIOEventLoop), in the
	// middle of the guest's pause. So the call has one of its own; without one it is made all the same.
	if a.caller.Connect(ctx, endpoint.LookTime) == nil {
		host = a.caller.Host
	}
	go func() { done <- host.MigrateToURI3(call, a.guest, a.req.TargetURI, params) }()
	why, err := a.steer(ctx, done)
	if why != nil {
		err = a.abort(ctx, done, why)
	}
	return err
}
