package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

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
}

// switchover is what the last copy may reckon with where the passes are bounded to less than the link carries:
// QEMU lifts the bound for it, and does not know how much that helps. Half of the link is left for others. XBZRLE does
// not fill the link, and QEMU would take what it sends for all that the link carries.
func (m *mover) switchover(deltas bool) uint64 {
	if !m.driver.Can(libvirt.CanBoundSpeed) {
		return 0
	}
	if deltas {
		return max(cmp.Or(m.link.Bandwidth, m.rec.Rate)>>21, m.bandwidth()>>20)
	}
	if half := m.link.Bandwidth >> 21; m.req.Bandwidth > 0 && half > m.req.Bandwidth {
		return half
	}
	return 0
}

const (
	// paceLeast and paceTime bound what a first pass puts on the wire where nobody asked for a bound: a guest is
	// copied in paceTime at the quickest, and never slower than paceLeast for that. QEMU fills the buffers of the
	// connection faster than the target empties them, and what stands in them when the guest is stopped
	// is part of the pause: of a small guest that is over before the flood has ended.
	paceLeast = 128 // MiB/s
	paceTime  = time.Second
	// paceLift is the pass in which the bound is lifted: the guest is no idle one.
	paceLift = 3
	// unbound is libvirt's own, in MiB/s.
	unbound = math.MaxInt64 >> 20
)

// pace is the bound of the first passes in MiB/s, 0 for none: the binding has the bound hold for a post-copy too, and only one
// that was asked for is lifted at the switch.
func (m *mover) pace() uint64 {
	if !m.driver.Can(libvirt.CanBoundSpeed) || m.req.Bandwidth > 0 || m.policy.PostCopy || len(m.carried) > 0 || used(m.load) == 0 ||
		m.hurries() {
		return 0
	}
	return max(paceLeast, uint64(float64(used(m.load)>>20)/paceTime.Seconds()))
}

// liftPace lets a migration that is not over after its first passes have the whole link.
func (m *mover) liftPace(ctx context.Context, s State) {
	if m.paced == 0 || s.Iteration < paceLift {
		return
	}
	if err := m.setSpeed(ctx, unbound, false); err != nil {
		m.log.WithError(err).Warn("the bound of the first passes is not lifted")
		return
	}
	m.paced, m.rec.Cap = 0, 0
}

// setSpeed bounds the passes of the migration under way, or its post-copy, and gives up soon: what follows does not depend on it.
func (m *mover) setSpeed(ctx context.Context, mibs uint64, postCopy bool) error {
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	return m.source.host.SetMaxSpeed(ctx, m.req.Guest, mibs, postCopy)
}

// extras tells whether it asks for something that an older hypervisor refuses.
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

func (m *mover) params() libvirt.MigrateParams {
	p := libvirt.MigrateParams{URI: m.req.MigrateURI, Bandwidth: max(m.req.Bandwidth, m.paced), Switchover: m.try.switchover, Unsafe: m.req.Unsafe, Managed: m.managed, MigrateOptions: m.req.Options}
	p.AutoConverge = m.try.throttle > 0
	p.PostCopy = p.PostCopy || m.try.postCopy
	if p.ConvergeInitial == 0 && m.try.throttle > throttleFirst {
		p.ConvergeInitial = m.try.throttle
	}
	if len(m.carried) > 0 {
		p.CopyAll, p.Disks = true, nil
		for _, c := range m.carried {
			p.Disks = append(p.Disks, c.Target)
		}
	}
	if m.try.connections > 0 {
		p.Parallel, p.Connections = true, m.try.connections
	}
	if how := m.try.compression(); how != "" {
		p.Compressed, p.Compression, p.XBZRLECache = true, how, m.try.cache
	}
	return p
}

// migrate begins the migration as the rule wants it, and anew where it was refused for a means that it
// can do without, or aborted for one that it lacked. The error says nothing of where the guest is.
func (m *mover) migrate(ctx context.Context) error {
	d := m.policy.Decide(m.state(libvirt.JobStats{}))
	m.try = attempt{throttle: d.Throttle, postCopy: m.policy.PostCopy, connections: d.Connections, compress: d.Compress,
		cache: d.Cache, switchover: m.switchover(d.Cache > 0)}
	if m.paced = m.pace(); m.paced > 0 {
		m.rec.Cap, m.rec.Pace = m.paced<<20, m.paced<<20
	}
	for {
		err := m.once(ctx)
		if !m.again(ctx, err) {
			return err
		}
		m.forgetAttempt(ctx)
	}
}

func (m *mover) forgetAttempt(ctx context.Context) {
	m.endRelay(ctx)
	m.events.Reset()
	m.trend, m.limit, m.paced = trend{}, 0, 0
	m.rec.Cap, m.rec.Pace = m.req.Bandwidth<<20, 0
}

// again tells whether the migration is to be begun once more, and with what then.
func (m *mover) again(ctx context.Context, err error) bool {
	next, why := m.try, ""
	var more *wantThrottle
	var delta *wantDelta
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, ErrOutOfTime), errors.Is(err, ErrHopeless), errors.Is(err, ErrTargetSilent):
		return false
	case errors.As(err, &more):
		next.throttle, why = more.percent, "begun anew, so that the guest can be slowed down"
	case errors.As(err, &delta):
		next.cache, next.connections, next.compress, next.switchover = delta.cache, 0, false, m.switchover(true)
		why = "begun again with XBZRLE, as the guest writes the same memory faster than the link carries it"
	case m.ended && m.hears.source && !m.events.IsActive() && m.try.extras():
		next, m.policy.Delta = attempt{throttle: next.throttle}, 0
		if m.try.cache > 0 && m.policy.Throttle {
			next.throttle = max(next.throttle, throttleFirst) // XBZRLE went before it, see Policy.Decide
		}
		why = "begun anew without post-copy, parallel connections, compression and a bandwidth for the last copy: " + err.Error()
	default:
		return false
	}
	if v := m.verify(ctx); v.Outcome != verify.Stayed {
		return false
	}
	m.note(why)
	m.try, m.policy.PostCopy = next, next.postCopy
	return true
}

// once runs one migration and steers it. The error is libvirt's, or why it was aborted.
func (m *mover) once(ctx context.Context) error {
	defer m.step("migrate")()
	if ctx.Err() != nil || m.left() <= 0 {
		return fmt.Errorf("%w: no time was left to begin", ErrOutOfTime)
	}
	if m.hears.source {
		m.relay.begin(ctx, m.source.host)
	}
	m.setLimit(ctx, m.policy.First) // before the start: a short migration is over before the first look
	m.climb(ladder.Live)
	m.report("migrating")
	params := m.params()
	m.rec.Compression, m.rec.Cache = params.Compression, m.try.cache
	if params.Compressed && params.Compression == "" {
		m.rec.Compression = "xbzrle" // libvirt's default (qemuMigrationParamsSetCompression)
	}
	m.rec.Compressed, m.rec.Encrypted = m.try.compression() != "", params.TLS
	return m.call(ctx, func(ctx context.Context, host Host) error {
		return host.MigrateToURI3(ctx, m.req.Guest, m.req.TargetURI, params)
	})
}

// call makes the call to libvirt that migrates, and steers until it ends. The call outlives ctx: a
// cancelled migration is aborted, and then its end is awaited.
func (m *mover) call(ctx context.Context, begin func(context.Context, Host) error) error {
	call, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	done := make(chan error, 1)
	m.ended = false
	host := m.source.host
	// A connection in which a call waits hands each event from thread to thread (virNetClientIOEventLoop), in the middle of
	// the guest's pause. So the call has one of its own; without one it is made all the same.
	if m.caller.connect(ctx, lookTime) == nil {
		host = m.caller.host
	}
	go func() { done <- begin(call, host) }()
	why, err := m.steer(ctx, done)
	if why != nil {
		err = m.abort(ctx, done, why)
	}
	return err
}

// wantThrottle ends a migration that has to be begun anew so that the guest can be slowed down.
type wantThrottle struct{ percent int }

// Error implements error.
func (w *wantThrottle) Error() string {
	return "the guest writes too fast to be moved at its full speed"
}

// wantDelta ends a migration that has to be begun again with XBZRLE, which needs a cache of so many bytes.
type wantDelta struct{ cache uint64 }

// Error implements error.
func (w *wantDelta) Error() string {
	return "the guest writes the same memory faster than the link carries it"
}
