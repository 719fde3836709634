package migrate

import "time"

// DowntimePolicy says how far the downtime limit, QEMU's leave to stop the guest for the last
// copy, is raised for a guest that does not converge.
type DowntimePolicy struct {
	First    time.Duration // from the start on
	Cap      time.Duration // the highest in normal time
	Patience int           // passes over the memory at First before the first raise
	Every    time.Duration // at least so long between two raises, so that auto-converge can work
	Window   time.Duration // the whole time of the migration, 0 without a deadline
}

const (
	defaultFirst    = 30 * time.Millisecond
	defaultCap      = 300 * time.Millisecond
	defaultPatience = 3

	// nearPart is the last part of the window in which meeting the deadline goes before the
	// pause: a stopped and cold-started guest is away for much longer than any pause.
	nearPart = 4
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

// DowntimeSample is how a migration goes at one instant.
type DowntimeSample struct {
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
//     rate and a quarter more, but at least Cap and at most half of the time that is left.
//
// It does not remember: the caller never lowers a limit.
func (p DowntimePolicy) Limit(s DowntimeSample) time.Duration {
	limit := p.First
	for n := min(s.Iteration-p.Patience, int(s.Repeated/max(p.Every, 1))); n > 0 && limit < p.Cap; n-- {
		limit *= 2
	}
	limit = min(limit, p.Cap)
	if p.Window <= 0 || s.Left > p.Window/nearPart {
		return limit
	}
	limit = p.Cap
	if s.Rate > 0 {
		seconds := float64(s.Remaining) / float64(s.Rate) * 1.25
		// Compare as seconds first: a stalled link makes this longer than a Duration holds.
		if seconds > (s.Left / 2).Seconds() {
			return max(limit, s.Left/2)
		}
		limit = max(limit, time.Duration(seconds*float64(time.Second)))
	}
	return limit
}
