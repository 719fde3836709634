package migrate

import (
	"context"
	"errors"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// attempt is how a migration is started.
type attempt struct {
	throttle    int // per cent at which auto-converge begins, 0 for none
	postCopy    bool
	connections int
	compress    bool   // on these
	cache       uint64 // bytes of XBZRLE's, 0 for none
	switchover  uint64 // MiB/s for the last copy, 0 for what the passes show
	pace        uint64 // MiB/s that bound the first passes, 0 for no bound of their own
}

// extras reports whether it requests something that an older hypervisor refuses.
func (a attempt) extras() bool {
	return a.postCopy || a.connections > 0 || a.switchover > 0 || a.cache > 0
}

// compression is the method of it, empty for none.
func (a attempt) compression() string {
	return convergence.Decision{Compress: a.compress, XBZRLECache: a.cache}.Compression()
}

// params are p, which do not depend on the attempt, and what it adds.
func (a attempt) params(p libvirt.MigrateParams) libvirt.MigrateParams {
	p.Bandwidth, p.Switchover = max(p.Bandwidth, a.pace), a.switchover
	p.AutoConverge = a.throttle > 0
	p.PostCopy = p.PostCopy || a.postCopy
	if p.ConvergeInitial == 0 && a.throttle > convergence.ThrottleFirst {
		p.ConvergeInitial = a.throttle
	}
	if a.connections > 0 {
		p.Parallel, p.Connections = true, a.connections
	}
	if how := a.compression(); how != "" {
		p.Compressed, p.Compression, p.XBZRLECache = true, how, a.cache
	}
	return p
}

// wantRestart ends a migration that has to be started again with what QEMU takes at the start alone.
type wantRestart struct {
	throttle int    // per cent at which auto-converge begins, 0 for none
	cache    uint64 // bytes of XBZRLE's, 0 for none
}

// Error implements error.
func (r *wantRestart) Error() string {
	if r.cache > 0 {
		return "the guest writes the same memory faster than the link carries it"
	}
	return "the guest writes too fast to converge, and has to be slowed down"
}

// failure is an attempt that failed.
type failure struct {
	attempt
	err         error
	refused     bool   // by the hypervisor, before it sent anything
	mayThrottle bool   // the policy lets the guest be slowed down
	xbzrleLast  uint64 // MiB/s for the last copy of an attempt with XBZRLE
}

// again is how a migration is started again.
type again struct {
	attempt
	why   string
	plain bool // without all that an older hypervisor refuses, from now on
}

// retry is the rule by which a migration that failed is started again; nil where it is not.
//
//	the policy wants a throttle, or XBZRLE   with it: QEMU takes it at the start alone
//	the hypervisor refused the start         without all that an older one does not know
//	all else                                 not at all
func (f failure) retry() *again {
	next := f.attempt
	next.pace = 0 // the guest is no idle one
	var with *wantRestart
	switch wanted := errors.As(f.err, &with); {
	case wanted && with.cache > 0:
		next.cache, next.connections, next.compress, next.switchover = with.cache, 0, false, f.xbzrleLast
		return &again{attempt: next, why: "started again with XBZRLE: " + with.Error()}
	case wanted:
		next.throttle = with.throttle
		return &again{attempt: next, why: "started again with auto-converge: " + with.Error()}
	case !f.refused || !f.extras():
		return nil
	}
	next = attempt{throttle: f.throttle}
	if f.cache > 0 && f.mayThrottle {
		// XBZRLE went before it, see convergence.Policy.Decide
		next.throttle = max(next.throttle, convergence.ThrottleFirst)
	}
	const plainly = "started again without post-copy, parallel connections, compression and a switchover bandwidth: "
	return &again{next, plainly + f.err.Error(), true}
}

// isFinal reports whether the migration was ended by us for a reason that another attempt would not change.
func isFinal(ctx context.Context, err error) bool {
	return err == nil || ctx.Err() != nil ||
		errors.Is(err, ErrOutOfTime) || errors.Is(err, ErrHopeless) || errors.Is(err, ErrTargetSilent)
}
