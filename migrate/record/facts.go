package record

import (
	"github.com/vmferry/vmferry/migrate/qmp"
)

// Capped reports whether the rate says more of the requested bound than of the link.
func (r *Record) Capped() bool { return r.Cap > 0 && r.Rate >= r.Cap/10*9 }

// SetUp is what libvirt took before the first byte and after the guest ran, by our receipts.
func (r *Record) SetUp() (ms float64, known bool) {
	step, ok := r.LastStep("migrate")
	if !ok || r.DurationMS <= 0 || len(r.Disks) > 0 {
		return 0, false
	}
	t := qmp.Timeline{Phases: r.Phases}
	active, began := t.Find(qmp.Source, qmp.PhaseActive)
	resume, ended := t.Find(qmp.Target, qmp.PhaseResume)
	if !began || !ended {
		return 0, false
	}
	ms = step.MS - Millis(resume.Received.Sub(active.Received))
	return ms, ms > 0
}

// FinalCopy is what of the pause QEMU spent on sending the last of the memory and the device state, by its events.
func (r *Record) FinalCopy() (ms float64, known bool) {
	t := qmp.Timeline{Phases: r.Phases}
	device, began := t.Find(qmp.Source, qmp.PhaseDevice)
	completed, ended := t.Find(qmp.Source, qmp.PhaseCompleted)
	if !began || !ended || r.PauseMS == nil || r.Rung.Spec().PostCopy {
		return 0, false
	}
	ms = Millis(completed.Stamp.Sub(device.Stamp))
	return ms, ms >= 0 && ms <= *r.PauseMS
}

// bigCopy is a last copy that the device state does not count beside.
const bigCopy = 4 << 20

// LastCopyRate is the rate of the last copy in bytes per second, where it had much to send.
func (r *Record) LastCopyRate() (rate float64, known bool) {
	ms, ok := r.FinalCopy()
	f := r.Predicted
	if !ok || ms <= 0 || f == nil || f.LastCopy < bigCopy || f.Rung != r.Rung || r.Compressed || f.Compressed {
		return 0, false
	}
	return float64(f.LastCopy) / ms * 1000, true
}

// HandOver is what the pause took beyond the last copy. Where the events do not show that, there is the forecast alone,
// which says nothing of a guest that moved on another rung.
func (r *Record) HandOver() (ms float64, known bool) {
	if copied, ok := r.FinalCopy(); ok {
		return *r.PauseMS - copied, *r.PauseMS > copied
	}
	if f := r.Predicted; f != nil && r.PauseMS != nil && f.Rung == r.Rung {
		ms = *r.PauseMS - f.LastCopyMS
	}
	if ms <= 0 && r.HandOverMS != nil {
		ms = *r.HandOverMS
	}
	return ms, ms > 0
}

// Relearn is what clients waited for beyond the pause, at most.
func (r *Record) Relearn() (ms float64, known bool) {
	if r.PauseMS == nil {
		return 0, false
	}
	for _, b := range r.Blackouts {
		ms = max(ms, b.MS-*r.PauseMS)
	}
	return ms, ms > 0
}

// LastStep is the last step of that name.
func (r *Record) LastStep(name string) (last Step, ok bool) {
	for _, s := range r.Steps {
		if s.Name == name {
			last, ok = s, true
		}
	}
	return last, ok
}
