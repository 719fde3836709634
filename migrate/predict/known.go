package predict

import (
	"cmp"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/history"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Known is what is known of a guest and its link before the guest moves.
type Known struct {
	Link   history.Link    // what earlier moves taught of the link to the target
	Guest  history.Profile // what they taught of the guest
	Load   libvirt.Load    // by the hypervisor, with the dirty rate once that is measured
	Ready  time.Time       // when the result of a measurement will be there, zero where there is none
	Budget time.Duration   // what the blackout is to stay within
	Bound  uint64          // bytes per second that the migration may take of the link, 0 for all
}

const (
	// deviceState is about what QEMU sends of a guest with a few virtio devices.
	deviceState = 512 << 10

	// measureSpan is for how long QEMU measures the dirty rate.
	measureSpan = time.Second
)

// Rate is what the migration may put on the link, in bytes per second; 0 where nothing is known of it.
func (k Known) Rate() uint64 { return k.Link.Bounded(k.Bound) }

// Used is what the first pass sends at most: the hypervisor's process holds some memory of its own too.
func (k Known) Used() uint64 {
	if k.Load.Resident == 0 || k.Load.Memory == 0 {
		return max(k.Load.Memory, k.Load.Resident)
	}
	return min(k.Load.Memory, k.Load.Resident)
}

// LoadWithin is what the model predicts from, for a move that has to stay within the budget.
func (k Known) LoadWithin(budget time.Duration) Load {
	// QEMU does not count the device state when it looks whether the rest is within the limit.
	device := convergence.TransferTime(deviceState, cmp.Or(k.Link.Bandwidth, convergence.UsualLink))
	l := Load{
		Memory: k.Used(), Device: deviceState,
		Limit: convergence.DefaultInitialDowntime + device, Budget: budget, HandOver: k.Link.HandOver(),
	}
	if k.Guest.Touched > 0 {
		l.Memory = uint64(float64(l.Memory) * k.Guest.Touched)
	}
	l.DirtyRate, l.WorkingSet = writes(k.Guest, k.Load.Dirty)
	l.WorkingSet = min(l.WorkingSet, l.Memory)
	return l
}

// writes is how fast the guest writes, and its working set, 0 where that is not known. What a move showed is finer than
// QEMU's samples; where they are far from it, the guest has changed since.
func writes(p history.Profile, d libvirt.Dirty) (rate float64, set uint64) {
	const far = 1.5
	measured, learned := float64(d.Rate), float64(p.DirtyRate)
	set = p.WorkingSet
	if d.Measured && measured*measureSpan.Seconds() > far*float64(set) {
		set = 0 // so much is written in the span alone
	}
	if d.Measured && (learned == 0 || measured > learned*far || measured*far < learned) {
		return measured, set
	}
	return cmp.Or(learned, measured), set
}
