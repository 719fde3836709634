package blackout

import (
	"context"
	"fmt"
	"time"
)

// Watch probes every target of cfg until cfg.For has passed or ctx is
// cancelled, which is no error, and returns what it measured. An error is a
// configuration that Validate refuses, a name that does not resolve, a host
// without a route, or a lack of resources; nothing was measured then. A target
// that does not answer is not an error but an outage.
func Watch(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	w, err := newWatcher(ctx, cfg.withDefaults())
	if err != nil {
		return nil, err
	}
	defer w.loop.close()

	done := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		w.tell(done)
	}()
	if w.cfg.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.cfg.For)
		defer cancel()
	}
	end, err := w.loop.run(ctx, w.cfg.Linger)
	close(done)
	<-told
	if err != nil {
		return nil, err
	}
	report := w.report(end)
	report.Complete = true
	return report, nil
}

// watcher is a run of Watch.
type watcher struct {
	cfg     Config
	loop    *loop
	targets []*target
}

func newWatcher(ctx context.Context, cfg Config) (*watcher, error) {
	l, err := newLoop(cfg.Interval)
	if err != nil {
		return nil, err
	}
	w := &watcher{cfg: cfg, loop: l}
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
	for _, e := range ends {
		if err := w.add(ctx, e); err != nil {
			return err
		}
	}
	w.loop.clock.start = time.Now()
	for _, t := range w.targets {
		t.clock = w.loop.clock
	}
	return nil
}

func (w *watcher) add(ctx context.Context, e endpoint) error {
	sa, err := e.resolve(ctx)
	if err != nil {
		return err
	}
	owner := len(w.loop.probers)
	watch := func(fd int, events uint32) error { return w.loop.watch(fd, owner, events) }
	if e.proto == protoTCP {
		times := tcpTimes{w.cfg.ReconnectAfter, w.cfg.RetryEvery, w.cfg.ConnectTimeout}
		c := newTCPProber(sa, times, watch)
		w.adopt(&c.target, e, times.retryEvery)
		w.loop.probers = append(w.loop.probers, c)
		return nil
	}
	u, err := newUDPProber(e.name, sa)
	if err != nil {
		return err
	}
	w.adopt(&u.target, e, 0)
	w.loop.probers = append(w.loop.probers, u)
	if err := watch(u.fd, eventsIn); err != nil {
		return fmt.Errorf("watch the socket for %s: %w", e.name, err)
	}
	return nil
}

// adopt fills in what both kinds of prober have.
func (w *watcher) adopt(t *target, e endpoint, retry time.Duration) {
	t.endpoint, t.session = e, randomID()
	t.track = newTracker(w.cfg.Interval, w.cfg.Threshold, retry, w.cfg.Bucket)
	w.targets = append(w.targets, t)
}

// tell gives the caller its checkpoints and progress until done is closed.
func (w *watcher) tell(done <-chan struct{}) {
	checkpoint := time.NewTicker(w.cfg.CheckpointEvery)
	defer checkpoint.Stop()
	progress := time.NewTicker(w.cfg.ProgressEvery)
	defer progress.Stop()
	state := make([]Progress, len(w.targets))
	w.checkpoint()
	for {
		select {
		case <-done:
			return
		case <-checkpoint.C:
			w.checkpoint()
		case <-progress.C:
			w.progress(state)
		}
	}
}

func (w *watcher) checkpoint() {
	if w.cfg.Checkpoint != nil {
		w.cfg.Checkpoint(w.report(w.loop.clock.now()))
	}
}

func (w *watcher) progress(state []Progress) {
	if w.cfg.Progress == nil {
		return
	}
	for i, t := range w.targets {
		state[i] = t.progress(w.loop.clock.now())
	}
	w.cfg.Progress(state)
}

func (t *target) progress(now time.Duration) Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.track
	p := Progress{
		Target: t.name, Sent: k.tries.last, Answered: k.answered,
		Outages: len(k.outages) + k.omitted, Blackout: k.longest.length(),
	}
	if o, ok := k.ongoing(now); ok {
		p.Silent = o.length()
		p.Blackout = max(p.Blackout, p.Silent)
	}
	return p
}

// report renders what is known at an instant.
func (w *watcher) report(now time.Duration) *Report {
	start := w.loop.clock.start.UTC()
	r := &Report{
		Schema: Schema, Tool: "blackout", Version: w.cfg.Version,
		Start: start, End: start.Add(now),
		IntervalMs: ms(w.cfg.Interval), ThresholdMs: ms(w.cfg.Threshold),
		ClockStepMs: ms(w.loop.clock.step()),
		Args:        append([]string{}, w.cfg.Args...),
		Targets:     make([]Target, 0, len(w.targets)),
	}
	for _, t := range w.targets {
		t.mu.Lock()
		r.Targets = append(r.Targets, t.track.target(t.name, t.proto, start, now))
		t.mu.Unlock()
	}
	return r
}
