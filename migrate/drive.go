package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

const (
	pollEvery  = 500 * time.Millisecond // between two looks at a migration's progress
	sampleTime = 500 * time.Millisecond // bounds one such look
	abortEvery = 250 * time.Millisecond // between two tries to abort

	// abortTime is how long aborting may take before verification goes on without an
	// answer from the migration, and switchGrace how much of it a guest has that stands still
	// already: to let it arrive is quicker than to take it back.
	abortTime   = 5 * time.Second
	switchGrace = time.Second
)

// attempt is how a migration is begun.
type attempt struct {
	throttle    int // per cent at which auto-converge begins, 0 for none
	postCopy    bool
	connections int
}

func (m *mover) params() libvirt.MigrateParams {
	p := libvirt.MigrateParams{URI: m.req.MigrateURI, Bandwidth: m.req.Bandwidth, Unsafe: m.req.Unsafe, MigrateOptions: m.req.Options}
	p.AutoConverge = m.try.throttle > 0
	p.PostCopy = p.PostCopy || m.try.postCopy
	if p.ConvergeInitial == 0 && m.try.throttle > throttleFirst {
		p.ConvergeInitial = m.try.throttle
	}
	if m.try.connections > 0 {
		p.Parallel, p.Connections = true, m.try.connections
	}
	return p
}

// migrate begins the migration as the rule wants it, and anew where it was refused for a means that it
// can do without, or aborted for one that it lacked. The error says nothing of where the guest is.
func (m *mover) migrate(ctx context.Context) error {
	d := m.policy.Decide(m.state(libvirt.JobStats{}))
	m.try = attempt{throttle: d.Throttle, postCopy: m.policy.PostCopy, connections: d.Connections}
	for {
		err := m.once(ctx)
		if !m.again(ctx, err) {
			return err
		}
		m.forgetAttempt()
	}
}

func (m *mover) forgetAttempt() {
	m.tape.rewind()
	m.trend, m.limit = trend{}, 0
}

// again tells whether the migration is to be begun once more, and with what then.
func (m *mover) again(ctx context.Context, err error) bool {
	next, why := m.try, ""
	var more *wantThrottle
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, ErrOutOfTime), errors.Is(err, ErrHopeless):
		return false
	case errors.As(err, &more):
		next.throttle, why = more.percent, "begun anew, so that the guest can be slowed down"
	case m.ended && m.hears.source && !m.tape.isActive() && (m.try.postCopy || m.try.connections > 0):
		next.postCopy, next.connections, why = false, 0, "begun anew without post-copy and parallel connections: "+err.Error()
	default:
		return false
	}
	if v := m.verify(ctx); v.outcome != Stayed {
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
	m.setLimit(ctx, m.policy.First) // before the start: a short migration is over before the first look
	m.report("migrating")
	params := m.params()
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
	go func() { done <- begin(call, host) }()
	why, err := m.steer(ctx, done)
	if why != nil {
		err = m.abort(ctx, done, why)
	}
	return err
}

// seeThrough waits for the end of a migration that another began, and aborts it where that
// would come too late. over is false when it came to nothing, the guest stayed, and there is
// time to begin anew: then the pre-flight has been made again.
func (m *mover) seeThrough(ctx context.Context) (over bool, err error) {
	m.note("a migration that was begun before is under way: seeing it through")
	why := m.awaitEnd(ctx)
	if v := m.verify(ctx); v.outcome != Stayed || why != nil {
		return true, m.conclude(ctx, why)
	}
	m.note("it came to nothing: beginning anew")
	m.adopted, m.req.Adopt = false, false
	m.forgetAttempt()
	return m.runPreflight(ctx)
}

// awaitEnd returns nil when the migration ended, or why it was aborted.
func (m *mover) awaitEnd(ctx context.Context) error {
	defer m.step("see-through")()
	m.ended = false
	m.report("migrating")
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error)
	go m.awaitJob(watch, done)
	why, _ := m.steer(ctx, done)
	if why == nil {
		return nil
	}
	if m.tape.inPostCopy() {
		return why
	}
	m.tryAbort(context.WithoutCancel(ctx))
	return fmt.Errorf("%w, and was aborted", why)
}

// awaitJob sends nil once the source has no job of the guest under way, or has no such guest
// any more. It has a connection of its own, since the other is in use.
func (m *mover) awaitJob(ctx context.Context, done chan<- error) {
	own := side{uri: m.source.uri, open: m.source.open}
	defer own.close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if own.connect(ctx, lookTime) == nil {
			ask, cancel := context.WithTimeout(ctx, sampleTime)
			job, err := own.host.JobStats(ask, m.req.Guest)
			cancel()
			if errors.Is(err, libvirt.ErrNoDomain) || err == nil && !job.Active {
				select {
				case done <- nil:
				case <-ctx.Done():
				}
				return
			}
			if err != nil {
				own.drop()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// passSettle is how long after a new pass the hypervisor is left alone: if the pass has little to
// send, the guest is stopped in this time, and a question would make its pause longer.
const passSettle = 50 * time.Millisecond

// steer waits for the migration's end, and meanwhile reports and carries out what the rule says. why is
// not nil when the migration must be aborted.
func (m *mover) steer(ctx context.Context, done <-chan error) (why, err error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	late := time.NewTimer(m.left())
	defer late.Stop()
	var settled <-chan time.Time // while a pass is young
	for why == nil {
		select {
		case err := <-done:
			m.callEnded(err)
			return nil, err
		case <-ctx.Done():
			why = ctx.Err()
		case <-late.C:
			if !m.tape.inPostCopy() { // then to give up would be to lose the guest
				why = ErrOutOfTime
			}
		case deadline := <-m.req.Shorten:
			m.shorten(deadline)
			late.Reset(m.left())
		case <-m.tape.pass:
			settled = time.After(passSettle)
		case <-settled:
			settled, why = nil, m.sample(ctx)
		case <-tick.C:
			if settled == nil {
				why = m.sample(ctx)
			}
		}
	}
	return why, nil
}

// callEnded notes whether the end of the call is the end of the migration: not so
// when the connection broke, for libvirtd may go on without us.
func (m *mover) callEnded(err error) {
	broken := errors.Is(err, libvirt.ErrConnect) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	m.ended = !broken
	if broken {
		m.source.drop()
	}
}

// sample looks at the progress and does what the rule makes of it, unless the guest stands still: then
// every question to the hypervisor would make its pause longer. The error is why to abort.
func (m *mover) sample(ctx context.Context) error {
	if m.tape.isSwitching() {
		return nil
	}
	ask, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	s, err := m.source.host.JobStats(ask, m.req.Guest)
	if err != nil || !s.Active {
		return nil
	}
	m.progress = Progress{Transferred: s.Processed, Total: s.Total, Remaining: s.Remaining, RateMiBs: float64(s.Rate) / (1 << 20), Iteration: s.Iteration, Throttle: s.Throttle}
	m.rec.Transferred, m.rec.Iterations = s.Processed, max(m.rec.Iterations, s.Iteration)
	m.rec.Throttle, m.rec.Rate = max(m.rec.Throttle, s.Throttle), max(m.rec.Rate, s.Rate)
	state := m.state(s)
	if why := m.carryOut(ctx, m.policy.Decide(state), state); why != nil {
		return why
	}
	if m.tape.inPostCopy() {
		m.report("post-copy")
	} else {
		m.report("migrating")
	}
	return nil
}

// trend is what the rule needs of the samples before the present one.
type trend struct {
	repeated time.Time       // when the second pass was first seen
	last     []time.Duration // what the latest passes would have left for a last copy
	pass     int             // which of them is the latest
	gain     int             // which was a tenth better than all before it
	gained   time.Time       // when that was seen
	seen     time.Time       // when the last sample was
	sent     uint64
	quiet    time.Duration // for how long nothing was sent
	starved  time.Duration // for how long the link has been too slow
}

// memory is how many passes count: a guest that was quiet for a moment may never be so again.
const memory = 8

// state is what the rule decides from; before the begin, of a job that is not there yet.
func (m *mover) state(s libvirt.JobStats) State {
	now, t := time.Now(), &m.trend
	out := State{Elapsed: s.Elapsed, Left: m.left(), Iteration: s.Iteration, Sent: s.Processed, Remaining: s.Remaining, Used: used(m.load),
		Rate: s.Rate, DirtyRate: s.DirtyRate, Throttled: m.try.throttle > 0 || m.adopted, Percent: s.Throttle,
		Switched: m.tape.inPostCopy(), Link: m.link.Bandwidth}
	out.Easy, out.Needs = m.promise()
	if s.Iteration > 1 {
		if t.repeated.IsZero() {
			t.repeated = now
		}
		out.Repeated = now.Sub(t.repeated)
		t.weigh(s, now)
		out.Best, out.Stale, out.Stagnant = slices.Min(t.last), s.Iteration-t.gain, now.Sub(t.gained)
	}
	t.endure(s, m.policy.starved(out), now)
	out.Quiet, out.Starved = t.quiet, t.starved
	return out
}

// endure counts how long the link fails. A hypervisor that gave no answer for a while says nothing
// of the link in that time.
func (t *trend) endure(s libvirt.JobStats, starved bool, now time.Time) {
	gap := time.Duration(0)
	if !t.seen.IsZero() {
		gap = min(now.Sub(t.seen), 2*pollEvery)
	}
	t.quiet, t.starved, t.seen = t.quiet+gap, t.starved+gap, now
	if s.Processed != t.sent {
		t.sent, t.quiet = s.Processed, 0
	}
	if !starved {
		t.starved = 0
	}
}

// weigh takes over what the present pass would leave for a last copy.
func (t *trend) weigh(s libvirt.JobStats, now time.Time) {
	left := lastCopy(s)
	if len(t.last) == 0 || left < slices.Min(t.last)/10*9 {
		t.gain, t.gained = s.Iteration, now
	}
	if s.Iteration == t.pass {
		t.last[len(t.last)-1] = min(t.last[len(t.last)-1], left)
		return
	}
	t.pass, t.last = s.Iteration, append(t.last, left)
	if len(t.last) > memory {
		t.last = t.last[1:]
	}
}

// lastCopy is how long a switchover at the begin of this pass would have taken. QEMU reckons that itself,
// once it knows how fast the guest writes.
func lastCopy(s libvirt.JobStats) time.Duration {
	if s.Downtime > 0 && s.DirtyRate > 0 {
		return s.Downtime
	}
	return max(seconds(s.Remaining, s.Rate), 1)
}

// wantThrottle ends a migration that has to be begun anew so that the guest can be slowed down.
type wantThrottle struct{ percent int }

// Error implements error.
func (w *wantThrottle) Error() string {
	return "the guest writes too fast to be moved at its full speed"
}

// carryOut does what the rule says. The error is why to abort.
func (m *mover) carryOut(ctx context.Context, d Decision, s State) error {
	switch {
	case d.GiveUp != "":
		return fmt.Errorf("%w: %s", ErrHopeless, d.GiveUp)
	case d.Throttle > 0 && !s.Throttled:
		return &wantThrottle{d.Throttle}
	case m.tape.isSwitching() || s.Switched:
		return nil
	}
	if d.Limit > m.limit {
		m.setLimit(ctx, d.Limit)
	}
	if d.PostCopy {
		m.startPostCopy(ctx)
	}
	return nil
}

// setLimit leaves m.limit as it is when it fails, so that the next sample tries again.
func (m *mover) setLimit(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	if err := m.source.host.SetMaxDowntime(ctx, m.req.Guest, limit); err != nil {
		m.log.WithError(err).Warn("downtime limit not set")
		return
	}
	m.limit = limit
	m.rec.DowntimeLimitsMS = append(m.rec.DowntimeLimitsMS, millis(limit))
}

// abort asks libvirt to give the migration up, as often as needed: just after its start there
// is no job yet. It returns when the migration ended, or without that after abortTime. The
// migration may have won the race: then the error is nil. One in its post-copy phase is not
// aborted but awaited, as long as there is time at all.
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
		if !m.tape.inPostCopy() && (!m.tape.isSwitching() || time.Since(begin) >= min(switchGrace, limit/2)) {
			m.tryAbort(ctx)
		}
		select {
		case err := <-done:
			m.callEnded(err)
			if err == nil {
				return nil
			}
			return fmt.Errorf("%w, and was aborted: %v", why, err)
		case <-giveUp.C:
			return fmt.Errorf("%w, and could not be aborted within %v", why, limit.Round(time.Millisecond))
		case <-tick.C:
		}
	}
}

// abortLimit leaves a third of the time to verifying.
func (m *mover) abortLimit() time.Duration {
	limit := abortTime
	if m.tape.inPostCopy() {
		limit = postCopyTime
	}
	if m.deadline.IsZero() {
		return limit
	}
	return max(min(limit, time.Until(m.deadline)*2/3), sampleTime)
}

func (m *mover) tryAbort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	if err := m.source.host.AbortJob(ctx, m.req.Guest); err != nil {
		m.log.WithError(err).Debug("abort refused")
	}
}
