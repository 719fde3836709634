package migrate

import (
	"cmp"
	"time"

	"github.com/vmferry/vmferry/migrate/convergence"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// state is what the rule decides from; before the begin, of a job that is not there yet.
func (m *mover) state(s libvirt.JobStats) convergence.State {
	s.Rate = m.pageRate(s)
	out := convergence.State{Active: s.Active, Elapsed: s.Elapsed - m.disks.took, Left: m.left(), Iteration: s.Iteration, Sent: s.Processed, Remaining: s.Remaining, Used: used(m.load),
		Rate: s.Rate, DirtyRate: s.DirtyRate, AutoConverge: m.try.throttle > 0 || m.adopted, Throttle: s.Throttle,
		Switched: m.tape.inPostCopy(), Link: m.bandwidth(), Disks: m.diskBytes(),
		WorkingSet: m.profile.WorkingSet, XBZRLE: m.try.cache > 0, XBZRLERatio: m.profile.Delta}
	if !out.Begun() {
		m.promise(&out)
	}
	m.trend.Observe(&out, s, m.policy.Window, time.Now())
	return out
}

// pageRate is how fast the guest's memory is carried. libvirt tells what is on the wire.
func (m *mover) pageRate(s libvirt.JobStats) uint64 {
	if m.try.cache > 0 && s.Iteration > 1 {
		return max(s.Rate, cmp.Or(m.bandwidth(), m.rec.Rate)) // deltas do not fill the link
	}
	if !m.try.compress || s.Processed == 0 || s.Pages <= s.Processed {
		return s.Rate
	}
	return uint64(float64(s.Rate) * float64(s.Pages) / float64(s.Processed))
}
