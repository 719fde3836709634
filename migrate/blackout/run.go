package blackout

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// watcher is a run of Watch.
type watcher struct {
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

func newWatcher(ctx context.Context, cfg Config) (*watcher, error) {
	l, err := newLoop(cfg.Interval)
	if err != nil {
		return nil, err
	}
	w := &watcher{cfg: cfg, loop: l, room: make(map[socketKind]*datagramProber)}
	if err := w.open(ctx); err != nil {
		l.close()
		return nil, err
	}
	return w, nil
}

// open resolves every target and opens its sockets; then the run begins.
func (w *watcher) open(ctx context.Context) error {
	ends, err := w.cfg.targets()
	if err != nil {
		return err
	}
	buckets := min(maxBuckets, allBuckets/len(ends))
	for _, e := range ends {
		if err := w.add(ctx, e, buckets); err != nil {
			return err
		}
	}
	w.loop.clock = clock{start: time.Now(), wall: w.cfg.wall}
	w.loop.rest = w.rest
	for _, t := range w.targets {
		t.clock = w.loop.clock
	}
	return nil
}

// rest tells all targets that this machine was asleep.
func (w *watcher) rest() {
	for _, t := range w.targets {
		t.mu.Lock()
		t.track.rest()
		if t.kernel != nil {
			t.kernel.rest()
		}
		t.mu.Unlock()
	}
}

func (w *watcher) add(ctx context.Context, e endpoint, buckets int) error {
	at, err := e.resolve(ctx, w.cfg.Family)
	if err != nil {
		return err
	}
	switch e.proto {
	case protoUDP:
		return w.addDatagram(e, at, echoMode{}, buckets)
	case protoDNS:
		return w.addDatagram(e, at, newDNSMode(e), buckets)
	case protoICMP:
		m := icmpMode{request: 8, reply: 0} // RFC 792
		if at.Addr().Is6() {
			m = icmpMode{request: 128, reply: 129} // RFC 4443
		}
		return w.addDatagram(e, at, m, buckets)
	case protoTCP:
		return w.addTCP(e, at, buckets)
	}
	ask := connectOnce(at)
	if e.proto != protoConnect {
		ask = requestOnce(e, at, w.cfg.Insecure)
	}
	x := newExchangeProber(ask, w.cfg.ConnectTimeout, func() time.Duration { return time.Duration(w.loop.late.Load()) })
	w.adopt(&x.target, e, 0, 1, buckets)
	w.loop.probers, w.loop.shared = append(w.loop.probers, x), true
	return nil
}

func (w *watcher) addTCP(e endpoint, at netip.AddrPort, buckets int) error {
	owner := len(w.loop.probers)
	times := tcpTimes{w.cfg.ReconnectAfter, w.cfg.RetryEvery, w.cfg.ConnectTimeout}
	c, err := newTCPProber(at, times, func(fd int, events uint32) error { return w.loop.watch(fd, owner, events) })
	if err != nil {
		return err
	}
	w.adopt(&c.target, e, times.retryEvery, 1, buckets)
	c.kernel = newTracker(w.cfg.Interval, w.cfg.Threshold, times.retryEvery, w.cfg.Bucket)
	c.kernel.series.limit = 2 // nobody sees it
	w.loop.probers = append(w.loop.probers, c)
	return nil
}

// addDatagram gives a target a place in a prober that has room, or in a new one.
func (w *watcher) addDatagram(e endpoint, at netip.AddrPort, m mode, buckets int) error {
	t := new(target)
	w.adopt(t, e, 0, w.cfg.Burst, buckets)
	key := socketKind{e.proto, at.Addr().Is6()}
	if d := w.room[key]; d != nil && !d.full() {
		return d.add(t, m, at)
	}
	d, err := newDatagramProber(e, at, w.cfg.Burst)
	if err != nil {
		return err
	}
	owner := len(w.loop.probers)
	w.loop.probers = append(w.loop.probers, d)
	w.room[key] = d
	if err := w.loop.watch(d.fd, owner, eventsIn); err != nil {
		return fmt.Errorf("watch the socket for %s: %w", e.name, err)
	}
	return d.add(t, m, at)
}

// adopt fills in what all targets have.
func (w *watcher) adopt(t *target, e endpoint, retry time.Duration, burst, buckets int) {
	t.endpoint, t.session = e, randomID()
	t.track = newTracker(w.cfg.Interval, w.cfg.Threshold, retry, w.cfg.Bucket)
	t.track.room(burst)
	t.track.series.limit = buckets
	w.targets = append(w.targets, t)
}

// report renders what is known at an instant.
func (w *watcher) report(now time.Duration) *Report {
	start := w.loop.clock.start.UTC()
	cal, own, omitted := w.loop.faults.calendar(start)
	r := &Report{
		Schema: Schema, Tool: "blackout", Version: w.cfg.Version,
		Start: start, End: cal.time(now),
		IntervalMs: ms(w.cfg.Interval), Burst: w.cfg.Burst, ThresholdMs: ms(w.cfg.Threshold), MaxErrorMs: ms(w.cfg.MaxError),
		ClockStepMs: ms(w.loop.clock.step() - w.loop.faults.sum()),
		Faults:      make([]Fault, 0, len(own)), FaultsOmitted: omitted,
		Args:    append([]string{}, w.cfg.Args...),
		Targets: make([]Target, 0, len(w.targets)),
	}
	for _, f := range own {
		r.Faults = append(r.Faults, f.report(cal))
	}
	for _, t := range w.targets {
		t.mu.Lock()
		one := t.track.target(t.name, t.proto, cal, now)
		if t.kernel != nil {
			t.kernel.acknowledged(&one, cal, now)
		}
		t.mu.Unlock()
		one.Inexact = one.Answered > 0 && max(one.ErrorMs, one.WorstErrorMs) > r.MaxErrorMs
		r.Targets = append(r.Targets, one)
	}
	return r
}
