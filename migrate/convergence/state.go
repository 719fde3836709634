package convergence

import (
	"cmp"
	"time"
)

// State is how a migration goes at one instant, from what the hypervisor reports. Before the begin
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
	Stale     int           // passes since one was a tenth better than all before it
	Stagnant  time.Duration // since then
	Quiet     time.Duration // for how long nothing was sent
	Starved   time.Duration // for how long the link has been too slow to send the rest in time

	AutoConverge bool // the migration was begun with auto-converge
	Throttle     int  // per cent taken from the guest at present
	Switched     bool // the guest runs at the target already, in post-copy

	Link        uint64  // bytes per second that the migration may put on the link, 0 where not known
	WorkingSet  uint64  // bytes that a pass after the first finds dirty at most, 0 where not known
	XBZRLE      bool    // the migration was begun with XBZRLE
	XBZRLERatio float64 // the part of a rewritten page that XBZRLE had to send at an earlier move, 0 where not known

	// What is predicted before the begin, from a measurement or an earlier move.
	Converges        bool // pre-copy alone ends within Max
	CompressionHelps bool // it does with half of the bytes, and without them not, or takes more than half of the time
	XBZRLEHelps      bool // with XBZRLE it ends much sooner, or without a throttle or a limit above Budget
	// per cent to take from the guest so that pre-copy ends within Max, 0 for none or where not known
	ThrottleNeeded int
}

const (
	firstRaise  = time.Second // after the last gain: passes of a small guest take no time
	longestWait = 10 * time.Second
)

// UsualLink is what a link is taken to carry of which nothing is known, in bytes per second: gigabit Ethernet.
const UsualLink = 110 << 20

// Begun reports whether the migration is under way.
func (s State) Begun() bool { return s.Active || s.Iteration > 0 }

func (s State) link() uint64 { return cmp.Or(s.Link, UsualLink) }

// lastCopy is what the last copy needs at the present rate, and a quarter more.
func (s State) lastCopy() time.Duration { return TransferTime(s.Remaining, s.Rate) * 5 / 4 }

// wait is how long passes get to become shorter again: half of what a second begin would cost, as a guest
// that writes almost as fast as the link carries does converge in the end.
func (s State) wait() time.Duration {
	return min(max(TransferTime(s.Used, s.Rate)/2, firstRaise), longestWait)
}

// starved reports whether what is left cannot be sent in time at the present rate. In the first pass
// that is known only of a guest whose use of memory is: pages that it never touched cost nothing.
func (s State) starved(window time.Duration) bool {
	left := s.Remaining
	if s.Iteration < 2 {
		left = min(left, max(s.Used, s.Sent)-s.Sent)
	}
	return window > 0 && s.Iteration > 0 && TransferTime(left, s.Rate) > s.Left
}

// TransferTime is how long so many bytes take at a rate in bytes per second, at most ten years: a stalled link makes it
// longer than a Duration holds.
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
