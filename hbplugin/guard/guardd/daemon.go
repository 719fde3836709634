package guardd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/hbplugin/guard/health"
	"github.com/vmferry/vmferry/hbplugin/guard/journal"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// Blocks are the lease device, as one worker has it. Its calls can hang without end.
type Blocks interface {
	// Slot reads the slot of a node.
	Slot(node int) (lease.Slot, error)
	// WriteSlot writes this node's own slot.
	WriteSlot(lease.Slot) error
	// Claim reads the claim of one node against another.
	Claim(from, target int) (lease.Claim, error)
	// WriteClaim writes a claim of this node.
	WriteClaim(lease.Claim) error
	// Close gives the device back.
	Close() error
}

// Node is what the guard works with on its node. Each function is called by one goroutine at a time.
type Node struct {
	// Prove kills every guest and returns nil when nothing of one can write any more. It touches no storage.
	Prove func(ctx context.Context) error
	// Surrender is Prove, and ends the starts and arrivals of guests that libvirt has begun: none of them can bring a
	// guest when it returns nil.
	Surrender func(ctx context.Context) error
	// Move moves the guests to another node, as many as it can until ctx ends. It is called again after an error,
	// unless that is ErrStuck: the guests that are left are killed at once then, and where it returns nil.
	Move func(ctx context.Context, to string) error
	// Announce announces the guests to the network once more; nil: nobody does.
	Announce func(ctx context.Context) error
	// Revoke ends the access of a node to the disks and returns nil with the proof; nil: there is no such driver. It may be
	// called for several nodes at once.
	Revoke func(ctx context.Context, node string, generation uint64) error
	// Admit opens this node's own access to the disks, for a generation, before a guest may run; nil: it is never
	// closed.
	Admit func(ctx context.Context, generation uint64) error
	// Measure is what a claim freezes.
	Measure func() protocol.Here
	// Members are the names of the nodes that the cluster manager sees.
	Members func(ctx context.Context) ([]string, error)
	// Silence kills the cluster manager's daemons at once; nil: nobody does.
	Silence func(ctx context.Context) error
	// Rejoin restarts the cluster manager's daemons. heard reports whether another node's guard has answered
	// over the link since then.
	Rejoin func(ctx context.Context, heard func() bool) error
	// Health sets the node health attribute of the cluster manager; nil: it has none.
	Health func(ctx context.Context, color health.Color) error
	// Feed feeds the hardware watchdog; nil: there is none.
	Feed func() error
	// Leased takes until when guests may run without a further word of this guard, for the process that kills them when
	// it is silent, 0 where none runs; and the generation that a guard after this one may resume; 0: none, as this node
	// surrenders.
	Leased func(until time.Duration, generation uint64)
	// SecondRuns reports whether the process that kills the guests when this one is silent runs; nil: it always does.
	// It must not wait.
	SecondRuns func() bool
	// Record keeps an event. It may hang with its disk, which holds up nothing but later records; nil: none is kept.
	Record func(e journal.Event) error
}

// ErrStuck is why guests cannot be moved, where another try would not do better.
var ErrStuck = errors.New("no guest can be moved live")

// Config is the guard of one node.
type Config struct {
	Header   lease.Header
	ID       int
	Instance lease.Instance
	Policy   protocol.Policy
	Open     func() (Blocks, error) // opens the device once more
	Node     Node
	Link     Link // nil: there is no renewal over the link
	Log      logrus.FieldLogger
	Now      func() time.Duration // a clock that goes on while the machine is suspended; nil: [hostproc.Uptime]

	Prepared control.Prepared // for the status
	// OpenItself has the guard take the lease by itself, as nobody else asks for it: Heartbeat has no unfencing.
	OpenItself bool

	Previous lease.Slot    // of the guard before this one, where it ended without giving the lease back
	Good     time.Duration // when its last good renewal began
}

// Daemon is a running guard. Its methods may be called from any goroutine once Run has begun.
type Daemon struct {
	Config
	guard  *protocol.Guard
	events chan func(now time.Duration)
	orders protocol.Orders     // the last ones; the loop's alone
	calls  map[int][]fenceCall // who waits for the verdict on a node; the loop's alone
	course course              // the loop's alone

	claims chan []lease.Claim
	kill   chan killing // the latest alone
	move   chan move
	revoke chan protocol.Revocation
	rejoin chan struct{}
	mute   chan struct{}
	links  *linked

	records chan journal.Event
	fed     time.Duration
	stepped time.Duration  // when the last step was
	phase   protocol.Phase // at the last step
	over    chan struct{}  // closed when that is over; each phase has its own
	alone   bool           // the second process does not run, at the last step
	foreign string         // why the device is not shared with another node, at the last step

	revoking  map[protocol.Revocation]bool // under way; the loop's alone, as the next
	rejoining bool
	// the last hello when the cluster manager fenced a node though this one has no lease; 0: it did not; the loop's alone
	vain uint64

	// the generation in which Surrender has succeeded, or that has ended with an earlier boot; the killer's
	surrendered uint64

	admit    chan uint64
	admitted uint64 // the generation for which the access is open; the loop's alone

	announce   chan struct{}
	surrenders map[int]bool // the other nodes that have surrendered, at the last step

	feed     chan time.Duration // when it was ordered; the latest alone
	answered bool               // the cluster manager has listed its members; the loop's alone, as the next
	closed   bool               // the lease was given back for good
}

// Kills reports whether guests have to be killed before this node can have a lease. It is for the ready of Run.
func (d *Daemon) Kills() bool {
	phase, _ := d.guard.Phase()
	return phase == protocol.Killing
}

// Alive returns nil when the loop has answered, and an error when ctx ends before that.
func (d *Daemon) Alive(ctx context.Context) error {
	if !d.ask(ctx, func(time.Duration) {}) {
		return ctx.Err()
	}
	return nil
}

// killing is the phase in which the killer works.
type killing struct {
	phase      protocol.Phase
	generation uint64
	over       chan struct{} // closed when the phase is over
}

type move struct {
	to    string
	until time.Duration
	over  chan struct{}
}

// New is a guard that has not begun.
func New(c Config) *Daemon {
	if c.Now == nil {
		c.Now = hostproc.Uptime
	}
	d := &Daemon{
		Config: c, events: make(chan func(time.Duration), 64), calls: map[int][]fenceCall{},
		claims: make(chan []lease.Claim, 1), kill: make(chan killing, 1),
		move: make(chan move, 1), revoke: make(chan protocol.Revocation, lease.MaxNodes),
		rejoin: make(chan struct{}, 1), mute: make(chan struct{}, 1),
		admit: make(chan uint64, 1), revoking: map[protocol.Revocation]bool{}, records: make(chan journal.Event, 64),
		over: make(chan struct{}), feed: make(chan time.Duration, 1), announce: make(chan struct{}, 1),
		surrenders: map[int]bool{},
	}
	d.links = d.newLinked()
	d.alone = c.Node.SecondRuns != nil // it is started with the guard
	return d
}

// others are the numbers of the other nodes.
func (d *Daemon) others() []int {
	var ids []int
	for i := range d.Header.Nodes {
		if i+1 != d.ID {
			ids = append(ids, i+1)
		}
	}
	return ids
}

func (d *Daemon) name(id int) string { return d.Header.Nodes[id-1] }

// Run guards the node until ctx ends, and leaves the lease as it is: the next guard resumes it, and the second process
// kills the guests where none does. ready is called before anything is done. It returns an error where the device
// cannot be read at the start, within ctx, and the one of ready.
func (d *Daemon) Run(ctx context.Context, ready func() error) error {
	if err := d.begin(ctx); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	d.guard.Measured(d.Node.Measure()) // before the first renewal
	for _, worker := range []func(context.Context){d.renewer, d.reader, d.claimer, d.killer, d.mover, d.revoker,
		d.rejoiner, d.silencer, d.admitter, d.members, d.recorder, d.healther, d.announcer, d.feeder} {
		go worker(ctx)
	}
	if d.Link != nil {
		go d.linkSender(ctx)
		go d.linkReceiver(ctx)
	}
	d.loop(ctx)
	return nil
}

// begin reads the own slot and claims, and makes the protocol's state.
func (d *Daemon) begin(ctx context.Context) error {
	own, err := wait.Within(ctx, d.readOwn, nil)
	if err != nil {
		return fmt.Errorf("read the lease device: %w", err)
	}
	now := d.Now()
	if own.slot.Instance != d.Instance { // no start of that boot is under way
		d.surrendered = own.slot.Generation
	}
	d.Policy.Names = d.Header.Nodes
	d.guard = protocol.New(own.slot, d.Instance, own.claims, d.Header.Times, d.Policy, now)
	if d.guard.Resume(d.Previous, d.Good, now) {
		d.Log.Info("the lease of the guard before this one is resumed")
		_, why := d.guard.Phase()
		d.record(journal.Event{Kind: journal.Resumed, Generation: d.guard.Generation(), Evidence: why}, d.Good, now)
	}
	return nil
}

// own is what this node has written.
type own struct {
	slot   lease.Slot
	claims []lease.Claim
}

func (d *Daemon) readOwn() (o own, err error) {
	device, err := d.Open()
	if err != nil {
		return own{}, err
	}
	defer device.Close()
	if o.slot, err = device.Slot(d.ID); err != nil {
		return own{}, fmt.Errorf("the slot of node %s: %w", d.name(d.ID), err)
	}
	for _, id := range d.others() {
		c, err := device.Claim(d.ID, id)
		if err != nil {
			return own{}, fmt.Errorf("the claim against node %s: %w", d.name(id), err)
		}
		o.claims = append(o.claims, c)
	}
	return o, nil
}

// step is how often the loop looks at the clock.
const step = 20 * time.Millisecond

func (d *Daemon) loop(ctx context.Context) {
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	for {
		select {
		case event := <-d.events:
			event(d.Now())
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		d.step(d.Now())
	}
}

// step has the protocol decide, and hands out the orders. Nothing here waits.
func (d *Daemon) step(now time.Duration) {
	d.stepped = now
	d.guard.Measured(d.Node.Measure())
	d.orders = d.guard.Step(now)
	o := d.orders
	d.report(now)
	views := d.guard.Views(now)
	d.reportForeign(views)
	d.reportSecond()
	d.lease(now)
	latest(d.kill, killing{d.phase, d.guard.Generation(), d.over})
	if len(o.Claims) > 0 {
		latest(d.claims, slices.Clone(o.Claims))
	}
	if o.MoveTo != 0 {
		latest(d.move, move{d.name(o.MoveTo), o.Until, d.over})
	}
	for _, r := range o.Revoke {
		if !d.revoking[r] {
			d.revoking[r] = true
			d.revoke <- r // has room for one of each node
		}
	}
	if (o.Rejoin || d.fencesInVain()) && !d.rejoining {
		if !o.Rejoin {
			d.Log.Warn("the cluster manager is restarted: it goes on fencing a node that it did not see at its start")
		}
		d.rejoining = true
		d.rejoin <- struct{}{}
	}
	d.announceAgain(views)
	d.openItself(now)
	for _, v := range o.Verdicts {
		d.verdict(v, now)
	}
}

// announceAgain has the guests announced when another node is seen to have surrendered: a copy that woke up there has
// sent frames before it was killed, and the switches have learned its place.
func (d *Daemon) announceAgain(views []protocol.View) {
	for _, v := range views {
		surrendered := v.Seen && v.Slot.State == lease.Surrendered
		if surrendered && !d.surrenders[v.Node] && d.phase == protocol.Held {
			latest(d.announce, struct{}{})
		}
		d.surrenders[v.Node] = surrendered
	}
}

// openItself takes the lease where nobody asks for it.
func (d *Daemon) openItself(now time.Duration) {
	if d.OpenItself && d.opens() {
		_ = d.openGuard(now) // tried again at the next step
	}
}

// errNoSecond is why a lease is not taken: if the guard dies too, nobody kills the guests when the lease is too old.
var errNoSecond = errors.New("the guard's second process does not run: see journalctl --unit vmferry-guard")

// secondRuns reports whether the second process runs.
func (d *Daemon) secondRuns() bool { return d.Node.SecondRuns == nil || d.Node.SecondRuns() }

// openGuard takes the lease. One that is held is kept without the second process, which is started again at once.
func (d *Daemon) openGuard(now time.Duration) error {
	if phase, _ := d.guard.Phase(); phase == protocol.Out && !d.secondRuns() {
		return errNoSecond
	}
	return d.guard.Open(now)
}

// reportSecond logs when the second process ends and when it is back.
func (d *Daemon) reportSecond() {
	alone := !d.secondRuns()
	switch {
	case alone == d.alone:
	case alone && d.phase == protocol.Held:
		d.Log.Error("the guard's second process does not run: the lease is kept, but if the guard dies too, nobody kills the guests")
	case alone:
		d.Log.Error(errNoSecond.Error() + ": no lease is taken")
	default:
		d.Log.Info("the guard's second process runs")
	}
	d.alone = alone
}

// opens reports whether a guard that nobody asks takes the lease now, as far as [protocol.Guard.Open] lets it: it has
// none and is to have one, and the cluster manager runs and has not to be restarted first.
func (d *Daemon) opens() bool {
	return d.phase == protocol.Out && d.answered && !d.closed && !d.orders.Rejoin && !d.rejoining &&
		(d.vain == 0 || !d.hasMember())
}

func (d *Daemon) hasMember() bool {
	return slices.ContainsFunc(d.guard.Views(d.Now()), func(v protocol.View) bool { return v.Member })
}

// fencesInVain reports whether the cluster manager has to be restarted though nothing was surrendered: it was started
// while it could not see another node, and Heartbeat goes on fencing that node even when it is a member. With a lease
// here, that call would succeed. It is restarted when the guard of that node is heard: a node that is alone has none who
// could be heard, and its manager must go on.
func (d *Daemon) fencesInVain() bool {
	return d.vain > 0 && d.phase == protocol.Out && d.links.echoed > d.vain
}

// lease tells the second process until when guests may run, and feeds the watchdog.
func (d *Daemon) lease(now time.Duration) {
	switch d.phase {
	case protocol.Held:
		d.Node.Leased(d.end(now), d.guard.Generation())
	case protocol.Moving:
		d.Node.Leased(d.end(now), 0)
	}
	if d.Node.Feed == nil || !d.orders.Watchdog || now-d.fed < time.Second {
		return
	}
	d.fed = now
	latest(d.feed, now)
}

// end is when the lease is too old, unless it is renewed.
func (d *Daemon) end(now time.Duration) time.Duration {
	return now - d.guard.Age(now) + d.Header.Times.SelfKill
}

// report logs a change of phase, and ends what was done in the one before. A guard that is killed while it surrenders
// must not be resumed: the slot on the disk may still say that the lease is held.
func (d *Daemon) report(now time.Duration) {
	phase, why := d.guard.Phase()
	if phase == d.phase {
		return
	}
	before := d.phase
	d.chronicle(before, phase, why, now)
	d.phase = phase
	close(d.over)
	d.over = make(chan struct{})
	d.Log.WithField("phase", phase.String()).Warn(why)
	switch phase {
	case protocol.Held:
		d.vain = 0
		latest(d.admit, d.guard.Generation())
	case protocol.Killing:
		d.Node.Leased(d.end(now), 0)
		if d.hung(before, now) {
			latest(d.mute, struct{}{})
		}
	}
}

// hung reports whether a lease that has just been lost is so old that the guests may run elsewhere by now: this node has
// hung. A manager that joins the others again and still counts on the guests here has both copies stopped.
func (d *Daemon) hung(before protocol.Phase, now time.Duration) bool {
	held := before == protocol.Held || before == protocol.Moving
	return held && d.guard.Age(now) >= d.Header.Times.Expiry(0)
}

// reportForeign logs that the device is not shared with a node, once.
func (d *Daemon) reportForeign(views []protocol.View) {
	foreign := ""
	for _, v := range views {
		foreign = cmp.Or(foreign, v.Foreign)
	}
	if foreign != "" && foreign != d.foreign {
		d.Log.Error(foreign + ": put it on storage that all nodes have, and restart vmferry-guard on them")
	}
	d.foreign = foreign
}

// mayRun says why guests may not run and be started here, or nil. A node that has just woken up judges first.
func (d *Daemon) mayRun(now time.Duration) error {
	if now-d.stepped > 2*step {
		d.step(now)
	}
	phase, why := d.guard.Phase()
	switch {
	case phase == protocol.Held && !d.orders.Run:
		return errors.New("guests that run go on here, but none is started: " + d.foreign)
	case !d.orders.Run:
		return fmt.Errorf("this node does not hold its lease: %s", why)
	case d.Node.Admit != nil && d.admitted != d.guard.Generation():
		return errors.New("this node's access to the disks is not open yet")
	}
	return nil
}

// latest puts v in place of what the channel holds, whose capacity is 1.
func latest[T any](c chan T, v T) {
	for {
		select {
		case c <- v:
			return
		default:
		}
		select {
		case <-c:
		default:
		}
	}
}

// do has the loop call f, in time.
func (d *Daemon) do(ctx context.Context, f func(now time.Duration)) {
	select {
	case d.events <- f:
	case <-ctx.Done():
	}
}

// ask is do, and waits until f was called. It reports whether it was: f is not called once ask has returned false, as
// its caller reads then what f would write.
func (d *Daemon) ask(ctx context.Context, f func(now time.Duration)) bool {
	done := make(chan struct{})
	var taken atomic.Bool // by the loop, or by the end of ctx
	d.do(ctx, func(now time.Duration) {
		if taken.CompareAndSwap(false, true) {
			f(now)
			close(done)
		}
	})
	select {
	case <-done:
	case <-ctx.Done():
		if taken.CompareAndSwap(false, true) {
			return false
		}
		<-done // it is being called
	}
	return true
}

// every calls f again and again until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) {
	for ; ctx.Err() == nil; _ = wait.For(ctx, d) {
		f()
	}
}
