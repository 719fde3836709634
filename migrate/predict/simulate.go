package predict

import (
	"cmp"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
)

// conditions is what is known of a migration before its begin. Sizes are in bytes of memory, rates in bytes per
// second on the wire.
type conditions struct {
	used  uint64 // what the first pass sends
	dirty uint64 // what the guest writes per second
	set   uint64 // what a pass after the first finds dirty at most, 0 where that is not known

	pace             uint64  // the rate of the first passes, 0 for no bound of their own
	rate             uint64  // of the others
	last             uint64  // of the last copy, for which QEMU lifts the bound
	switchover       uint64  // the same that QEMU is given, 0 for the rate of the passes
	switchoverXBZRLE uint64  // the same with XBZRLE
	shrink           float64 // by how much memory is smaller on the wire, 1 for not at all
	xbzrleRatio      float64 // the part of a page that XBZRLE sends

	window   time.Duration     // the time that is left
	restart  time.Duration     // what it costs to begin again, beside the passes
	expected convergence.State // what Known.Expect has put into it
}

// course is how a migration goes. Of its forecast it has what the rule decides and the passes show.
type course struct {
	record.Forecast
	took  time.Duration // from the first byte until the guest stops for its last copy
	after time.Duration // from then on, until a post-copy has fetched the rest
	limit time.Duration // the downtime limit at the end
	ends  bool          // it does end by itself
}

const (
	// usualXBZRLE is the part of a page that XBZRLE sends where no move has shown it, and leastXBZRLE the least: each
	// page costs a header.
	usualXBZRLE = 0.1
	leastXBZRLE = 0.02

	// leastPass is what a pass takes of which there is next to nothing to send.
	leastPass = 300 * time.Microsecond

	maxSteps = 1 << 16 // steps that are simulated of one that never ends
)

// simulate runs the rule on a guest that writes evenly, as QEMU moves one: a pass sends what the one before left dirty.
// As soon as what is left fits the limit, QEMU looks at the dirty pages, and stops the guest where it still fits. It
// does no input or output.
func simulate(p convergence.Policy, o conditions) course {
	w := simulation{policy: p, conditions: o}
	d := p.Decide(w.state(libvirt.JobStats{}))
	w.begin(d)
	for range maxSteps {
		if w.step(); w.over {
			break
		}
	}
	w.course.took, w.course.Bytes = w.clock, uint64(w.sent)
	w.course.Throttle, w.course.Compression = w.throttle.percent, w.try.Compression()
	return w.course
}

// onWireOf is by how much the last copy is smaller on the wire.
func (c course) onWireOf(o conditions) float64 {
	switch c.Compression {
	case "zstd":
		return 1 / o.shrink
	case "xbzrle":
		return o.xbzrleRatio
	}
	return 1
}

// xbzrleHelps tells whether XBZRLE from the begin on saves the guest a throttle or a limit above what the budget
// leaves, or the migration a quarter of its time.
func xbzrleHelps(p convergence.Policy, o conditions) bool {
	if p.XBZRLECache == 0 || p.PostCopy {
		return false
	}
	without := p
	without.XBZRLECache, o.expected.XBZRLEHelps = 0, true
	a, b := simulate(without, o), simulate(p, o)
	rough := !a.ends || a.Rung != ladder.Live || a.limit > p.Budget
	return b.ends && b.Compression == "xbzrle" && (rough || a.took > b.took*4/3)
}

// simulation is a migration under way. Its clock begins at zero.
type simulation struct {
	policy convergence.Policy
	conditions
	course
	try   convergence.Decision // what it was begun with
	trend convergence.Trend
	over  bool

	clock, looked time.Duration // now, and when the rule decides next
	decided       time.Duration // when it last did
	synced        time.Duration // when the dirty pages were last looked at
	wire          uint64        // the rate at present
	quota         float64       // bytes on the wire that the present burst may still have
	burst         time.Duration // when the next one begins
	left          uint64        // bytes of this pass still to send
	found         uint64        // bytes at its begin
	sent          float64       // bytes on the wire

	throttle throttle
}

// begin is also how a migration is begun again.
func (w *simulation) begin(try convergence.Decision) {
	w.try, w.trend = try, convergence.Trend{}
	w.throttle = throttle{initial: try.Throttle, began: w.clock, sent: w.sent}
	w.Passes, w.left, w.found, w.synced = 1, w.used, w.used, w.clock
	w.limit, w.wire = w.policy.InitialDowntime, cmp.Or(w.pace, w.rate)
	w.looked, w.decided = w.clock+convergence.PassSettle, w.clock
	w.Rung = ladder.Live
}

// step advances to whatever comes next: the end of a pass or of a burst, or the next decision.
func (w *simulation) step() {
	if w.clock >= w.burst {
		w.quota, w.burst = float64(w.wire)*convergence.BurstEvery.Seconds(), w.clock+convergence.BurstEvery
	}
	send := w.left - min(w.left, w.fits())
	end := max(convergence.TransferTime(send, w.speed()), leastPass-min(leastPass, w.clock-w.synced))
	next := min(end, w.looked-w.clock)
	if w.bursts() {
		if w.onWire(send) > w.quota {
			end = w.burst - w.clock + 1 // this pass does not end in this burst
		}
		next = min(end, w.burst-w.clock, w.looked-w.clock)
	}
	w.advance(max(next, 0))
	switch {
	case w.clock >= w.looked:
		w.decide()
	case next == end:
		w.sync()
	}
}

// bursts tells whether it makes a difference that a rate below what the link carries is one of bursts: not where
// there is more to send than takes two seconds.
func (w *simulation) bursts() bool { return w.wire < w.last && w.onWire(w.left) < 2*float64(w.wire) }

// speed is how fast memory is sent.
func (w *simulation) speed() uint64 {
	rate := w.wire
	if w.bursts() {
		rate = w.last
	}
	speed := uint64(float64(rate) / w.smaller())
	if w.try.XBZRLECache > 0 {
		speed = min(speed, max(rate, convergence.CompressLink)) // one thread encodes it
	}
	return speed
}

// fits is how much memory QEMU stops the guest for.
func (w *simulation) fits() uint64 { return uint64(w.limit.Seconds() * float64(w.lastRate())) }

// lastRate is what QEMU takes for the rate of the last copy.
func (w *simulation) lastRate() uint64 {
	if w.try.XBZRLECache > 0 {
		return cmp.Or(w.switchoverXBZRLE, w.wire)
	}
	return cmp.Or(w.switchover, w.wire)
}

func (w *simulation) advance(d time.Duration) {
	pages := min(uint64(d.Seconds()*float64(w.speed())), w.left)
	if w.bursts() {
		pages = min(pages, uint64(w.quota/w.smaller()))
		w.quota -= w.onWire(pages)
	}
	w.left -= pages
	w.sent += w.onWire(pages)
	w.clock += d
}

// onWire is what so much memory is when it is sent.
func (w *simulation) onWire(pages uint64) float64 { return float64(pages) * w.smaller() }

// smaller is the part of it that is sent.
func (w *simulation) smaller() float64 {
	switch {
	case w.try.XBZRLECache > 0 && w.Passes > 2:
		return w.xbzrleRatio
	case w.try.Compress:
		return 1 / w.shrink
	}
	return 1
}

// sync is QEMU's look at the dirty pages: the end of the migration or of a pass.
func (w *simulation) sync() {
	took := w.clock - w.synced
	set := cmp.Or(w.set, w.used)
	wrote := min(float64(w.dirty)*float64(100-w.throttle.percent)/100*took.Seconds(), float64(set))
	w.left = min(w.left+uint64(wrote), max(set, w.left))
	w.synced, w.found = w.clock, w.left
	if w.left <= w.fits() {
		w.over, w.ends, w.LastCopy = true, true, w.left
		w.sent += w.onWire(w.left)
		return
	}
	if w.throttle.sync(w.clock, wrote, w.sent) {
		w.Rung = ladder.Converge
	}
	w.Passes++
	if w.clock-w.decided < convergence.PollEvery {
		w.looked = w.clock + convergence.PassSettle
	}
}

// decide asks the rule, and does what it says.
func (w *simulation) decide() {
	s := libvirt.JobStats{Active: true, Elapsed: w.clock, Iteration: w.Passes, Processed: uint64(w.sent),
		Remaining: w.left, Rate: w.wire}
	if w.Passes > 1 {
		s.DirtyRate = max(w.dirty*uint64(100-w.throttle.percent)/100, 1)
		s.Downtime = convergence.TransferTime(w.found, w.lastRate())
	}
	w.looked, w.decided = w.clock+convergence.PollEvery, w.clock
	if w.Passes >= convergence.PaceLift {
		w.wire = w.rate
	}
	d := w.policy.Decide(w.state(s))
	w.limit = max(w.limit, d.DowntimeLimit)
	next := w.try
	switch {
	case d.GiveUp != "" || w.policy.Window > 0 && w.clock >= w.window:
		w.over = true
	case d.XBZRLECache > 0 && w.try.XBZRLECache == 0:
		next.XBZRLECache = d.XBZRLECache
		w.again(next)
	case d.Throttle > 0 && w.try.Throttle == 0:
		next.Throttle = d.Throttle
		w.again(next)
	case d.PostCopy:
		w.over, w.ends, w.Rung = true, true, ladder.PostCopy
		w.after = convergence.TransferTime(w.left, w.rate)
		w.sent += float64(w.left)
	}
}

func (w *simulation) again(next convergence.Decision) {
	w.clock += w.restart
	w.begin(next)
}

// state is what the rule would decide from.
func (w *simulation) state(s libvirt.JobStats) convergence.State {
	left := w.window
	if w.policy.Window > 0 {
		left -= w.clock
	}
	out := convergence.State{Active: s.Active, Elapsed: w.clock, Left: left, Iteration: s.Iteration, Sent: s.Processed,
		Remaining: s.Remaining, Used: w.used, Rate: uint64(float64(w.wire) / w.smaller()), DirtyRate: s.DirtyRate,
		AutoConverge: w.try.Throttle > 0, Throttle: w.throttle.percent,
		Link: w.rate, WorkingSet: cmp.Or(w.set, w.expected.WorkingSet), XBZRLE: w.try.XBZRLECache > 0,
		XBZRLERatio: w.xbzrleRatio,
		Converges:   w.expected.Converges, CompressionHelps: w.expected.CompressionHelps,
		XBZRLEHelps: w.expected.XBZRLEHelps, ThrottleNeeded: w.expected.ThrottleNeeded}
	if s.Active {
		w.trend.Observe(&out, s, w.policy.Window, time.Unix(0, 0).Add(w.clock))
	}
	return out
}
