package shutdown

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/hbplugin/verdict"
)

const (
	// lookTimeout bounds one look: crm_mon answers in a fraction of a second,
	// and in a few while the cluster elects a new controller.
	lookTimeout = 10 * time.Second
	// actTimeout bounds one change of standby, for the same reason.
	actTimeout = 15 * time.Second
	// lookShare is how many times as long as a look the time to the next is at least, and lookMost where that
	// ends: on a slow or busy node, looking must not take from the migrations what they need.
	lookShare = 5
	lookMost  = 10 * time.Second
	// actAgain is the pause before standby is requested again when it failed
	// or does not show: the attribute takes a moment through the cluster.
	actAgain = 5 * time.Second
	// logAgain is how often a reason that stays the same is logged again.
	logAgain = 30 * time.Second
)

// Options is what a Loop needs. An error of a question means "cannot tell".
type Options struct {
	Manager hbplugin.Manager
	// Here lists the guests that have a process on this node, whatever the cluster manager thinks.
	Here func(ctx context.Context) ([]string, error)
	// Stopping is true from the moment at which systemd's shutdown can no longer be called off.
	Stopping func(ctx context.Context) (bool, error)
	Intent   Intent
	Notify   func(state string) // sends one sd_notify(3) assignment; must not block
	Log      logrus.FieldLogger

	Window     time.Duration // the longest drain before logind's limit; zero: that limit
	StopWindow time.Duration // the longest drain once systemd has asked the daemon to stop
	Poll       time.Duration // the time from one look to the next, more where a look takes long

	// Proceed, when not nil, is called once in a shutdown that logind announced, when it was let go here: it continues
	// with a shutdown of that kind which others hold for no use, reports whether it did, and ends with its
	// context.
	Proceed func(ctx context.Context, kind string) (started bool, err error)

	// Predict, when not nil, is asked at the begin of a drain what will become of each guest of this node. Standby
	// waits for the answer for a few seconds. It may be called while an earlier call has not returned.
	Predict func(ctx context.Context) ([]hbplugin.Verdict, error)
	// Trace, when not nil, is asked at the end of a drain what is known of these guests since it began, by name.
	Trace func(ctx context.Context, guests []string, since time.Time) map[string]verdict.Trace
	// Claims, when not nil, lists the guests that the manager is configured to run. One that runs here and is not among
	// them is nobody's to move. An error means "cannot tell".
	Claims func(ctx context.Context) ([]hbplugin.Claim, error)

	// Deadline, when not nil, gets the time by which the node is to be empty, whenever that changes: the end of the
	// window while a drain is under way, and the zero time when none is. It must not block.
	Deadline func(until time.Time)
}

// Loop is the task that drains. Its methods may be called from any goroutine.
type Loop struct {
	o         Options
	mail      chan func(*round) // what Run is to take in, from whoever has something to say
	stop      chan struct{}
	ready     chan struct{}
	markReady func()
	ended     chan struct{}
}

// New returns a loop that waits for Run.
func New(o Options) *Loop {
	ready := make(chan struct{})
	return &Loop{o: o, mail: make(chan func(*round)), stop: make(chan struct{}, 2), ready: ready,
		markReady: sync.OnceFunc(func() { close(ready) }), ended: make(chan struct{})}
}

// Ready is closed once a delay lock is held.
func (l *Loop) Ready() <-chan struct{} { return l.ready }

// post has Run call take. It fails when ctx or the loop has ended.
func (l *Loop) post(ctx context.Context, take func(*round)) error {
	select {
	case l.mail <- take:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.ended:
		return context.Canceled
	}
}

// Handle takes in what logind said. It fails when ctx or the loop has ended;
// the lock in e is then still the caller's.
func (l *Loop) Handle(ctx context.Context, e logind.Event) error {
	return l.post(ctx, func(r *round) { r.handle(e) })
}

// Outlook sets what the status line says of the guests while no shutdown is going on, such as how many would not move
// live; empty for nothing. It fails when ctx or the loop has ended.
func (l *Loop) Outlook(ctx context.Context, line string) error {
	return l.post(ctx, func(r *round) { r.outlook = line })
}

// Stop asks the loop to end: at once where nothing is going on, after the
// drain where the system is going down. A second call ends it in any case.
func (l *Loop) Stop() {
	select {
	case l.stop <- struct{}{}:
	default:
	}
}

// Alive returns nil once the loop itself has answered, which proves that it
// turns; it never waits for the manager or logind.
func (l *Loop) Alive(ctx context.Context) error {
	if err := l.post(ctx, func(*round) {}); err != nil {
		return fmt.Errorf("the drain loop does not answer: %w", err)
	}
	return nil
}

// Run watches and drains until Stop, or until ctx ends. Either way the lock is
// given back, and what was started is waited for.
func (l *Loop) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	r := &round{Loop: l, now: time.Now()}
	defer close(l.ended)
	defer r.work.Wait()
	defer cancel()
	defer r.release()
	ours, err := l.o.Intent.Exists()
	if err != nil {
		return err
	}
	r.seen.Ours = ours
	for {
		r.now = time.Now()
		d := Decide(r.observed())
		r.setDeadline(d)
		if r.carryOut(ctx, d) {
			return nil
		}
		if !r.wait(ctx, d) {
			return nil
		}
	}
}

// round is the state of Run, which alone touches it.
type round struct {
	*Loop
	work sync.WaitGroup
	now  time.Time

	lock     io.Closer
	delayMax time.Duration
	kind     string // of the shutdown that is announced, where logind tells
	advised  string
	asks     int       // calls of Stop
	began    time.Time // of what is going on: drain, undo or stop
	era      int       // counts what has been going on
	until    time.Time // what Deadline got

	seen      Observed // all of it but Spent and Window
	looking   bool
	lookedAt  time.Time
	took      time.Duration // the last look
	acting    bool
	actedAt   time.Time
	said      string
	saidAt    time.Time
	statusNow string

	record  drainRecord // of the drain that continues, or was the last
	outlook string      // of the guests while no shutdown continues
}

func (r *round) observed() Observed {
	o := r.seen
	if !r.began.IsZero() {
		o.Spent = r.now.Sub(r.began)
	}
	o.Window = r.window()
	return o
}

// setDeadline passes on by when a drain is to be done.
func (r *round) setDeadline(d Decision) {
	var until time.Time
	if d.Phase == Draining {
		until = r.began.Add(r.window())
	}
	if r.o.Deadline != nil && !until.Equal(r.until) {
		r.o.Deadline(until)
	}
	r.until = until
}

func (r *round) window() time.Duration {
	if r.seen.Asked {
		return r.o.StopWindow
	}
	return Window(r.o.Window, r.delayMax)
}

// carryOut does what was decided and says so; true means that the loop ends.
func (r *round) carryOut(ctx context.Context, d Decision) bool {
	r.say(d)
	if d.Phase == Draining {
		r.predict(ctx)
	}
	if d.Phase == Released {
		r.letGo(ctx)
	}
	if d.Exit && !r.record.accounting || r.asks > 1 {
		return true
	}
	if d.Act != Leave {
		r.act(ctx, d.Act)
	}
	if d.Look != LookNone {
		r.look(ctx, d.Look)
	}
	return false
}

// wait blocks until there is something new to decide; false means that ctx
// has ended.
func (r *round) wait(ctx context.Context, d Decision) bool {
	var tick <-chan time.Time
	if d.Look != LookNone {
		tick = time.After(r.pause())
	}
	select {
	case <-ctx.Done():
		return false
	case <-tick:
	case take := <-r.mail:
		take(r)
	case <-r.stop:
		r.askedToStop()
	}
	return true
}

// pause is the time until the next look, or until the window closes.
func (r *round) pause() time.Duration {
	wait := r.every() - r.now.Sub(r.lookedAt)
	if r.looking || wait <= 0 {
		wait = r.o.Poll
	}
	o := r.observed()
	if left := o.Window - o.Spent; left > 0 {
		return min(wait, left)
	}
	return wait
}

func (r *round) every() time.Duration { return Every(r.o.Poll, r.took) }

// Every is the time from the begin of one look at a cluster manager to the begin of the next: poll, and more where the
// last one took long, so that looking takes at most a fifth of a busy node's time. It ends at 10 seconds.
func Every(poll, took time.Duration) time.Duration {
	return max(poll, min(lookShare*took, lookMost))
}

// handle takes in what logind says.
func (r *round) handle(e logind.Event) {
	if !e.Up {
		return
	}
	r.delayMax, r.kind = e.DelayMax, e.Kind
	r.advise()
	if e.Lock != nil {
		r.release()
		r.lock = e.Lock
		r.markReady()
	}
	if e.Preparing == r.seen.Announced {
		return
	}
	r.seen.Announced = e.Preparing
	r.record = drainRecord{}
	r.begin()
}

// askedToStop takes in a SIGTERM. A drain that continues gets the time that
// systemd gives the stop; one that is over stays over.
func (r *round) askedToStop() {
	r.asks++
	if r.asks > 1 {
		return
	}
	r.o.Notify("STOPPING=1")
	r.seen.Asked = true
	before := r.seen
	r.begin()
	r.seen.Released, r.seen.Most, r.seen.Tried, r.seen.Predicting = before.Released, before.Most, before.Tried,
		before.Predicting
	if before.Released {
		r.seen.Guests = before.Guests
	}
}

// begin starts afresh: what was seen before counts no more.
func (r *round) begin() {
	r.began = time.Now()
	r.era++
	r.seen = Observed{Announced: r.seen.Announced, Asked: r.seen.Asked, Ours: r.seen.Ours}
	r.lookedAt, r.actedAt = time.Time{}, time.Time{}
}

// letGo gives a shutdown free, and sees to it that it continues.
func (r *round) letGo(ctx context.Context) {
	first := !r.seen.Released
	r.seen.Released = true
	r.release()
	if first {
		r.account(ctx)
	}
	if first && r.seen.Announced && r.o.Proceed != nil {
		kind := r.kind
		r.work.Go(func() {
			started, err := r.o.Proceed(ctx, kind)
			switch {
			case err != nil && ctx.Err() == nil:
				r.o.Log.WithError(err).Warn("the shutdown may wait for logind's whole limit")
			case started:
				r.o.Log.Info("the shutdown continues: only libvirt delayed it, for guests that do not move")
			}
		})
	}
}

func (r *round) release() {
	if r.lock == nil {
		return
	}
	if err := r.lock.Close(); err != nil {
		r.o.Log.WithError(err).Warn("the delay lock could not be closed")
	}
	r.lock = nil
}
