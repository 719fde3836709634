package drainsim

import (
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/predict"
)

// migration is what a hypervisor does: pass after pass, the last copy, the hand-over.
type migration struct {
	clock *clock
	link  *link
	load  predict.Load // as it is, whatever the planner knows
	means ladder.Rung
	limit time.Duration // the downtime limit: from the first moment on the one that was predicted

	pass    int
	passAt  time.Time
	stopped time.Time // of the guest
	sending *sender

	resumed func(pause time.Duration) // the guest runs at the target
	left    func()                    // and the source has nothing left to send
}

// raise doubles the limit after each pass but the first three, within the budget.
func (m *migration) raise() {
	if m.pass > 3 {
		m.limit *= 2
	}
	if m.load.Budget > 0 {
		m.limit = min(m.limit, m.load.Budget-m.load.HandOver)
	}
}

func (m *migration) start() {
	m.pass = 1
	m.copy(float64(m.load.Memory))
}

func (m *migration) copy(bytes float64) {
	m.passAt = m.clock.now
	m.sending = m.link.send(bytes, m.passed)
}

// passed is the end of a pass: is what was written meanwhile little enough for the last copy?
func (m *migration) passed() {
	dirty, device := m.dirty(), float64(m.load.Device)
	if m.means.Spec().PostCopy {
		m.stopped = m.clock.now
		m.sending = m.link.send(device, func() { m.resume(dirty) })
		return
	}
	m.raise()
	m.pass++
	// What QEMU takes for the bandwidth is what it got last: the link with one sender more.
	mine := m.link.send(0, nil)
	rate := m.link.rate()
	m.link.stop(mine)
	if time.Duration((dirty+device)/rate*1e9) <= m.limit {
		m.stopped = m.clock.now
		m.sending = m.link.send(dirty+device, func() { m.resume(0) })
		return
	}
	m.copy(dirty)
}

// dirty is what the guest wrote during the pass that ends.
func (m *migration) dirty() float64 {
	most := float64(m.load.Memory)
	if m.load.WorkingSet > 0 {
		most = min(most, float64(m.load.WorkingSet))
	}
	return min(m.load.DirtyRate*(1-m.throttle())*m.clock.now.Sub(m.passAt).Seconds(), most)
}

// pointless is after how many passes the engine slows down a guest that was to converge without.
const pointless = 40

// throttle is what QEMU's auto-converge takes: a fifth from the third pass on, and more with every
// second one.
func (m *migration) throttle() float64 {
	first := pointless
	if m.means.Spec().Throttle != nil {
		first = 3
	}
	if m.pass < first {
		return 0
	}
	return min(0.2+0.1*float64((m.pass-first)/2), 0.99)
}

func (m *migration) resume(rest float64) {
	m.clock.after(m.load.HandOver, func() {
		m.resumed(m.clock.now.Sub(m.stopped))
		if rest == 0 {
			m.left()
			return
		}
		m.sending = m.link.send(rest, m.left)
	})
}

// abort ends it while the guest still runs at the source; too late, it does nothing and says so.
func (m *migration) abort() bool {
	if !m.stopped.IsZero() {
		return false
	}
	m.link.stop(m.sending)
	return true
}
