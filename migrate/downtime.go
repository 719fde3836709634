package migrate

import "time"

// DowntimePolicy says how far the downtime limit, QEMU's leave to stop the guest for the last
// copy, is raised for a guest that does not converge.
type DowntimePolicy struct {
	First    time.Duration // from the start on
	Cap      time.Duration // the highest in normal time
	Patience int           // passes over the memory at First before the first raise
	Every    time.Duration // at least so long between two raises, so that auto-converge can work
	Ceiling  time.Duration // the highest at any time, 0 for none
	Force    time.Duration // so long after its begin, as near the end of the window; 0 for never
	Window   time.Duration // the whole time of the migration, 0 without a deadline
}

const (
	defaultFirst    = 30 * time.Millisecond
	defaultCap      = 300 * time.Millisecond
	defaultPatience = 3

	// nearPart is the last part of the window in which meeting the deadline goes before the
	// pause: a stopped and cold-started guest is away for much longer than any pause.
	nearPart = 4

	// handOver is the part of a pause that is not the last copy: what libvirt's protocol takes from
	// one libvirtd to the other. 15 to 50 ms were measured.
	handOver = 50 * time.Millisecond
)

func newDowntimePolicy(first, window time.Duration) DowntimePolicy {
	if first <= 0 {
		first = defaultFirst
	}
	every := 5 * time.Second
	if window > 0 {
		every = min(max(window/20, time.Second), 10*time.Second)
	}
	return DowntimePolicy{First: first, Cap: max(first, defaultCap), Patience: defaultPatience, Every: every, Window: window}
}

// within is the policy that keeps a pause within the budget, of which the hand-over gets its part
// first, but at most half; 0 is no budget.
func (p DowntimePolicy) within(budget time.Duration) DowntimePolicy {
	if budget <= 0 {
		return p
	}
	p.Ceiling = max(budget-handOver, budget/2)
	p.First, p.Cap = min(p.First, p.Ceiling), min(p.Cap, p.Ceiling)
	return p
}

// DowntimeSample is how a migration goes at one instant.
type DowntimeSample struct {
	Elapsed   time.Duration // since the migration began
	Iteration int           // the pass that is under way, 1 is the first
	Repeated  time.Duration // since the second pass began: how long it has failed to converge
	Remaining uint64        // bytes still to send
	Rate      uint64        // bytes per second on the wire
	Left      time.Duration // until the migration would be aborted; ignored when Window is 0
}

// Limit is the downtime limit that the policy wants at s:
//
//   - First, until Patience passes are done;
//   - then doubled with each further pass, but not more than once in Every, up to Cap;
//   - in the last quarter of the window, as much as the remaining bytes need at the present
//     rate and a quarter more, but at least Cap and at most half of the time that is left;
//   - the same once Force has passed, without a window for a minute at most;
//   - never above Ceiling.
//
// It does not remember: the caller never lowers a limit.
func (p DowntimePolicy) Limit(s DowntimeSample) time.Duration {
	limit := p.wanted(s)
	if p.Ceiling > 0 {
		limit = min(limit, p.Ceiling)
	}
	return limit
}

// longestPause bounds a forced pause without a deadline.
const longestPause = time.Minute

func (p DowntimePolicy) wanted(s DowntimeSample) time.Duration {
	limit := p.First
	for n := min(s.Iteration-p.Patience, int(s.Repeated/max(p.Every, 1))); n > 0 && limit < p.Cap; n-- {
		limit *= 2
	}
	limit = min(limit, p.Cap)
	near := p.Window > 0 && s.Left <= p.Window/nearPart
	forced := p.Force > 0 && s.Elapsed >= p.Force
	if !near && !forced {
		return limit
	}
	most := longestPause
	if p.Window > 0 {
		most = s.Left / 2
	}
	limit = p.Cap
	if s.Rate > 0 {
		seconds := float64(s.Remaining) / float64(s.Rate) * 1.25
		// Compare as seconds first: a stalled link makes this longer than a Duration holds.
		if seconds > most.Seconds() {
			return max(limit, most)
		}
		limit = max(limit, time.Duration(seconds*float64(time.Second)))
	}
	return limit
}
