package diskcopy

import (
	"fmt"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// mirrorStep is how much QEMU copies of a disk at a time, after which it rests for as long as a bound
// on the bandwidth asks for: 1 MiB in each of 16 requests.
const mirrorStep = 16 << 20

// sampleGap is the longest time between two samples that counts.
const sampleGap = 2 * convergence.PollEvery

// Meter judges how far the copying of disks is. Its zero value is of a copying that another process began.
type Meter struct {
	Took    time.Duration // 0 before the copying has ended, or where that is not known
	began   time.Time
	seen    time.Time     // when the last sample was
	done    uint64        // bytes, then
	quiet   time.Duration // for how long nothing was sent
	starved time.Duration // for how long the link has been too slow
}

// Start says when the copying begins.
func (m *Meter) Start(now time.Time) { m.began = now }

// Stop says that the copying has ended. It may be called again.
func (m *Meter) Stop(now time.Time) {
	if !m.began.IsZero() && m.Took == 0 {
		m.Took = now.Sub(m.began)
	}
}

// Limits are what the copying has to keep.
type Limits struct {
	Left      time.Duration // until it must have ended
	Grace     time.Duration // for how long the link may fail before that is believed
	Bandwidth uint64        // MiB/s that it may take, 0 for all
}

// Sample judges a sample. rate is in bytes per second, and hopeless why the copying should be given up, or "".
func (m *Meter) Sample(now time.Time, s libvirt.DiskStats, l Limits) (rate uint64, hopeless string) {
	if m.seen.IsZero() {
		m.seen = now
	}
	if m.began.IsZero() {
		m.began = now
	}
	gap := min(now.Sub(m.seen), sampleGap)
	m.quiet, m.starved, m.seen = m.quiet+gap, m.starved+gap, now
	if s.Processed != m.done {
		m.done, m.quiet = s.Processed, 0
	}
	if took := now.Sub(m.began); took > 0 {
		rate = uint64(float64(s.Processed) / took.Seconds())
	}
	if rate > 0 && convergence.TransferTime(s.Remaining, rate) <= l.Left {
		m.starved = 0
	}
	grace := l.Grace
	if l.Bandwidth > 0 {
		grace += convergence.TransferTime(mirrorStep, l.Bandwidth<<20)
	}
	switch {
	case m.quiet >= grace:
		hopeless = fmt.Sprintf("the link has carried nothing of the disks for %v", m.quiet.Round(time.Second))
	case m.starved >= grace:
		hopeless = fmt.Sprintf("%d MiB of the disks are left, and they are copied at %.1f MiB/s: "+
			"that would not end in the %v that are left",
			s.Remaining>>20, float64(rate)/(1<<20), l.Left.Round(time.Second))
	}
	return rate, hopeless
}
