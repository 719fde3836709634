package convergence

import (
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Trend is what the rule needs of the samples before the present one.
type Trend struct {
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

// Observe puts into s what the rule needs of the samples so far: job is the present one, of which s has the rest.
func (t *Trend) Observe(s *State, job libvirt.JobStats, window time.Duration, now time.Time) {
	if job.Iteration > 1 {
		t.passes(s, job, now)
	}
	t.endure(job, s.starved(window), now)
	s.Quiet, s.Starved = t.quiet, t.starved
}

// passes records what a sample says of the passes after the first.
func (t *Trend) passes(s *State, job libvirt.JobStats, now time.Time) {
	if t.repeated.IsZero() {
		t.repeated = now
	}
	t.weigh(job, now)
	t.most = max(t.most, job.Remaining)
	s.Repeated, s.WorkingSet = now.Sub(t.repeated), t.most
	s.Best, s.Stale, s.Stagnant = slices.Min(t.last), job.Iteration-t.gain, now.Sub(t.gained)
}

// endure counts how long the link fails. A hypervisor that gave no answer for a while says nothing
// of the link in that time.
func (t *Trend) endure(s libvirt.JobStats, starved bool, now time.Time) {
	gap := time.Duration(0)
	if !t.seen.IsZero() {
		gap = min(now.Sub(t.seen), 2*PollEvery)
	}
	t.quiet, t.starved, t.seen = t.quiet+gap, t.starved+gap, now
	if s.Processed != t.sent {
		t.sent, t.quiet = s.Processed, 0
	}
	if !starved {
		t.starved = 0
	}
}

// weigh records what the present pass would leave for a last copy.
func (t *Trend) weigh(s libvirt.JobStats, now time.Time) {
	left := passCopy(s)
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

// passCopy is how long a switchover at the begin of this pass would have taken. QEMU computes that itself,
// once it knows how fast the guest writes.
func passCopy(s libvirt.JobStats) time.Duration {
	if s.Downtime > 0 && s.DirtyRate > 0 {
		return s.Downtime
	}
	return max(TransferTime(s.Remaining, s.Rate), 1)
}

// PageRate is how fast memory is sent, in bytes per second. libvirt says what is on the wire, and XBZRLE does not fill
// the link, which carries so many bytes per second.
func PageRate(job libvirt.JobStats, xbzrle, zstd bool, link uint64) uint64 {
	switch {
	case xbzrle && job.Iteration > 1:
		return max(job.Rate, link)
	case zstd && job.Processed > 0 && job.Pages > job.Processed:
		return uint64(float64(job.Rate) * float64(job.Pages) / float64(job.Processed))
	}
	return job.Rate
}
