package migrate

import (
	"cmp"
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// trend is what the rule needs of the samples before the present one.
type trend struct {
	repeated time.Time       // when the second pass was first seen
	last     []time.Duration // what the latest passes would have left for a last copy
	pass     int             // which of them is the latest
	gain     int             // which was a tenth better than all before it
	gained   time.Time       // when that was seen
	seen     time.Time       // when the last sample was
	most     uint64          // bytes: the largest pass after the first
	sent     uint64
	quiet    time.Duration // for how long nothing was sent
	starved  time.Duration // for how long the link has been too slow
}

// memory is how many passes count: a guest that was quiet for a moment may never be so again.
const memory = 8

// state is what the rule decides from; before the begin, of a job that is not there yet.
func (m *mover) state(s libvirt.JobStats) State {
	now, t := time.Now(), &m.trend
	s.Rate = m.pageRate(s)
	out := State{Active: s.Active, Elapsed: s.Elapsed - m.disks.took, Left: m.left(), Iteration: s.Iteration, Sent: s.Processed, Remaining: s.Remaining, Used: used(m.load),
		Rate: s.Rate, DirtyRate: s.DirtyRate, Throttled: m.try.throttle > 0 || m.adopted, Percent: s.Throttle,
		Switched: m.events.InPostCopy(), Link: m.bandwidth(), Disks: m.diskBytes(),
		Set: m.profile.WorkingSet, Deltas: m.try.cache > 0, Delta: m.profile.Delta}
	if !out.begun() {
		m.promise(&out)
	}
	t.see(&out, s, now)
	t.endure(s, m.policy.starved(out), now)
	out.Quiet, out.Starved = t.quiet, t.starved
	return out
}

// see takes over what a sample tells of the passes after the first, and puts into out what the rule needs of them.
func (t *trend) see(out *State, s libvirt.JobStats, now time.Time) {
	if s.Iteration <= 1 {
		return
	}
	if t.repeated.IsZero() {
		t.repeated = now
	}
	t.weigh(s, now)
	t.most = max(t.most, s.Remaining)
	out.Repeated, out.Set = now.Sub(t.repeated), t.most
	out.Best, out.Stale, out.Stagnant = slices.Min(t.last), s.Iteration-t.gain, now.Sub(t.gained)
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

// endure counts how long the link fails. A hypervisor that gave no answer for a while says nothing
// of the link in that time.
func (t *trend) endure(s libvirt.JobStats, starved bool, now time.Time) {
	gap := time.Duration(0)
	if !t.seen.IsZero() {
		gap = min(now.Sub(t.seen), 2*pollEvery)
	}
	t.quiet, t.starved, t.seen = t.quiet+gap, t.starved+gap, now
	if s.Processed != t.sent {
		t.sent, t.quiet = s.Processed, 0
	}
	if !starved {
		t.starved = 0
	}
}

// weigh takes over what the present pass would leave for a last copy.
func (t *trend) weigh(s libvirt.JobStats, now time.Time) {
	left := lastCopy(s)
	if s.Iteration == t.pass {
		// Towards its end a pass has little left to send, but as much as ever was written meanwhile: what
		// counts is its begin.
		t.last[len(t.last)-1] = max(t.last[len(t.last)-1], left)
		return
	}
	if len(t.last) == 0 || left < slices.Min(t.last)/10*9 {
		t.gain, t.gained = s.Iteration, now
	}
	t.pass, t.last = s.Iteration, append(t.last, left)
	if len(t.last) > memory {
		t.last = t.last[1:]
	}
}

// lastCopy is how long a switchover at the begin of this pass would have taken. QEMU reckons that itself,
// once it knows how fast the guest writes.
func lastCopy(s libvirt.JobStats) time.Duration {
	if s.Downtime > 0 && s.DirtyRate > 0 {
		return s.Downtime
	}
	return max(seconds(s.Remaining, s.Rate), 1)
}
