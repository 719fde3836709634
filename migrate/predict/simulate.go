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
	restart  time.Duration     // what it costs to start again, beside the passes
	expected convergence.State // what Known.Expect has put into it
}

// course is how a migration goes. Of its forecast it has what the rule decides and the passes show.
type course struct {
	record.Forecast
	took       time.Duration     // from the first byte until the guest stops for its last copy
	after      time.Duration     // from then on, until a post-copy has fetched the rest
	limit      time.Duration     // the downtime limit at the end
	ends       bool              // it does end by itself
	techniques ladder.Techniques // that were used
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
func simulate(p convergence.Policy, c conditions) course {
	sim := simulation{policy: p, conditions: c}
	d := p.Decide(sim.state(libvirt.JobStats{}))
	sim.begin(d)
	for range maxSteps {
		if sim.step(); sim.over {
			break
		}
	}
	sim.course.took, sim.course.Bytes, sim.Rung = sim.clock, uint64(sim.sent), sim.techniques.Rung()
	sim.course.Throttle, sim.course.Compression = sim.throttle.percent, sim.begun.Compression()
	return sim.course
}

// onWireOf is by how much the last copy is smaller on the wire.
func (r course) onWireOf(c conditions) float64 {
	switch r.Compression {
	case "zstd":
		return 1 / c.shrink
	case "xbzrle":
		return c.xbzrleRatio
	}
	return 1
}

// xbzrleHelps reports whether XBZRLE from the begin on saves the guest a throttle or a limit above what the budget
// leaves, or the migration a quarter of its time.
func xbzrleHelps(p convergence.Policy, c conditions) bool {
	if p.XBZRLECache == 0 || p.PostCopy {
		return false
	}
	without := p
	without.XBZRLECache, c.expected.XBZRLEHelps = 0, true
	a, b := simulate(without, c), simulate(p, c)
	rough := !a.ends || a.techniques.Throttle || a.limit > p.Budget
	return b.ends && b.Compression == "xbzrle" && (rough || a.took > b.took*4/3)
}

// simulation is a migration under way. Its clock begins at zero.
type simulation struct {
	policy convergence.Policy
	conditions
	course
	begun convergence.Decision // what it was begun with
	trend convergence.Trend
	over  bool

	clock     time.Duration // now
	decideAt  time.Duration // when the rule decides next
	decidedAt time.Duration // when it last did
	syncedAt  time.Duration // when the dirty pages were last looked at
	wireRate  uint64        // at present
	quota     float64       // bytes on the wire that the present burst may still have
	burstEnds time.Duration // and the next one begins
	left      uint64        // bytes of this pass still to send
	found     uint64        // bytes at its begin
	sent      float64       // bytes on the wire

	throttle throttle
}

// begin is also how a migration is started again.
func (sim *simulation) begin(d convergence.Decision) {
	sim.begun, sim.trend = d, convergence.Trend{}
	sim.throttle = throttle{initial: d.Throttle, began: sim.clock, sent: sim.sent}
	sim.Passes, sim.left, sim.found, sim.syncedAt = 1, sim.used, sim.used, sim.clock
	sim.limit, sim.wireRate = sim.policy.InitialDowntime, cmp.Or(sim.pace, sim.rate)
	sim.decideAt, sim.decidedAt = sim.clock+convergence.PassSettle, sim.clock
	sim.techniques = ladder.Techniques{}
}

// step advances to whatever comes next: the end of a pass or of a burst, or the next decision.
func (sim *simulation) step() {
	if sim.clock >= sim.burstEnds {
		sim.quota, sim.burstEnds = float64(sim.wireRate)*convergence.BurstEvery.Seconds(),
			sim.clock+convergence.BurstEvery
	}
	send := sim.left - min(sim.left, sim.fits())
	end := max(convergence.TransferTime(send, sim.speed()), leastPass-min(leastPass, sim.clock-sim.syncedAt))
	next := min(end, sim.decideAt-sim.clock)
	if sim.bursts() {
		if sim.onWire(send) > sim.quota {
			end = sim.burstEnds - sim.clock + 1 // this pass does not end in this burst
		}
		next = min(end, sim.burstEnds-sim.clock, sim.decideAt-sim.clock)
	}
	sim.advance(max(next, 0))
	switch {
	case sim.clock >= sim.decideAt:
		sim.decide()
	case next == end:
		sim.sync()
	}
}

// bursts reports whether it makes a difference that a rate below what the link carries is one of bursts: not where
// there is more to send than takes two seconds.
func (sim *simulation) bursts() bool {
	return sim.wireRate < sim.last && sim.onWire(sim.left) < 2*float64(sim.wireRate)
}

// speed is how fast memory is sent.
func (sim *simulation) speed() uint64 {
	rate := sim.wireRate
	if sim.bursts() {
		rate = sim.last
	}
	speed := uint64(float64(rate) / sim.smaller())
	if sim.begun.XBZRLECache > 0 {
		speed = min(speed, max(rate, convergence.CompressLink)) // one thread encodes it
	}
	return speed
}

// fits is how much memory QEMU stops the guest for.
func (sim *simulation) fits() uint64 { return uint64(sim.limit.Seconds() * float64(sim.lastRate())) }

// lastRate is what QEMU takes for the rate of the last copy.
func (sim *simulation) lastRate() uint64 {
	if sim.begun.XBZRLECache > 0 {
		return cmp.Or(sim.switchoverXBZRLE, sim.wireRate)
	}
	return cmp.Or(sim.switchover, sim.wireRate)
}

func (sim *simulation) advance(d time.Duration) {
	pages := min(uint64(d.Seconds()*float64(sim.speed())), sim.left)
	if sim.bursts() {
		pages = min(pages, uint64(sim.quota/sim.smaller()))
		sim.quota -= sim.onWire(pages)
	}
	sim.left -= pages
	sim.sent += sim.onWire(pages)
	sim.clock += d
}

// onWire is what so much memory is when it is sent.
func (sim *simulation) onWire(pages uint64) float64 { return float64(pages) * sim.smaller() }

// smaller is the part of it that is sent.
func (sim *simulation) smaller() float64 {
	switch {
	case sim.begun.XBZRLECache > 0 && sim.Passes > 2:
		return sim.xbzrleRatio
	case sim.begun.Compress:
		return 1 / sim.shrink
	}
	return 1
}

// sync is QEMU's look at the dirty pages: the end of the migration or of a pass.
func (sim *simulation) sync() {
	took := sim.clock - sim.syncedAt
	set := cmp.Or(sim.set, sim.used)
	wrote := min(float64(sim.dirty)*float64(100-sim.throttle.percent)/100*took.Seconds(), float64(set))
	sim.left = min(sim.left+uint64(wrote), max(set, sim.left))
	sim.syncedAt, sim.found = sim.clock, sim.left
	if sim.left <= sim.fits() {
		sim.over, sim.ends, sim.LastCopy = true, true, sim.left
		sim.sent += sim.onWire(sim.left)
		return
	}
	if sim.throttle.sync(sim.clock, wrote, sim.sent) {
		sim.techniques.Throttle = true
	}
	sim.Passes++
	if sim.clock-sim.decidedAt < convergence.PollEvery {
		sim.decideAt = sim.clock + convergence.PassSettle
	}
}

// decide asks the rule, and does what it says.
func (sim *simulation) decide() {
	s := libvirt.JobStats{Active: true, Elapsed: sim.clock, Iteration: sim.Passes, Processed: uint64(sim.sent),
		Remaining: sim.left, Rate: sim.wireRate}
	if sim.Passes > 1 {
		s.DirtyRate = max(sim.dirty*uint64(100-sim.throttle.percent)/100, 1)
		s.Downtime = convergence.TransferTime(sim.found, sim.lastRate())
	}
	sim.decideAt, sim.decidedAt = sim.clock+convergence.PollEvery, sim.clock
	if sim.Passes >= convergence.PaceLift {
		sim.wireRate = sim.rate
	}
	d := sim.policy.Decide(sim.state(s))
	sim.limit = max(sim.limit, d.DowntimeLimit)
	next := sim.begun
	switch {
	case d.GiveUp != "" || sim.policy.Window > 0 && sim.clock >= sim.window:
		sim.over = true
	case d.XBZRLECache > 0 && sim.begun.XBZRLECache == 0:
		next.XBZRLECache = d.XBZRLECache
		sim.again(next)
	case d.Throttle > 0 && sim.begun.Throttle == 0:
		next.Throttle = d.Throttle
		sim.again(next)
	case d.PostCopy:
		sim.over, sim.ends, sim.techniques.PostCopy = true, true, true
		sim.after = convergence.TransferTime(sim.left, sim.rate)
		sim.sent += float64(sim.left)
	}
}

func (sim *simulation) again(next convergence.Decision) {
	sim.clock += sim.restart
	sim.begin(next)
}

// state is what the rule would decide from.
func (sim *simulation) state(s libvirt.JobStats) convergence.State {
	left := sim.window
	if sim.policy.Window > 0 {
		left -= sim.clock
	}
	out := convergence.State{Active: s.Active, Elapsed: sim.clock, Left: left, Iteration: s.Iteration,
		Sent:      s.Processed,
		Remaining: s.Remaining, Used: sim.used, Rate: uint64(float64(sim.wireRate) / sim.smaller()),
		DirtyRate:    s.DirtyRate,
		AutoConverge: sim.begun.Throttle > 0, Throttle: sim.throttle.percent,
		Link: sim.rate, WorkingSet: cmp.Or(sim.set, sim.expected.WorkingSet), XBZRLE: sim.begun.XBZRLECache > 0,
		XBZRLERatio: sim.xbzrleRatio,
		Converges:   sim.expected.Converges, CompressionHelps: sim.expected.CompressionHelps,
		XBZRLEHelps: sim.expected.XBZRLEHelps, ThrottleNeeded: sim.expected.ThrottleNeeded}
	if s.Active {
		sim.trend.Observe(&out, s, sim.policy.Window, time.Unix(0, 0).Add(sim.clock))
	}
	return out
}

// throttle is QEMU's auto-converge (migration_trigger_throttle): the initial per cent after two periods of a second or
// more in which more than half as much was written as sent, and 10 more after every two others.
type throttle struct {
	initial int           // per cent, 0 for none
	percent int           // taken from the guest
	periods int           // in which it wrote more than half of what was sent
	began   time.Duration // of this period
	dirty   float64       // bytes written in it
	sent    float64       // bytes on the wire at its begin
}

// sync reports whether the guest is throttled more from now on.
func (t *throttle) sync(now time.Duration, wrote, sent float64) (more bool) {
	t.dirty += wrote
	if now-t.began < time.Second {
		return false
	}
	if t.initial > 0 && t.dirty > (sent-t.sent)/2 {
		t.periods++
		if more = t.periods%2 == 0; more {
			t.percent = min(max(t.percent+10, t.initial), 99)
		}
	}
	t.began, t.dirty, t.sent = now, 0, sent
	return more
}
