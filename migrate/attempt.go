package migrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/verify"
)

// attempt is how a migration is begun.
type attempt struct {
	throttle    int // per cent at which auto-converge begins, 0 for none
	postCopy    bool
	connections int
	compress    bool   // on these
	cache       uint64 // bytes of XBZRLE's, 0 for none
	switchover  uint64 // MiB/s for the last copy, 0 for what the passes show
	pace        uint64 // MiB/s that bound the first passes, 0 for no bound of their own
}

// extras tells whether it requests something that an older hypervisor refuses.
func (a attempt) extras() bool {
	return a.postCopy || a.connections > 0 || a.switchover > 0 || a.cache > 0
}

// compression is the method of it, empty for none.
func (a attempt) compression() string {
	switch {
	case a.compress:
		return "zstd"
	case a.cache > 0:
		return "xbzrle"
	}
	return ""
}

// params are what libvirt is given for the attempt. managed says that this process talks to both daemons, and disks are
// the names of those that are copied.
func (a attempt) params(r Request, managed bool, disks []string) libvirt.MigrateParams {
	p := libvirt.MigrateParams{URI: r.MigrateURI, Bandwidth: max(r.Bandwidth, a.pace), Switchover: a.switchover,
		Unsafe: r.Unsafe, Managed: managed, MigrateOptions: r.Options}
	p.AutoConverge = a.throttle > 0
	p.PostCopy = p.PostCopy || a.postCopy
	if p.ConvergeInitial == 0 && a.throttle > throttleFirst {
		p.ConvergeInitial = a.throttle
	}
	if len(disks) > 0 {
		p.CopyAll, p.Disks = true, disks
	}
	if a.connections > 0 {
		p.Parallel, p.Connections = true, a.connections
	}
	if how := a.compression(); how != "" {
		p.Compressed, p.Compression, p.XBZRLECache = true, how, a.cache
	}
	return p
}

// wantThrottle ends a migration that has to be started again so that the guest can be slowed down.
type wantThrottle struct{ percent int }

// Error implements error.
func (w *wantThrottle) Error() string {
	return "the guest writes too fast to be moved at its full speed"
}

// wantDelta ends a migration that has to be started again with XBZRLE, which needs a cache of so many bytes.
type wantDelta struct{ cache uint64 }

// Error implements error.
func (w *wantDelta) Error() string {
	return "the guest writes the same memory faster than the link carries it"
}

// failure is an attempt that failed.
type failure struct {
	attempt
	err         error
	refused     bool   // by the hypervisor, before it sent anything
	mayThrottle bool   // the policy lets the guest be slowed down
	switchover  uint64 // MiB/s for the last copy with XBZRLE
}

// again is how a migration is started again.
type again struct {
	attempt
	why   string
	plain bool // without all that an older hypervisor refuses, from now on
}

// retry is the rule by which a migration that failed is started again; nil where it is not.
//
//	the policy wants a throttle, or XBZRLE   with it: QEMU must be told of it at the start
//	the hypervisor refused the start         without all that an older one does not know
//	all else                                 not at all
func (f failure) retry() *again {
	next := f.attempt
	var more *wantThrottle
	var delta *wantDelta
	switch {
	case errors.As(f.err, &more):
		next.throttle = more.percent
		return &again{attempt: next, why: "started again, so that the guest can be slowed down (auto-converge)"}
	case errors.As(f.err, &delta):
		next.cache, next.connections, next.compress, next.switchover = delta.cache, 0, false, f.switchover
		return &again{attempt: next, why: "started again with XBZRLE, as the guest writes the same memory faster than the link carries it"}
	case !f.refused || !f.extras():
		return nil
	}
	next = attempt{throttle: f.throttle}
	if f.cache > 0 && f.mayThrottle {
		next.throttle = max(next.throttle, throttleFirst) // XBZRLE went before it, see Policy.Decide
	}
	return &again{next, "started again without post-copy, parallel connections, compression and a bandwidth for the last copy: " + f.err.Error(), true}
}

// isFinal tells whether the migration was ended by us for a reason that another attempt would not change.
func isFinal(ctx context.Context, err error) bool {
	return err == nil || ctx.Err() != nil || errors.Is(err, ErrOutOfTime) || errors.Is(err, ErrHopeless) || errors.Is(err, ErrTargetSilent)
}

// attempts starts the migration, and again where another attempt makes sense.
type attempts struct {
	*migration
	relay *relaying
	// params are libvirt's for the present attempt.
	params func() libvirt.MigrateParams
	// switchover is the bandwidth of the last copy with XBZRLE, in MiB/s.
	switchover func() uint64
	// verify tells where the guest is after an attempt that failed.
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
		next := failure{a.try, err, refused, a.policy.Throttle, a.switchover()}.retry()
		if next == nil || a.verify(ctx).Outcome != verify.Stayed {
			return err
		}
		a.note(next.why)
		a.try, a.policy.PostCopy = next.attempt, next.postCopy
		if next.plain {
			a.policy.Delta = 0
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
		a.relay.begin(ctx, a.source.host)
	}
	a.setDowntime(ctx, a.policy.First) // before the start: a short migration is over before the first look
	a.escalate(ladder.Live)
	a.report("migrating")
	params := a.params()
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
	host := a.source.host
	// A connection in which a call waits hands each event from thread to thread (virNetClientIOEventLoop), in the middle of
	// the guest's pause. So the call has one of its own; without one it is made all the same.
	if a.caller.connect(ctx, lookTime) == nil {
		host = a.caller.host
	}
	go func() { done <- host.MigrateToURI3(call, a.guest, a.req.TargetURI, params) }()
	why, err := a.steer(ctx, done)
	if why != nil {
		err = a.abort(ctx, done, why)
	}
	return err
}
