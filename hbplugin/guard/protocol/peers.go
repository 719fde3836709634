package protocol

import (
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
)

// Slot takes a good read of another node's slot, which began at begun and ended now.
func (g *Guard) Slot(s lease.Slot, begun, now time.Duration) {
	p := g.peer(s.Node)
	if p == nil {
		return
	}
	p.read = max(p.read, begun)
	if !p.seen || s.Newer(p.slot) {
		p.slot, p.seen, p.changed, p.wrote, p.sworn = s, true, now, now, false
	}
	if s == p.slot {
		p.shown = max(p.shown, begun)
	}
	p.told.read(p, begun)
}

// Claim takes a good read of another node's claim against this one.
func (g *Guard) Claim(c lease.Claim) {
	if p := g.peer(c.From); p != nil {
		p.theirs = c
	}
}

// ClaimWritten takes the good end of the write of a claim that Step handed out.
func (g *Guard) ClaimWritten(c lease.Claim) {
	if p := g.peer(c.Target); p != nil {
		p.written = c
	}
}

// Member takes whether the cluster manager sees a node as a member.
func (g *Guard) Member(id int, member bool) {
	if p := g.peer(id); p != nil {
		p.member = member
		p.sworn = p.sworn && !member
	}
}

// Revoked takes the proof, now, that a node's access to the disks is revoked, in that generation of its lease.
func (g *Guard) Revoked(id int, generation uint64, now time.Duration) {
	if p := g.peer(id); p != nil && p.inForce {
		p.revoked, p.closed = generation, now
	}
}

// Fence asks for the proof that a node runs no guest; Step answers. A second call for the same node joins the first:
// one verdict answers both, at the later deadline, by what is read from now on.
func (g *Guard) Fence(id int, now, deadline time.Duration) {
	if p := g.peer(id); p != nil {
		if p.call != nil {
			deadline = max(deadline, p.call.deadline)
		}
		p.call = &call{begun: now, deadline: deadline, ordered: p.member}
	}
}

// Unfence takes that nobody waits for the verdict on a node any more. The claim against it is withdrawn.
func (g *Guard) Unfence(id int) {
	if p := g.peer(id); p != nil {
		p.call = nil
	}
}

// guarded reports whether a guard has written p's slot: what "vmferry guard init" has written is the word of no guard,
// and guests may run on a node that has none.
func (p *peer) guarded() bool { return p.slot.Instance != lease.Instance{} }

// surrendered reports whether p's slot, as last read, says so itself.
func (p *peer) surrendered() bool { return p.slot.State == lease.Surrendered && p.guarded() }

// isGone reports whether p's guests are proven gone, as it was last read.
func (p *peer) isGone() bool { return p.surrendered() || p.sworn || p.proven == p.slot.Generation }

// expired reports whether p's lease has expired: a read that began when its count had ended showed the old renewal.
func (g *Guard) expired(p *peer) bool { return p.seen && !p.surrendered() && g.silent(p) }

// silent reports whether a read that began when the count of p's lease had ended showed nothing new of p.
func (g *Guard) silent(p *peer) bool { return p.read-p.changed >= g.times.Expiry(p.slot.Watchdog) }

// claimed reports whether p's claim against this node is in force: both are of the generations that are now, p holds
// its lease, and p is alive.
func (g *Guard) claimed(p *peer, now time.Duration) bool {
	c := p.theirs
	return c.Open() && p.slot.State == lease.Held && c.FromGeneration == p.slot.Generation &&
		c.TargetGeneration == g.slot.Generation && now-p.changed <= g.times.Fresh()
}
