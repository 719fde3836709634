package convergence

import (
	"time"
)

// Policy is what one migration may do. It stays the same while the migration runs, unless its time is shortened or a
// hypervisor refuses a capability.
type Policy struct {
	// The downtime limits, for the last copy alone: see downtime.go.
	InitialDowntime time.Duration // from the begin on
	Budget          time.Duration // what the blackout budget leaves for the last copy
	Max             time.Duration // the highest in normal time unless Firm; Budget or more
	HardMax         time.Duration // the highest that is better than a throttled guest unless Firm; Max or more
	UpperBound      time.Duration // never exceeded, 0 for no such bound
	Firm            bool          // Budget is never exceeded, even if the deadline is missed

	RaiseEvery time.Duration // the least time between two raises while the guest is throttled
	ForceAfter time.Duration // the time from which on the last copy is forced, 0 for never
	Window     time.Duration // the whole time of the migration, 0 without a deadline

	AutoConverge     bool   // the guest may be throttled
	PostCopy         bool   // the guest may run at the target before all of its memory is there
	Compress         bool   // memory may be compressed by zstd, which takes several connections
	XBZRLECache      uint64 // bytes: the largest cache that XBZRLE may have, 0 for no XBZRLE
	SingleConnection bool   // no parallel connections, and so no compression
}

// patience is how many passes may be no shorter than those before, until the limit is first raised.
const patience = 2

// Ceiling is the highest downtime limit in normal time.
func (p Policy) Ceiling() time.Duration {
	if p.Firm {
		return p.Budget
	}
	return p.Max
}

// Grace is how long the link may carry too little before that is believed.
func (p Policy) Grace() time.Duration {
	if p.Window == 0 {
		return time.Minute
	}
	return min(max(p.Window/8, 5*time.Second), 30*time.Second)
}

// Late reports whether what takes so long leaves less than half of the time.
func (p Policy) Late(took, left time.Duration) bool { return p.Window > 0 && took > left/2 }

// stuck reports whether passes leave more than Max allows, as far as can be known. That the guest writes as fast as
// the link carries says it sooner, but not alone: what is written again and again counts as often as it is looked at,
// and that is more often the shorter the passes become.
func (p Policy) stuck(s State) bool {
	passes := patience
	if s.Rate > 0 && s.DirtyRate >= s.Rate {
		passes = 1
	}
	return s.Iteration > 1 && s.Best > p.Ceiling() && s.Stale >= passes && s.Stagnant >= s.wait()
}

// mayRestart reports whether a second begin is affordable: all that was sent takes a third of the time that is left or
// less.
func (p Policy) mayRestart(s State) bool {
	bytes, rate := s.Sent+s.Remaining, s.Rate
	if !s.Begun() {
		bytes, rate = s.Used, s.link()
	}
	return p.Window == 0 && s.Disks == 0 || p.Window > 0 && s.Left/3 > TransferTime(bytes+s.Disks, rate)
}

// What the engine and QEMU do at fixed times. The simulation of package predict does the same, and package history
// reads records by it.
const (
	// PollEvery is the time between two samples of a migration.
	PollEvery = 500 * time.Millisecond

	// PassSettle is how long after a new pass the hypervisor is left alone: if the pass has little to send, the guest
	// is stopped in this time, and a question would make its pause longer.
	PassSettle = 50 * time.Millisecond

	// PaceLift is the pass in which a bound of the first passes is lifted: the guest is no idle one.
	PaceLift = 3

	// BurstEvery is the time of one burst. A bounded rate is one of bursts: as much as that rate allows in a tenth of
	// a second (BUFFER_DELAY of QEMU's migration/options.h) is sent at once.
	BurstEvery = 100 * time.Millisecond
)
