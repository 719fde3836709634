package predict

import (
	"cmp"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/record"
)

// Plan is how the engine will move the guest. Rates are in bytes per second, 0 for none.
type Plan struct {
	Policy           convergence.Policy
	Left             time.Duration // until the migration would be aborted
	Pace             uint64        // bound of the first passes
	Switchover       uint64        // the last copy's bandwidth that QEMU is given (avail-switchover-bandwidth)
	SwitchoverXBZRLE uint64        // the same with XBZRLE
}

// Forecast runs the rule on what is known. ok is false where that is too little.
func (k Known) Forecast(p Plan) (_ record.Forecast, ok bool) {
	var expected convergence.State
	k.Expect(p, &expected)
	c := k.conditions(p, expected)
	if c.rate == 0 || c.used == 0 {
		return record.Forecast{}, false
	}
	s := simulate(p.Policy, c)
	last := convergence.TransferTime(uint64(float64(s.LastCopy)*s.onWireOf(c)), c.last)
	last += cmp.Or(medianOf(k.Guest.DevicesMS), convergence.TransferTime(deviceState, c.last))
	pause := last + cmp.Or(medianOf(k.Guest.HandOversMS), k.Link.HandOver())
	s.DurationMS, s.PauseMS = record.Millis(k.Link.SetUp()+s.took+pause+s.after), record.Millis(pause)
	s.LastCopyMS, s.BlackoutMS = record.Millis(last), record.Millis(pause)+k.Link.RelearnMS
	s.Bandwidth, s.Compressed = min(cmp.Or(c.pace, c.rate), c.rate), s.Compression != ""
	s.Kept = s.ends && pause <= k.Budget
	return s.Forecast, true
}

func medianOf(ms []float64) time.Duration {
	return time.Duration(history.Median(ms) * float64(time.Millisecond))
}

// conditions are what the simulated migration begins under.
func (k Known) conditions(p Plan, expected convergence.State) conditions {
	load := k.LoadWithin(k.Budget)
	c := conditions{
		used: load.Memory, dirty: uint64(load.DirtyRate), set: load.WorkingSet,
		pace: p.Pace, rate: k.Rate(), switchover: p.Switchover, switchoverXBZRLE: p.SwitchoverXBZRLE,
		shrink:      cmp.Or(k.Guest.Shrink, convergence.UsualShrink),
		xbzrleRatio: max(cmp.Or(k.Guest.Delta, usualXBZRLE), leastXBZRLE),
		window:      p.Left, restart: k.Link.SetUp(), expected: expected,
	}
	if c.pace >= c.rate {
		c.pace = 0
	}
	c.last = max(cmp.Or(k.Link.LastCopy, k.Link.Bandwidth), c.rate)
	if k.Link.LastCopy == 0 && k.Bound > 0 {
		c.last = max(c.last, convergence.UsualLink) // the bound says nothing of the link
	}
	return c
}

// Expect puts into s what the rule may count on before the begin. For the guest to converge, half of the bandwidth
// is left for what a second's measurement did not see.
func (k Known) Expect(p Plan, s *convergence.State) {
	rate := k.Rate()
	if rate == 0 || k.Used() == 0 || !k.Load.Dirty.Measured && k.Guest.DirtyRate == 0 {
		return
	}
	load := k.LoadWithin(p.Policy.Ceiling() + k.Link.HandOver())
	// What is remembered does not count where the guest writes more by now, see writes.
	s.WorkingSet = load.WorkingSet
	if s.WorkingSet == 0 { // no more than the first pass leaves
		first := convergence.TransferTime(k.Used(), rate)
		s.WorkingSet = min(k.Used(), uint64(float64(k.Load.Dirty.Rate)*first.Seconds()))
	}
	s.Converges = load.preCopy(float64(rate)/2, nil).Kept
	if k.Link.AtLeast && (k.Bound == 0 || k.Bound/10*9 > k.Link.Bandwidth) {
		return // the passes will show whether the link carries enough
	}
	plain := load.preCopy(float64(rate), nil)
	stuck := !plain.Kept
	// What it writes in a second is the least that a last copy would have, once passes take no less.
	least := uint64(load.DirtyRate)
	if load.WorkingSet > 0 {
		least = min(least, load.WorkingSet)
	}
	if stuck && convergence.TransferTime(least, rate) > p.Policy.HardMax {
		s.ThrottleNeeded = load.needs(float64(rate)).Throttle
	}
	if stuck || p.Policy.Late(plain.Duration, p.Left) {
		// QEMU takes what is on the wire when it looks whether the rest is within the limit.
		load.Budget = p.Policy.Ceiling()/convergence.UsualShrink + k.Link.HandOver()
		s.CompressionHelps = load.preCopy(float64(rate)*convergence.UsualShrink, nil).Kept
	}
	s.XBZRLEHelps = xbzrleHelps(p.Policy, k.conditions(p, *s))
}
