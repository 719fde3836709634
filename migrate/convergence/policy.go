package convergence

import (
	"cmp"
	"fmt"
	"time"
)

// DefaultBudget is the blackout that a move aims to stay below where nobody says another.
const DefaultBudget = 100 * time.Millisecond

// Policy is what one migration may do, and does not change while it goes on. [Policy.Decide] is the
// whole rule of the engine, which only carries it out.
type Policy struct {
	InitialDowntime  time.Duration // the downtime limit from the start on
	Budget           time.Duration // what the budget leaves for the last copy
	Max              time.Duration // unless Firm, the highest in normal time, Budget or more
	HardMax          time.Duration // unless Firm, what is still better than a guest that is slowed down, Max or more
	UpperBound       time.Duration // no limit is ever above it, 0 for no such bound
	Firm             bool          // Budget holds at any time, also where the deadline is missed for it
	Patience         int           // passes that were no shorter than those before, until the first raise
	RaiseEvery       time.Duration // at least so long between two raises while a throttle works, a second without one
	ForceAfter       time.Duration // so long after its begin, as near the end of the window; 0 for never
	Window           time.Duration // the whole time of the migration, 0 without a deadline
	AutoConverge     bool          // the guest may be slowed down
	PostCopy         bool          // the guest may go on at the target before all of its memory is there
	Compress         bool          // what is sent may be compressed
	XBZRLECache      uint64        // bytes: the largest cache that XBZRLE may have, 0 for no XBZRLE
	SingleConnection bool          // over one connection, and as it is: compressing takes several
}

const (
	// DefaultInitialDowntime is low, as an idle guest needs no more: QEMU stops the guest as soon as no more is left than
	// the limit allows, also in the middle of a pass, and one more pass costs nobody anything.
	DefaultInitialDowntime = 2 * time.Millisecond
	defaultPatience        = 2
	firstRaise             = time.Second // after the last gain: passes of a small guest take no time
	longestWait            = 10 * time.Second

	// nearPart is the last part of the window in which meeting the deadline goes before the
	// pause: a stopped and cold-started guest is away for much longer than any pause.
	nearPart = 4

	// usualPause is what a move may cost where nobody has a budget: somewhat more than QEMU's own downtime limit of 300 ms,
	// which many a guest that writes much hardly misses for long. A budget that nobody asked for is not worth slowing a
	// guest down, as long as this much is enough.
	usualPause = 500 * time.Millisecond

	// longPause is what it may cost there before the guest is slowed down. In the lab a guest that QEMU slowed down as
	// far as it took stood still for 2 to 3 s in the end, and its clients had waited for it before.
	longPause = 2 * time.Second

	// LongestPause bounds a forced pause without a deadline.
	LongestPause = time.Minute

	// ThrottleFirst is where QEMU's auto-converge begins by itself, throttleMost where more is no use: the guest
	// is as good as stopped, and a pause of up to throttlePause is better. QEMU goes on to 99.
	ThrottleFirst = 20
	throttleMost  = 80
	throttlePause = time.Second

	// throttleSlice is how long QEMU lets a throttled guest run at a time.
	throttleSlice = 10 * time.Millisecond

	convergeTime = 30 * time.Second // what a throttle gets to work without a window, before post-copy
	endless      = 5 * time.Minute  // what a migration without a window gets to converge

	// wideLink is what one connection does not fill: one thread fills it, and memory is copied twice on
	// its way. Below manyBytes the further connections cost more than they bring.
	wideLink    = 1 << 30   // bytes per second
	UsualLink   = 110 << 20 // where none is known: gigabit Ethernet
	manyBytes   = 4 << 30
	connections = 4

	// CompressLink is what compressors fill at half of the bytes: each makes 200 MiB of pages per second into less
	// (zstd at level 1, on one processor). UsualShrink is by how much; guests' memory shrinks to between a third
	// and not at all, and it is not known before.
	CompressLink = 200 << 20
	compressors  = 2
	UsualShrink  = 2
)

// NewPolicy divides the window and the budget, of which the hand-over gets its part first, but
// at most half. A budget of 0 is DefaultBudget, and then a first limit above it is kept.
func NewPolicy(first, budget, handOver, window time.Duration) Policy {
	every := 5 * time.Second
	if window > 0 {
		every = min(max(window/20, time.Second), 10*time.Second)
	}
	asked := budget > 0
	if !asked {
		budget = DefaultBudget
	}
	p := Policy{Budget: max(budget-handOver, budget/2), Patience: defaultPatience, RaiseEvery: every, Window: window}
	switch {
	case first <= 0:
		p.InitialDowntime = min(DefaultInitialDowntime, p.Budget)
	case asked:
		p.InitialDowntime = min(first, p.Budget)
	default:
		p.InitialDowntime, p.Budget = first, max(first, p.Budget)
	}
	p.Max, p.HardMax = p.Budget, p.Budget
	if !asked {
		p.Max, p.HardMax = max(p.Budget, usualPause), max(p.Budget, longPause)
	}
	return p
}

// Within is p for a guest whose pause is longest at most, whatever happens; 0 leaves p as it is. The hand-over gets its
// part of it, as of the budget. Where nobody has a budget (asked is false), a pause of that length is what the caller allows, up to
// longPause, and it is not worth slowing the guest down as long as this is enough.
func (p Policy) Within(longest, handOver time.Duration, asked bool) Policy {
	if longest <= 0 {
		return p
	}
	p.UpperBound = max(longest-handOver, longest/2)
	p.InitialDowntime, p.Budget = min(p.InitialDowntime, p.UpperBound), min(p.Budget, p.UpperBound)
	p.Max, p.HardMax = min(p.Max, p.UpperBound), min(p.HardMax, p.UpperBound)
	if !asked {
		p.Max = min(p.UpperBound, longPause)
		p.HardMax = p.Max
	}
	return p
}

// State is how a migration goes at one instant, from what the hypervisor tells. Before the begin
// all is zero but Left, Used and what is predicted.
type State struct {
	Active    bool          // it is under way, maybe before its first pass: libvirt sets up, or copies disks
	Elapsed   time.Duration // since the migration began
	Left      time.Duration // until it would be aborted; ignored when the policy has no Window
	Iteration int           // the pass that is under way, 1 is the first
	Repeated  time.Duration // since the second pass began
	Sent      uint64        // bytes
	Remaining uint64        // bytes still to send
	Used      uint64        // bytes that the first pass has to send, 0 where not known
	Disks     uint64        // bytes of disks that were copied before, and would be again
	Rate      uint64        // bytes of memory per second: more than on the wire, where they are compressed
	DirtyRate uint64        // bytes per second that the guest writes, 0 where not known
	Best      time.Duration // the shortest last copy that one of the latest passes would have left, 0 where not known
	Stale     int           // passes since one last was a tenth better than Best until then
	Stagnant  time.Duration // since then
	Quiet     time.Duration // for how long nothing was sent
	Starved   time.Duration // for how long the link has been too slow, see Policy.starved

	AutoConverge bool // the migration was begun so that the guest may be slowed down
	Throttle     int  // taken from the guest at present
	Switched     bool // the guest runs at the target already

	Link        uint64  // bytes per second that the migration may put on the link, 0 where not known
	WorkingSet  uint64  // bytes that a pass after the first finds dirty at most, 0 where not known
	XBZRLE      bool    // the migration was begun with XBZRLE
	XBZRLERatio float64 // the part of a rewritten page that XBZRLE had to send at an earlier move, 0 where not known

	// What is predicted before the begin, from a measurement or an earlier move.
	Converges        bool // pre-copy alone ends within Max
	CompressionHelps bool // it does with half of the bytes, and without them not, or takes more than half of the time
	XBZRLEHelps      bool // with XBZRLE it ends much sooner, or without a throttle or a limit above Budget
	ThrottleNeeded   int  // per cent to take from the guest so that pre-copy ends within Max, 0 for none or where not known
}

// Decision is what is wanted now. It does not remember: the engine never lowers a limit, and
// switches and gives up once.
type Decision struct {
	DowntimeLimit time.Duration // the downtime limit
	Throttle      int           // per cent at which slowing the guest down begins, 0 for not at all
	Connections   int           // parallel ones, 0 for one; of use before the begin alone
	Compress      bool          // compress what is sent, on Connections; as above
	XBZRLECache   uint64        // bytes of the cache of XBZRLE, a power of two; 0 for no XBZRLE
	PostCopy      bool          // let the guest go on at the target now
	GiveUp        string        // why the migration cannot succeed, empty while it may
}

// Decide is the rule.
//
//   - The limit is InitialDowntime for as long as passes become shorter, and Patience passes more: a guest that
//     converges needs no higher one. Then it follows the shortest last copy that a pass would have left,
//     so that the switchover comes at a good moment and not at the first that is allowed, with more leeway
//     at each step, but never more often than once in RaiseEvery while a throttle works, and once a second without
//     one, up to Budget, and from there to Max. Where passes do not come below Max, but below HardMax, it is raised
//     to that, unless post-copy is allowed.
//   - It is at least as long as the throttle makes the guest stand still at a time, and what the last copy
//     needs, up to a second, once the throttle takes more than 80 per cent; unless Firm forbids it.
//   - In the last quarter of the window, and once ForceAfter has passed, it is as much as the last copy needs
//     at the present rate and a quarter more, at most half of the time that is left (a minute without a
//     window). Firm keeps it at Budget, and at no time is it above UpperBound.
//   - A throttle is wanted when passes do not come below HardMax. QEMU must be told of it at the begin: it is, where a
//     measurement says that it will be needed, or where there is not three times the time that the first
//     pass takes; else the migration is begun anew when passes show it.
//   - Post-copy is wanted when passes do not come below Max, and throttling, where that is allowed, has had half of the window
//     or all that it can take; and before it would be too late to get the rest across.
//   - Memory is compressed on its way over a link that compressors fill, where a measurement says that the guest
//     then need not be slowed down, or where it would take more than half of the time that is left. Several connections carry a
//     big guest over a link that one does not fill. Post-copy can have neither.
//   - XBZRLE is wanted when passes do not come below Max, before a throttle or a longer pause: it sends what changed of a
//     page, costs the guest nothing, and needs a cache for all pages that are written again and again. QEMU must
//     be told of it at the begin: it is, where an earlier move or a measurement says that it will be needed; else the
//     migration is begun again with it when passes show it.
//   - It is given up where what is left cannot be sent in the time that is left, even to a guest
//     that stands still; where the link carries nothing; and, without a window, where it does not converge.
//
// A guest that runs at the target already is beyond deciding.
func (p Policy) Decide(s State) Decision {
	d := Decision{DowntimeLimit: p.limit(s)}
	if s.Switched {
		return d
	}
	d.GiveUp = p.hopeless(s)
	if d.GiveUp != "" {
		return d
	}
	d.XBZRLECache, d.Throttle = p.cache(s), p.throttle(s)
	if d.XBZRLECache > 0 && !s.XBZRLE && !s.AutoConverge {
		d.Throttle = 0 // later, if that is not enough
	}
	d.PostCopy = p.PostCopy && p.switches(s) && (d.Throttle == 0 || s.AutoConverge)
	switch {
	case s.Begun() || p.PostCopy || p.SingleConnection || d.XBZRLECache > 0:
	case p.packs(s):
		d.Connections, d.Compress = compressors, true
	case s.Link >= wideLink && s.Used >= manyBytes:
		d.Connections = connections
	}
	return d
}

// packs tells whether what is sent is worth its compression. That costs the host's processors, which
// the guest is better off without than its own.
func (p Policy) packs(s State) bool {
	long := s.Link > 0 && p.Late(TransferTime(s.Used, s.Link), s.Left)
	return p.Compress && !p.SingleConnection && !p.PostCopy && s.Link <= CompressLink && (s.CompressionHelps || long)
}

const (
	// leastCache is QEMU's own default, and MaxXBZRLECache what the source may lend a guest that leaves. The cache holds a page
	// at the place that its address gives, so that twice the set keeps most pages apart.
	leastCache     = 64 << 20
	MaxXBZRLECache = 1 << 30

	// PoorXBZRLE is where XBZRLE sends so much of a page that it is no use.
	PoorXBZRLE = 0.5
)

// cache is how large a cache XBZRLE gets in bytes, 0 where it is not wanted. One thread encodes all pages, so that it is
// no use on a link that this does not fill.
func (p Policy) cache(s State) uint64 {
	size, link := cacheFor(s.WorkingSet), s.Link
	if !s.XBZRLE {
		link = max(link, s.Rate) // what is known of it may be none, or too little
	}
	fits := size > 0 && size <= p.XBZRLECache && !p.PostCopy && link <= CompressLink && s.XBZRLERatio < PoorXBZRLE
	switch {
	case !fits:
		return 0
	case s.XBZRLE:
		return size
	case s.Begun():
		if s.AutoConverge || !p.stuck(s) || !p.mayBeginAnew(s) {
			return 0
		}
	case !s.XBZRLEHelps || s.CompressionHelps && p.packs(s):
		return 0
	}
	return size
}

// cacheFor is the size of the cache for a working set in bytes, a power of two as QEMU wants; 0 where the set is not
// known or too large.
func cacheFor(set uint64) uint64 {
	if set == 0 || set > MaxXBZRLECache/2 {
		return 0
	}
	size := uint64(leastCache)
	for size < 2*set {
		size *= 2
	}
	return size
}

// Late tells whether what takes so long leaves less than half of the time.
func (p Policy) Late(took, left time.Duration) bool { return p.Window > 0 && took > left/2 }

func (p Policy) limit(s State) time.Duration {
	limit := p.unbounded(s)
	if p.UpperBound > 0 {
		limit = min(limit, p.UpperBound)
	}
	return limit
}

// unbounded is the limit without regard to UpperBound.
func (p Policy) unbounded(s State) time.Duration {
	limit := p.scheduled(s)
	if p.bears(s) {
		limit = max(limit, p.borne(s))
	}
	if !p.Firm {
		limit = max(limit, stall(s.Throttle))
	}
	if !p.Firm && s.Throttle > throttleMost {
		limit = max(limit, min(lastCopyAndMore(s), throttlePause))
	}
	near := p.Window > 0 && s.Iteration > 0 && s.Left <= p.Window/nearPart
	forced := p.ForceAfter > 0 && s.Elapsed >= p.ForceAfter
	if p.Firm || !near && !forced {
		return limit
	}
	most := LongestPause
	if p.Window > 0 {
		most = s.Left / 2
	}
	return max(limit, p.Budget, min(lastCopyAndMore(s), most))
}

// lastCopyAndMore is what the last copy needs at the present rate, and a quarter more.
func lastCopyAndMore(s State) time.Duration { return TransferTime(s.Remaining, s.Rate) * 5 / 4 }

// stall is how long a throttled guest stands still at a time: QEMU lets it run for 10 ms, and then sleep
// for as long as the per cent ask. Clients see that already, so that a last copy of the same length costs
// them nothing more, and ends the throttle.
func stall(percent int) time.Duration {
	percent = min(max(percent, 0), 99)
	return throttleSlice * time.Duration(percent) / time.Duration(100-percent)
}

// every is the time between two raises. A guest at full speed will not become slower by waiting.
func (p Policy) every(s State) time.Duration {
	if s.Throttle > 0 {
		return max(p.RaiseEvery, firstRaise)
	}
	return firstRaise
}

// Ceiling is the highest limit in normal time.
func (p Policy) Ceiling() time.Duration {
	if p.Firm {
		return p.Budget
	}
	return p.Max
}

// scheduled is the limit in normal time.
func (p Policy) scheduled(s State) time.Duration {
	n := 0
	if s.Stale >= p.Patience && s.Stagnant >= firstRaise {
		n = min(1+s.Stale-p.Patience, 1+int((s.Stagnant-firstRaise)/p.every(s)))
	}
	limit, fits := p.InitialDowntime, min(s.Best, p.Budget)*5/8
	for ; n > 0 && limit < p.Budget; n-- {
		fits = min(fits*2, p.Budget)
		limit = max(limit*2, fits)
	}
	limit = min(limit, p.Budget)
	for ; n > 0 && limit < p.Ceiling(); n-- {
		limit = min(max(limit*2, s.Best*5/4), p.Ceiling())
	}
	return limit
}

// stuck tells whether passes leave more than Max allows, as far as can be told. That the guest writes as fast as
// the link carries says it sooner, but not alone: what is written again and again counts as often as it is looked at,
// and that is more often the shorter the passes become.
func (p Policy) stuck(s State) bool {
	patience := p.Patience
	if s.Rate > 0 && s.DirtyRate >= s.Rate {
		patience = 1
	}
	return s.Iteration > 1 && s.Best > p.Ceiling() && s.Stale >= patience && s.Stagnant >= p.wait(s)
}

// bears tells whether passes stay above Max and a pause of HardMax at most is the better way out. It is not where post-copy is
// allowed, nor for ever: passes that are shorter now and then prove nothing.
func (p Policy) bears(s State) bool {
	return !p.Firm && !p.PostCopy && p.stuck(s) && s.Best <= p.HardMax && s.Stagnant < 4*p.wait(s)
}

// borne is that pause: as long as the shortest of the passes needs, and after as much time again all that may be.
func (p Policy) borne(s State) time.Duration {
	if s.Stagnant >= 2*p.wait(s) {
		return p.HardMax
	}
	return min(s.Best*5/4, p.HardMax)
}

// wait is how long passes get to become shorter again: half of what it would cost to begin anew, as a guest
// that writes almost as fast as the link carries does converge in the end.
func (p Policy) wait(s State) time.Duration {
	return min(max(TransferTime(s.Used, s.Rate)/2, firstRaise), longestWait)
}

func (p Policy) throttle(s State) int {
	percent := min(max(ThrottleFirst, s.ThrottleNeeded), throttleMost)
	switch {
	case !p.AutoConverge:
		return 0
	case s.AutoConverge:
		return max(percent, s.Throttle)
	case s.Begun():
		if p.stuck(s) && !p.bears(s) && p.mayBeginAnew(s) {
			return percent
		}
	case !s.Converges && (s.ThrottleNeeded > 0 && !(s.CompressionHelps && p.packs(s)) || !p.mayBeginAnew(s)):
		return percent
	}
	return 0
}

func (s State) Begun() bool { return s.Active || s.Iteration > 0 }

// mayBeginAnew tells whether all that was sent takes a third of the time that is left or less.
func (p Policy) mayBeginAnew(s State) bool {
	bytes, rate := s.Sent+s.Remaining, s.Rate
	if !s.Begun() {
		bytes, rate = s.Used, cmp.Or(s.Link, UsualLink)
	}
	return p.Window == 0 && s.Disks == 0 || p.Window > 0 && s.Left/3 > TransferTime(bytes+s.Disks, rate)
}

// rest is how long a post-copy needs for what is left, with as much again for half of it: the pages
// that the guest waits for come first, and each costs a round trip.
func (p Policy) rest(s State) time.Duration {
	return TransferTime(s.Remaining, s.Rate)*3/2 + 2*time.Second
}

func (p Policy) switches(s State) bool {
	rest := p.rest(s)
	if s.Iteration < 2 || s.Best <= p.Ceiling() || p.Window > 0 && s.Left <= rest {
		return false
	}
	if p.Window > 0 && s.Left <= 3*rest {
		return true // soon it is too late
	}
	patience := s.Repeated < convergeTime
	if p.Window > 0 {
		patience = s.Left > p.Window/2
	}
	return p.stuck(s) && (!p.AutoConverge || s.Throttle >= throttleMost || !patience)
}

// Grace is how long the link may fail before that is believed.
func (p Policy) Grace() time.Duration {
	if p.Window == 0 {
		return LongestPause
	}
	return min(max(p.Window/8, 5*time.Second), 30*time.Second)
}

// starved tells whether what is left cannot be sent in time at the present rate. In the first pass
// that is known only of a guest whose use of memory is: pages that it never touched cost nothing.
func (p Policy) starved(s State) bool {
	left := s.Remaining
	if s.Iteration < 2 {
		left = min(left, max(s.Used, s.Sent)-s.Sent)
	}
	return p.Window > 0 && s.Iteration > 0 && TransferTime(left, s.Rate) > s.Left
}

func (p Policy) hopeless(s State) string {
	converges := p.PostCopy || p.ForceAfter > 0 && p.UpperBound == 0 || s.Best <= p.Ceiling() || s.AutoConverge && s.Throttle < throttleMost && s.Repeated < 2*endless
	switch {
	case s.Iteration > 0 && s.Quiet >= p.Grace():
		return fmt.Sprintf("the link has carried nothing for %v", s.Quiet.Round(time.Second))
	case p.starved(s) && s.Starved >= p.Grace():
		return fmt.Sprintf("%d MiB are left, and the link carries %.1f MiB/s: they would not be sent in the %v that are left",
			s.Remaining>>20, float64(s.Rate)/(1<<20), s.Left.Round(time.Second))
	case p.Window == 0 && s.Repeated >= endless && p.scheduled(s) >= p.Ceiling() && !converges:
		return fmt.Sprintf("the guest writes so fast that a last copy takes %v, and no more than %v is allowed", s.Best.Round(time.Millisecond), p.Ceiling())
	}
	return ""
}

// TransferTime is how long so many bytes take, at most ten years: a stalled link makes it longer than a
// Duration holds.
func TransferTime(bytes, rate uint64) time.Duration {
	const most = 10 * 365 * 24 * time.Hour
	if bytes == 0 {
		return 0
	}
	if s := float64(bytes) / float64(rate); s < most.Seconds() { // rate 0 makes it infinite
		return time.Duration(s * float64(time.Second))
	}
	return most
}
