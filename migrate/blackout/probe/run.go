package probe

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/vmferry/vmferry/migrate/blackout/endpoint"
	"github.com/vmferry/vmferry/migrate/blackout/outage"
	"github.com/vmferry/vmferry/migrate/blackout/report"
	"github.com/vmferry/vmferry/migrate/blackout/wire"
)

// Run probes all targets from one loop.
type Run struct {
	cfg     Config
	loop    *loop
	targets []*target
	room    map[socketKind]*datagramProber // the newest of each kind
}

// socketKind is what targets must have in common to share a socket.
type socketKind struct {
	proto string
	six   bool
}

// Open resolves every target and opens its sockets; then the run begins.
func Open(ctx context.Context, ends []endpoint.Endpoint, c Config) (*Run, error) {
	l, err := newLoop(c.Interval)
	if err != nil {
		return nil, err
	}
	r := &Run{cfg: c, loop: l, room: make(map[socketKind]*datagramProber)}
	for _, e := range ends {
		if err := r.add(ctx, e, outage.Buckets(len(ends))); err != nil {
			l.close()
			return nil, err
		}
	}
	l.clock, l.onSuspend = clock{start: time.Now(), wall: c.Wall}, r.suspended
	for _, t := range r.targets {
		t.clock = l.clock
	}
	return r, nil
}

// Close closes every socket.
func (r *Run) Close() { r.loop.close() }

// Send sends probes until ctx is done, waits for the last answers, and returns the
// instant at which sending ended.
func (r *Run) Send(ctx context.Context) (time.Duration, error) { return r.loop.run(ctx, r.cfg.Linger) }

// Now is the time since the run began.
func (r *Run) Now() time.Duration { return r.loop.clock.now() }

// suspended notes for all targets that this machine was asleep.
func (r *Run) suspended() {
	for _, t := range r.targets {
		t.mu.Lock()
		t.track.Suspended()
		if t.kernel != nil {
			t.kernel.Suspended()
		}
		t.mu.Unlock()
	}
}

func (r *Run) add(ctx context.Context, e endpoint.Endpoint, buckets int) error {
	at, err := resolve(ctx, e, r.cfg.Family)
	if err != nil {
		return err
	}
	switch e.Proto {
	case endpoint.UDP:
		return r.addDatagram(e, at, wire.Echo, buckets)
	case endpoint.DNS:
		return r.addDatagram(e, at, wire.NewDNS(e.Query, e.Kind), buckets)
	case endpoint.ICMP:
		m := wire.ICMPv4
		if at.Addr().Is6() {
			m = wire.ICMPv6
		}
		return r.addDatagram(e, at, m, buckets)
	case endpoint.TCP:
		return r.addTCP(e, at, buckets)
	}
	ask := connectOnce(at)
	if e.Proto != endpoint.Connect {
		ask = requestOnce(e, at, r.cfg.Insecure)
	}
	x := newExchangeProber(ask, r.cfg.ConnectTimeout, func() time.Duration { return time.Duration(r.loop.late.Load()) })
	r.adopt(&x.target, e, outage.Options{Buckets: buckets})
	r.loop.probers, r.loop.shared = append(r.loop.probers, x), true
	return nil
}

func (r *Run) addTCP(e endpoint.Endpoint, at netip.AddrPort, buckets int) error {
	owner := len(r.loop.probers)
	c, err := newTCPProber(at, r.cfg, func(fd int, events uint32) error { return r.loop.watch(fd, owner, events) })
	if err != nil {
		return err
	}
	r.adopt(&c.target, e, outage.Options{Retry: r.cfg.RetryEvery, Buckets: buckets})
	c.kernel = r.tracker(outage.Options{Retry: r.cfg.RetryEvery, Buckets: 2}) // nobody sees the series
	r.loop.probers = append(r.loop.probers, c)
	return nil
}

// addDatagram gives a target a place in a prober that has room, or in a new one.
func (r *Run) addDatagram(e endpoint.Endpoint, at netip.AddrPort, m wire.Mode, buckets int) error {
	t := new(target)
	r.adopt(t, e, outage.Options{Burst: r.cfg.Burst, Buckets: buckets})
	key := socketKind{e.Proto, at.Addr().Is6()}
	if d := r.room[key]; d != nil && !d.full() {
		return d.add(t, m, at)
	}
	d, err := newDatagramProber(e, at, r.cfg.Burst)
	if err != nil {
		return err
	}
	owner := len(r.loop.probers)
	r.loop.probers = append(r.loop.probers, d)
	r.room[key] = d
	if err := r.loop.watch(d.fd, owner, eventsIn); err != nil {
		return fmt.Errorf("watch the socket for %s: %w", e.Name, err)
	}
	return d.add(t, m, at)
}

// adopt fills in what all targets have.
func (r *Run) adopt(t *target, e endpoint.Endpoint, o outage.Options) {
	t.Endpoint, t.session, t.track = e, wire.RandomID(), r.tracker(o)
	r.targets = append(r.targets, t)
}

// tracker returns the arithmetic of a target of this run.
func (r *Run) tracker(o outage.Options) *outage.Tracker {
	o.Interval, o.Threshold, o.Bucket = r.cfg.Interval, r.cfg.Threshold, r.cfg.Bucket
	return outage.New(o)
}

// Progress returns the state of every target, in the memory of state.
func (r *Run) Progress(state []outage.Progress) []outage.Progress {
	state = state[:0]
	for _, t := range r.targets {
		t.mu.Lock()
		state = append(state, t.track.Progress(t.Name, r.Now()))
		t.mu.Unlock()
	}
	return state
}

// Report is what is known at an instant.
func (r *Run) Report(now time.Duration) *report.Report {
	cal, faults, omitted := r.loop.faults.Report(r.loop.clock.start.UTC())
	rep := &report.Report{
		Schema: report.Schema, Tool: "blackout", Start: cal.Start, End: cal.Time(now),
		IntervalMs: report.Millis(r.cfg.Interval), Burst: r.cfg.Burst,
		ThresholdMs: report.Millis(r.cfg.Threshold), MaxErrorMs: report.Millis(r.cfg.MaxError),
		ClockStepMs: report.Millis(r.loop.clock.step() - r.loop.faults.Slept()), Faults: faults, FaultsOmitted: omitted,
		Args: []string{}, Targets: make([]report.Target, 0, len(r.targets)),
	}
	for _, t := range r.targets {
		t.mu.Lock()
		one := t.track.Report(t.Name, t.Proto, cal, now)
		if t.kernel != nil {
			t.kernel.ReportKernel(&one, cal, now)
		}
		t.mu.Unlock()
		one.Inexact = one.Answered > 0 && max(one.ErrorMs, one.WorstErrorMs) > rep.MaxErrorMs
		rep.Targets = append(rep.Targets, one)
	}
	return rep
}
