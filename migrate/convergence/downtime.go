package convergence

import "time"

// The downtime limit of a migration (QEMU's downtime-limit) is chosen in this file. QEMU stops the guest for the last
// copy as soon as that takes no longer than the limit, so the limit is low while passes become shorter, and is raised
// when they do not:
//
//	UpperBound ......................................................... never exceeded: the longest pause requested
//	                                                           +---------- forced: as long as the last copy needs
//	HardMax                                   +------+         |           longer: before the guest is throttled
//	Max                              +--------+      +---------+           raised: where nobody has a budget
//	Budget                    +------+                                     raised: a step each second
//	InitialDowntime  ---------+
//	                 passes   | two were  | and do not come   | the last quarter of the window,
//	                 become   | not       | below Max         | or ForceAfter has passed
//	                 shorter  |           |                   |
//
// A Firm budget is never exceeded. A throttled guest is stopped for some of the time anyway: a pause as long as
// that costs its clients nothing more (throttled).
func (p Policy) downtime(s State) time.Duration {
	limit := p.raised(s)
	if !p.Firm {
		limit = max(limit, p.longer(s), throttled(s), p.forced(s))
	}
	if p.UpperBound > 0 {
		limit = min(limit, p.UpperBound)
	}
	return limit
}

const (
	// DefaultBudget is the blackout that a move aims to stay below where nobody requests another.
	DefaultBudget = 100 * time.Millisecond

	// DefaultInitialDowntime is low, as an idle guest needs no more: QEMU stops the guest as soon as no more is left
	// than the limit allows, also in the middle of a pass, and one more pass costs nobody anything.
	DefaultInitialDowntime = 2 * time.Millisecond

	// usualPause is what a move may cost where nobody has a budget: somewhat more than QEMU's own downtime limit of
	// 300 ms, which many a guest that writes much hardly misses for long. A budget that nobody requested is not worth
	// slowing a guest down, as long as this much is enough.
	usualPause = 500 * time.Millisecond

	// longPause is what it may cost there before the guest is slowed down. In the lab a guest that QEMU slowed down as
	// far as it took was paused for 2 to 3 s in the end, and its clients had waited for it before.
	longPause = 2 * time.Second

	// forcedPart is the last part of the window in which meeting the deadline goes before the
	// pause: a stopped and cold-started guest is away for much longer than any pause.
	forcedPart = 4

	// forcedMost bounds a forced pause without a deadline.
	forcedMost = time.Minute

	// Beyond throttleMost per cent a throttle is no use: the guest is as good as stopped, and a pause of up to
	// throttlePause is better. QEMU continues to 99.
	throttleMost  = 80
	throttlePause = time.Second

	// throttleSlice is how long QEMU lets a throttled guest run at a time.
	throttleSlice = 10 * time.Millisecond
)

// Pause is the longest that the guest may be paused, and what of that is not the last copy.
type Pause struct {
	Budget   time.Duration // the requested blackout budget, 0 for DefaultBudget, which may be exceeded
	Longest  time.Duration // the longest pause at any time, 0 for no such bound
	HandOver time.Duration // the part of a pause that is not the last copy: at most half of each is left for it
}

// NewPolicy divides the pause and the window. What else is allowed is for the caller to set.
//
// Without a requested budget a pause of Longest is what the caller allows, up to longPause: a guest is not slowed
// down as long as this is enough.
func NewPolicy(pause Pause, window time.Duration) Policy {
	lastCopy := func(of time.Duration) time.Duration { return max(of-pause.HandOver, of/2) }
	p := Policy{RaiseEvery: 5 * time.Second, Window: window}
	if window > 0 {
		p.RaiseEvery = min(max(window/20, time.Second), 10*time.Second)
	}
	if pause.Budget > 0 {
		p.Budget = lastCopy(pause.Budget)
		p.Max, p.HardMax = p.Budget, p.Budget
	} else {
		p.Budget = lastCopy(DefaultBudget)
		p.Max, p.HardMax = max(p.Budget, usualPause), max(p.Budget, longPause)
	}
	p.InitialDowntime = min(DefaultInitialDowntime, p.Budget)
	if pause.Longest <= 0 {
		return p
	}
	p.UpperBound = lastCopy(pause.Longest)
	if pause.Budget <= 0 {
		p.Max, p.HardMax = longPause, longPause
	}
	for _, limit := range []*time.Duration{&p.InitialDowntime, &p.Budget, &p.Max, &p.HardMax} {
		*limit = min(*limit, p.UpperBound)
	}
	return p
}

// raised is the limit in normal time. It follows the shortest last copy that a pass would have left, with more leeway
// at each step, so that the switchover comes at a good moment and not at the first that is allowed.
func (p Policy) raised(s State) time.Duration {
	steps := 0
	if s.Stale >= patience && s.Stagnant >= firstRaise {
		every := firstRaise // a guest at full speed will not become slower by waiting
		if s.Throttle > 0 {
			every = max(p.RaiseEvery, firstRaise)
		}
		steps = min(1+s.Stale-patience, 1+int((s.Stagnant-firstRaise)/every))
	}
	limit, fits := p.InitialDowntime, min(s.Best, p.Budget)*5/8
	for ; steps > 0 && limit < p.Budget; steps-- {
		fits = min(fits*2, p.Budget)
		limit = max(limit*2, fits)
	}
	limit = min(limit, p.Budget)
	for ; steps > 0 && limit < p.Ceiling(); steps-- {
		limit = min(max(limit*2, s.Best*5/4), p.Ceiling())
	}
	return limit
}

// longer is the limit above Max for passes that stay above Max where a pause of HardMax at most is better than a
// throttle: as long as the shortest of them needs, and after as much time again all of HardMax. It is 0 where
// post-copy is allowed, and after a while, as passes that are shorter now and then prove nothing.
func (p Policy) longer(s State) time.Duration {
	wait := s.wait()
	switch {
	case p.Firm || p.PostCopy || !p.stuck(s) || s.Best > p.HardMax || s.Stagnant >= 4*wait:
		return 0
	case s.Stagnant >= 2*wait:
		return p.HardMax
	}
	return min(s.Best*5/4, p.HardMax)
}

// throttled is how long a throttled guest is stopped at a time: QEMU lets it run for 10 ms, and then sleep
// for as long as the per cent ask. Beyond throttleMost it is what the last copy needs, up to a second.
func throttled(s State) time.Duration {
	percent := min(max(s.Throttle, 0), 99)
	stopped := throttleSlice * time.Duration(percent) / time.Duration(100-percent)
	if s.Throttle > throttleMost {
		stopped = max(stopped, min(s.lastCopy(), throttlePause))
	}
	return stopped
}

// forced is what the last copy needs, at most half of the time that is left, in the last part of the window and once
// ForceAfter has passed; 0 before.
func (p Policy) forced(s State) time.Duration {
	near := p.Window > 0 && s.Iteration > 0 && s.Left <= p.Window/forcedPart
	if !near && (p.ForceAfter == 0 || s.Elapsed < p.ForceAfter) {
		return 0
	}
	most := forcedMost
	if p.Window > 0 {
		most = s.Left / 2
	}
	return max(p.Budget, min(s.lastCopy(), most))
}
