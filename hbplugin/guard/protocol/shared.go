package protocol

import (
	"fmt"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
)

// told is what another node says over the link of its lease device.
type told struct {
	first, last renewal       // the oldest renewal on it that no read here has shown, and the newest
	at          time.Duration // when last was told
	counted     bool          // a read that began since then is among missed
	missed      int           // renewals that were told before a read began which showed neither them nor first
}

// notTheSame is how many renewals have to be missed until the device here is another one. A single read may be of a
// block over which a late write of an older renewal has just come, and the next renewal is then late.
const notTheSame = 4

// renewal names a write of a slot.
type renewal struct{ generation, counter uint64 }

func (r renewal) isNewer(s lease.Slot) bool {
	return lease.Slot{Generation: r.generation, Counter: r.counter}.Newer(s)
}

// tell takes that p says that r is on its device.
func (t *told) tell(r renewal, p *peer, now time.Duration) {
	last := lease.Slot{Generation: t.last.generation, Counter: t.last.counter}
	switch {
	case r.counter == 0:
	case t.first == (renewal{}) && r.isNewer(p.slot):
		*t = told{first: r, last: r, at: now}
	case t.first != (renewal{}) && r.isNewer(last):
		t.last, t.at, t.counted = r, now, false
	}
}

// read takes a good read of p's slot, which began at begun; p.slot is the newest one that was ever read. What a read
// that fails or hangs does not show, and what p cannot write, is no evidence.
func (t *told) read(p *peer, begun time.Duration) {
	switch {
	case !t.first.isNewer(p.slot):
		*t = told{}
	case begun >= t.at && !t.counted:
		t.counted = true
		t.missed++
	}
}

// Written is the newest renewal of this generation that is known to be on the device, by its counter; 0: none is. A
// node that cannot read the device does not say: the others would take it for well off.
func (g *Guard) Written(now time.Duration) uint64 {
	if g.blind(now) {
		return 0
	}
	return g.written
}

// LinkForeign takes that a guard which has another lease device sends over the link as that node. It is not
// authenticated: no lease is lost by it, but nothing that the slot of that node says here is taken as a proof until it
// is heard again.
func (g *Guard) LinkForeign(from int) {
	if p := g.peer(from); p != nil {
		p.foreign = true
	}
}

// LinkHeard takes an authenticated message of a node that renews nothing: its guard has this lease device.
func (g *Guard) LinkHeard(from int) {
	if p := g.peer(from); p != nil {
		p.foreign = false
	}
}

// notShared says why the lease device is not the one that p has; empty: nothing says so.
func (g *Guard) notShared(p *peer) string {
	switch {
	case p.told.missed >= notTheSame:
		return fmt.Sprintf("the lease device is not shared with node %s: it has written renewal %d of generation %d, "+
			"which is not on the device here", g.name(p), p.told.first.counter, p.told.first.generation)
	case p.foreign:
		return fmt.Sprintf("the lease device is not shared with node %s: its guard uses another one", g.name(p))
	}
	return ""
}

// unshared is why the device is not the one that some other node has; proven: an authenticated message says so.
func (g *Guard) unshared() (why string, proven bool) {
	for _, p := range g.peers {
		if text := g.notShared(p); text != "" && !proven {
			why, proven = text, !p.foreign
		}
	}
	return why, proven
}

// share ends the lease of a node that runs no guest where the device is not shared. With guests the lease is kept:
// nobody who has another device can prove anything of this node, and killing them would help nobody. But none is
// started.
func (g *Guard) share() {
	if why, proven := g.unshared(); proven && (g.phase == Opening || g.phase == Held && g.here.Guests == 0) {
		g.enter(Killing, why)
	}
}
