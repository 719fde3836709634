package protocol

import (
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
)

// Renewal is the slot to write next, where one is to be written. begun is the time before the call. The writer has one
// write under way at a time. A node without a lease does not write while another machine writes the same slot: that one
// may hold a lease, and must not be said to have surrendered.
func (g *Guard) Renewal(begun time.Duration) (lease.Slot, bool) {
	s := &g.slot
	switch {
	case g.phase == Killing && !g.emptied, g.leased() && g.Age(begun) >= g.times.SelfKill,
		!g.leased() && begun-g.watched < g.times.Fresh():
		return lease.Slot{}, false
	case g.phase == Out || g.phase == Killing:
		s.State = lease.Surrendered
	case g.phase == Moving:
		s.State = lease.Moving
	default:
		s.State = lease.Held
	}
	s.Counter++
	s.Reached, s.Guests, s.Watchdog = g.here.Reached, g.here.Guests, g.here.Watchdog
	if g.blind(begun) {
		s.Reached = 0 // no other node is worse off than this one, see package health
	}
	return *s, true
}

// leased reports whether the lease is renewed.
func (g *Guard) leased() bool { return g.phase == Opening || g.phase == Held || g.phase == Moving }

// Renewed takes the good end, now, of a write that began at begun.
func (g *Guard) Renewed(s lease.Slot, begun, now time.Duration) {
	if s.Generation != g.slot.Generation {
		return
	}
	g.written = max(g.written, s.Counter)
	switch {
	case g.phase == Killing && s.State == lease.Surrendered && g.emptied:
		g.enter(Out, "surrendered: "+g.why)
	case g.leased():
		g.good = max(g.good, begun)
		if g.opened == 0 {
			g.opened = now
		}
	}
}

// Emptied takes the proof that, since Step last ordered to kill, every guest's process is gone and no socket of one has
// data to send.
func (g *Guard) Emptied() { g.emptied = g.phase == Killing }

// LinkRenewal takes a renewal that came over the link, and reports whether it is to be acknowledged: the sender counts
// on it that its lease is not taken as expired. written is the counter of the newest slot of that generation that the
// sender knows to be on its device, 0 for none.
func (g *Guard) LinkRenewal(from int, generation, written uint64, now time.Duration) bool {
	p := g.peer(from)
	if p == nil || p.inForce && generation <= p.gone {
		return false
	}
	p.changed, p.sworn = now, false
	p.foreign = false
	p.told.tell(renewal{generation, written}, p, now)
	return true
}

// LinkAck takes the acknowledgement of the own renewal of generation that was sent at begun.
func (g *Guard) LinkAck(from int, generation uint64, begun time.Duration) {
	p := g.peer(from)
	if p == nil {
		return
	}
	if p.foreign = false; generation == g.slot.Generation && g.leased() {
		p.acked = max(p.acked, begun)
	}
}

// OwnSlot takes a good read of the own slot, which began at begun and ended now. The age of the lease counts from it,
// and two machines that run as one node see each other there.
func (g *Guard) OwnSlot(s lease.Slot, begun, now time.Duration) {
	g.looked = max(g.looked, begun)
	if s.Instance == g.slot.Instance || s == g.foreign {
		return
	}
	g.foreign, g.watched = s, now
	switch {
	case g.leased() && s.Generation >= g.slot.Generation:
		g.enter(Killing, "another machine runs as this node: it writes the same slot")
	case !g.leased() && s.Newer(g.slot):
		g.slot.Generation, g.slot.Counter = s.Generation, s.Counter
	}
}
