package qmp

import (
	"cmp"
	"slices"
	"time"
)

// ClockBound is how far the pause by QEMU's stamps and the pause by our receipts may differ
// before the stamps are no longer believed. Hosts kept by NTP agree within a
// millisecond or two; events were seen to be delivered up to some 15 ms late on busy
// hosts. A difference above 20 ms is a clock that is off.
const ClockBound = 20 * time.Millisecond

// Clock names the clock of a Timeline's durations.
type Clock string

// The two clocks.
const (
	ClockQEMU    Clock = "qemu"    // QEMU's stamps, on both hosts' clocks
	ClockReceipt Clock = "receipt" // our receipts, on one clock
)

// The phases' names. Iterations are PhasePass, with their number in Phase.Pass.
const (
	PhaseSetup         = "setup"
	PhaseActive        = "active"
	PhasePass          = "pass"
	PhaseStop          = "stop"
	PhasePreSwitchover = "pre-switchover"
	PhaseDevice        = "device"
	PhasePostCopy      = "postcopy-active"
	PhaseCompleted     = "completed"
	PhaseFailed        = "failed"
	PhaseCancelled     = "cancelled"
	PhaseResume        = "resume"
)

// Phase is the begin of one phase, at one side.
type Phase struct {
	Name     string    `json:"name"`
	Side     Side      `json:"side"`
	Pass     int       `json:"pass,omitempty"`
	Stamp    time.Time `json:"stamp"`    // QEMU's, on its host's clock
	Received time.Time `json:"received"` // ours
}

// Timeline is a migration as QEMU reports it. Durations are nil when one of their
// two ends was not seen.
type Timeline struct {
	Phases     []Phase `json:"phases"` // by receipt
	Iterations int     `json:"iterations"`
	Clock      Clock   `json:"clock,omitempty"` // of Pause and HandOver; empty without a pause

	Pause    *time.Duration `json:"-"` // source STOP to target RESUME
	HandOver *time.Duration `json:"-"` // source "completed" to target RESUME

	StampPause   *time.Duration `json:"-"` // the pause by QEMU's stamps
	ReceiptPause *time.Duration `json:"-"` // the pause by our receipts

	Rebooted bool `json:"rebooted,omitempty"` // the guest itself reset or switched off meanwhile
}

// Build makes the Timeline of one migration from the events of both sides, in any order.
// The events must be of one attempt: watch before it starts, and stop after.
func Build(events []Observed) Timeline {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b Observed) int { return a.Received.Compare(b.Received) })
	var t Timeline
	for _, e := range events {
		t.Rebooted = t.Rebooted || e.Reboots()
		if p, ok := phaseOf(e); ok {
			t.Phases = append(t.Phases, p)
			if p.Side == Source {
				t.Iterations = max(t.Iterations, p.Pass)
			}
		}
	}
	t.measure()
	return t
}

func phaseOf(e Observed) (Phase, bool) {
	p := Phase{Side: e.Side, Stamp: e.Stamp(), Received: e.Received}
	switch name := e.Event.Event; {
	case name == "STOP":
		p.Name = PhaseStop
	case name == "RESUME":
		p.Name = PhaseResume
	case e.Pass() > 0:
		p.Name, p.Pass = PhasePass, e.Pass()
	case known[e.Status()]:
		p.Name = e.Status()
	default:
		return Phase{}, false
	}
	return p, true
}

// known are the migration's states that make a phase. QEMU has more of them.
var known = map[string]bool{PhaseSetup: true, PhaseActive: true, PhasePreSwitchover: true, PhaseDevice: true,
	PhasePostCopy:  true,
	PhaseCompleted: true, PhaseFailed: true, PhaseCancelled: true}

// Find returns the first phase of that name and side, in the order of receipt.
func (t Timeline) Find(side Side, name string) (Phase, bool) {
	i := slices.IndexFunc(t.Phases, func(p Phase) bool { return p.Side == side && p.Name == name })
	if i < 0 {
		return Phase{}, false
	}
	return t.Phases[i], true
}

// stopped returns the STOP at the source that was not followed by a RESUME there:
// a switchover that was called off and tried again has several. Order is by the
// source's own stamps, which are one clock.
func (t Timeline) stopped() (stop Phase, ok bool) {
	own := slices.DeleteFunc(slices.Clone(t.Phases), func(p Phase) bool { return p.Side != Source })
	slices.SortStableFunc(own, func(a, b Phase) int { return cmp.Compare(a.Stamp.UnixMicro(), b.Stamp.UnixMicro()) })
	for _, p := range own {
		switch {
		case p.Name == PhaseStop && !ok:
			stop, ok = p, true
		case p.Name == PhaseResume:
			stop, ok = Phase{}, false
		}
	}
	return stop, ok
}

// measure finds the pause and the hand-over. The target's QEMU is born paused, so its first
// RESUME is the one that ends the pause.
func (t *Timeline) measure() {
	stop, ok := t.stopped()
	resume, resumed := t.Find(Target, PhaseResume)
	if !ok || !resumed {
		return
	}
	stamp, receipt := resume.Stamp.Sub(stop.Stamp), resume.Received.Sub(stop.Received)
	t.StampPause, t.ReceiptPause = &stamp, &receipt
	t.Clock = chooseClock(stamp, receipt)
	between := func(from Phase) *time.Duration {
		d := resume.Received.Sub(from.Received)
		if t.Clock == ClockQEMU {
			d = resume.Stamp.Sub(from.Stamp)
		}
		return &d
	}
	t.Pause = between(stop)
	// In post-copy the guest runs long before all is handed over.
	if done, ok := t.Find(Source, PhaseCompleted); ok && !done.Received.After(resume.Received) {
		t.HandOver = between(done)
	}
}

// chooseClock believes the stamps unless they contradict the receipts.
func chooseClock(stamp, receipt time.Duration) Clock {
	if stamp < 0 || (stamp-receipt).Abs() > ClockBound {
		return ClockReceipt
	}
	return ClockQEMU
}
