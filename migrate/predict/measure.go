package predict

import (
	"context"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/wait"
)

const (
	measureSlip = 100 * time.Millisecond // what QEMU may need beyond the span, and between two looks

	// MeasureTime is what a measurement takes.
	MeasureTime = measureSpan + measureSlip

	// measureWindow is how much time there must be for a move to wait for its measurement, and
	// measureWorth how long its first pass must take: a shorter one shows as much as soon.
	measureWindow = 30 * time.Second
	measureWorth  = 5 * time.Second
	measureBytes  = 1 << 30 // the same of a link that is not known

	// measureFresh is how old a measurement may be that somebody else made.
	measureFresh = 10 * time.Minute
)

// Measure finds out how large the guest is and how fast it writes, over span, which counts in
// whole seconds from 1 to 60. A hypervisor that cannot measure gives a load without a dirty rate
// and no error. When ctx ends first, its error is returned.
func Measure(ctx context.Context, h endpoint.Gauge, guest string, span time.Duration) (libvirt.Load, error) {
	started := h.StartDirtyRate(ctx, guest, span) == nil
	for {
		if started {
			if err := wait.For(ctx, span); err != nil {
				return libvirt.Load{}, fmt.Errorf("measure guest %q: %w", guest, err)
			}
		}
		load, err := h.Load(ctx, guest)
		if err != nil {
			return libvirt.Load{}, fmt.Errorf("measure guest %q: %w", guest, err)
		}
		if !started {
			load.Dirty = libvirt.Dirty{} // of some other time
		}
		if !started || load.Dirty.Measured {
			return load, nil
		}
		span = measureSlip
	}
}

// Begin reads the guest's load and has its dirty rate measured, unless that was done not long ago. The error is why it
// cannot be measured.
func (k *Known) Begin(ctx context.Context, h endpoint.Gauge, guest string) error {
	load, err := h.Load(ctx, guest)
	if err == nil {
		k.Load = load
	}
	if err == nil && load.Dirty.Measured && time.Since(load.Dirty.Since).Abs() < measureFresh {
		k.Ready = time.Now()
		return nil
	}
	k.Load.Dirty = libvirt.Dirty{} // of some other time
	if err := h.StartDirtyRate(ctx, guest, measureSpan); err != nil {
		return err
	}
	k.Ready = time.Now().Add(MeasureTime)
	return nil
}

// Refresh reads the load again. It leaves out a dirty rate of some other time.
func (k *Known) Refresh(ctx context.Context, h endpoint.Gauge, guest string) error {
	load, err := h.Load(ctx, guest)
	if err != nil {
		return err
	}
	if k.Ready.IsZero() {
		load.Dirty = libvirt.Dirty{}
	}
	k.Load = load
	return nil
}

// WorthMeasuring reports whether a move that has so much time should wait for the measurement under way: its first pass
// shows less, or later.
func (k Known) WorthMeasuring(left time.Duration) bool {
	if k.Load.Dirty.Measured || left < measureWindow || k.Guest.DirtyRate > 0 {
		return false
	}
	if rate := k.Rate(); rate > 0 {
		return convergence.TransferTime(k.Used(), rate) >= measureWorth
	}
	return k.Used() >= measureBytes
}
