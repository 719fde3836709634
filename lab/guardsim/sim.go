package guardsim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

const (
	tick   = 50 * time.Millisecond
	healed = 25 * time.Second // no fault lasts longer
	end    = 60 * time.Second // every guest runs again by then
	calm   = 10 * time.Second // a schedule is over when all has been well for so long
	guests = 3
	most   = 5 // nodes
)

// Times are the guard's times in the simulation: clocks drift ten times more than real ones.
var Times = timing.Times{
	Renew: 500 * time.Millisecond, SelfKill: 3 * time.Second, Kill: time.Second, Poll: 100 * time.Millisecond,
	Margin: 300 * time.Millisecond, Move: 2 * time.Second, Revoke: time.Second, Drift: 0.01,
}

// Options change what is simulated.
type Options struct {
	Seed   uint64
	Nodes  int // 2 to 5
	Faults int
	Policy protocol.Policy
	NoHang bool                          // no node hangs: without revocation nothing protects from that
	Times  timing.Times                  // the guard's; the zero value is Times
	Log    func(format string, a ...any) // what happens, line by line; nil: nobody is told
}

// Result is what one schedule came to.
type Result struct {
	Broken     []string // what must never be; empty where all held
	Surrenders int      // to a claim
	Expired    int      // fence calls that an expired lease answered
	Opened     int      // generations after the first
}

// world is the whole simulation.
type world struct {
	Options
	rand   *rand.Rand
	now    time.Duration
	disk   disk
	nodes  []*node
	cut    [most][most]bool // what the first sends does not reach the second
	access [most + 1]uint64 // the generation whose writes reach the disks; 0: none
	faults []fault

	flapping func()        // nil: the link does not flap
	slow     float64       // the share of slow writes
	detect   time.Duration // until a node that is not heard is no member, at least; at most three times that
	ignores  bool          // the managers fence without a quorum too
	oneWay   bool          // a node can be a member that does not see the other as one
	result   Result

	order   []int         // of the nodes in a tick
	settled time.Duration // since when all is well
}

// Run plays one schedule.
func Run(o Options) Result {
	if o.Times == (timing.Times{}) {
		o.Times = Times
	}
	w := &world{Options: o, rand: rand.New(rand.NewPCG(o.Seed, 7))}
	w.disk.world = w
	w.oneWay = w.chance(0.5) && o.Nodes == 2
	w.ignores = o.Nodes > 2 && w.chance(0.3)
	w.slow = [...]float64{0.01, 0.1}[w.rand.IntN(2)]
	w.detect = [...]time.Duration{100 * time.Millisecond, time.Second}[w.rand.IntN(2)]
	for id := 1; id <= o.Nodes; id++ {
		w.nodes, w.order = append(w.nodes, newNode(w, id)), append(w.order, 0)
	}
	for _, n := range w.nodes {
		n.rest = slices.DeleteFunc(slices.Clone(w.nodes), func(o *node) bool { return o == n })
	}
	w.schedule()
	for w.now = 0; w.now < end && len(w.result.Broken) == 0 && !w.over(); w.now += tick {
		w.strike()
		w.disk.land()
		for _, i := range w.permuted() {
			w.nodes[i].live()
			w.check()
		}
		if w.now%time.Second == 0 {
			w.checkAlarms()
		}
	}
	if len(w.result.Broken) == 0 {
		w.finish()
	}
	return w.result
}

// permuted are the nodes in a random order.
func (w *world) permuted() []int {
	for i := range w.order {
		w.order[i] = i
	}
	w.rand.Shuffle(len(w.order), func(i, j int) { w.order[i], w.order[j] = w.order[j], w.order[i] })
	return w.order
}

// over reports whether the last fault has ended, every guest runs once and every node has held its lease for so long that
// nothing more happens: most schedules end long before the time that is allowed.
func (w *world) over() bool {
	well := !slices.ContainsFunc(w.faults, func(f fault) bool { return !f.ended }) &&
		!slices.ContainsFunc(w.nodes, func(n *node) bool { return !n.orders.Run })
	for guest := range guests {
		well = well && w.running(guest) == 1
	}
	if !well {
		w.settled = w.now
	}
	return w.now-w.settled >= calm
}

// running is on how many nodes a guest runs and can write.
func (w *world) running(guest int) (count int) {
	for _, n := range w.nodes {
		if n.copies[guest] && w.access[n.id] != 0 {
			count++
		}
	}
	return count
}

func (w *world) log(format string, a ...any) {
	if w.Log != nil {
		w.Log("%7.3f  "+format, append([]any{w.now.Seconds()}, a...)...)
	}
}

func (w *world) broken(format string, a ...any) {
	w.log("BROKEN: "+format, a...)
	w.result.Broken = append(w.result.Broken, fmt.Sprintf(format, a...))
}

// between is a random time from low to high, whole ticks not needed.
func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rand.Int64N(int64(high-low)+1))
}

func (w *world) chance(p float64) bool { return w.rand.Float64() < p }

// check looks whether two copies of a guest could write now.
func (w *world) check() {
	for guest := range guests {
		writers, first := 0, 0
		for _, n := range w.nodes {
			if !n.copies[guest] || n.hung || !n.up || w.access[n.id] == 0 {
				continue
			}
			if writers++; writers > 1 {
				w.broken("guest %d can write on nodes %d and %d", guest, first, n.id)
			}
			first = n.id
		}
	}
}

// checkAlarms looks whether a node takes the device, which all share, for another one.
func (w *world) checkAlarms() {
	for _, n := range w.nodes {
		if n.guard == nil {
			continue
		}
		for _, v := range n.guard.Views(n.clock()) {
			if v.Foreign != "" {
				w.broken("node %d: %s", n.id, v.Foreign)
			}
		}
	}
}

// finish looks whether every guest runs, once, after all faults are over.
func (w *world) finish() {
	for guest := range guests {
		if running := w.running(guest); running != 1 {
			w.broken("guest %d runs on %d nodes %s after the last fault", guest, running, end-healed)
		}
	}
}

// disk is the shared lease device.
type disk struct {
	world  *world
	blocks map[int64]any // slots and claims by offset
	writes []*write
}

// write is one that is under way.
type write struct {
	offset int64
	value  any
	lands  time.Duration // when the disk has it; 0: never
	torn   time.Duration // from then until it lands the block has a wrong checksum
	ends   time.Duration // when the writer is told
	good   bool
}

func (d *disk) land() {
	if d.blocks == nil {
		d.blocks = map[int64]any{}
	}
	d.writes = slices.DeleteFunc(d.writes, func(w *write) bool {
		if w.lands != 0 && w.lands <= d.world.now {
			d.blocks[w.offset] = w.value
			return true
		}
		return w.lands == 0
	})
}

// submit begins a write of a node.
func (d *disk) submit(n *node, offset int64, value any) *write {
	w := d.world
	op := &write{offset: offset, value: value, good: true}
	switch {
	case n.diskCut && w.chance(0.3): // it hangs, fails, and lands all the same
		op.ends, op.good = w.now+w.between(tick, 6*time.Second), false
		op.lands = op.ends + w.between(0, 8*time.Second)
	case n.diskCut:
		op.ends, op.good = w.now+w.between(tick, 6*time.Second), false
	case w.chance(w.slow):
		op.lands = w.now + w.between(tick, 4*time.Second)
		op.ends = op.lands + w.between(0, time.Second)
	default:
		op.lands = w.now + w.between(1, tick)
		op.ends = op.lands + w.between(0, tick)
	}
	if op.lands != 0 {
		op.torn = op.lands - w.between(0, tick)
		d.writes = append(d.writes, op)
	}
	return op
}

// read is what a node reads; ok is false where the read fails or the block is torn.
func (d *disk) read(n *node, offset int64) (value any, ok bool) {
	if n.diskCut || n.readCut || d.world.chance(0.01) {
		return nil, false
	}
	for _, w := range d.writes {
		if w.offset == offset && w.torn <= d.world.now && d.world.now < w.lands {
			return nil, false
		}
	}
	return d.blocks[offset], true
}

func (d *disk) slot(n *node, id int) (lease.Slot, bool) {
	v, ok := d.read(n, lease.SlotOffset(id))
	if s, is := v.(lease.Slot); is {
		return s, ok
	}
	return lease.Slot{Node: id}, ok
}

func (d *disk) claim(n *node, from, target int) (lease.Claim, bool) {
	v, ok := d.read(n, lease.ClaimOffset(from, target))
	if c, is := v.(lease.Claim); is {
		return c, ok
	}
	return lease.Claim{From: from, Target: target}, ok
}
