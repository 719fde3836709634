package protocol

import (
	"fmt"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
)

// Orders is what is to be done now. It is whole each time: what is not in it is not wanted any more.
type Orders struct {
	Run      bool          // guests may be started here
	Kill     bool          // kill every guest, again and again, and report Emptied
	MoveTo   int           // move the guests to this node; 0: to none
	Until    time.Duration // the time for MoveTo ends then
	Watchdog bool          // feed the hardware watchdog
	Rejoin   bool          // the guests are gone: restart the cluster manager's daemons, which count on them
	Claims   []lease.Claim // to be written
	Revoke   []Revocation
	Verdicts []Verdict // of the fence calls that are decided
}

// Revocation is the access of a node to be revoked, in a generation of its lease.
type Revocation struct {
	Node       int
	Generation uint64
}

// Verdict is the answer to a fence call.
type Verdict struct {
	Target   int
	Fenced   bool
	Evidence string
}

// Step says what is to be done at now. Nothing else changes with time alone.
func (g *Guard) Step(now time.Duration) Orders {
	g.age(now)
	g.open()
	g.share()
	var o Orders
	for _, p := range g.peers {
		g.claim(p, now)
	}
	for _, p := range g.peers {
		if g.phase != Held && p.mine.Open() {
			p.mine.Withdrawn = true
		}
		if p.mine != p.written {
			o.Claims = append(o.Claims, p.mine)
		}
		g.fence(p, now, &o)
	}
	g.proveFor(now, &o)
	_, unshared := g.unshared()
	o.Run = g.phase == Held && !unshared
	o.Kill = g.phase == Killing || g.phase == Out
	if g.phase == Moving {
		o.MoveTo, o.Until = g.claimer, g.until
	}
	o.Watchdog = g.phase != Killing
	// Not only once that is on the device, which may be cut off for long: a manager that goes on would stop the other
	// node's copies when it meets its own again.
	o.Rejoin = g.rejoin && (g.phase == Out || g.phase == Killing && g.emptied)
	return o
}

// Rejoined takes that the cluster manager's daemons were restarted. What they said before of the members is void: a
// node that hung saw members that had long fenced it.
func (g *Guard) Rejoined() {
	g.rejoin = false
	for _, p := range g.peers {
		p.member = false
	}
}

// age ends a lease that is too old, and a surrender that has moved all it could.
func (g *Guard) age(now time.Duration) {
	switch {
	case g.leased() && g.Age(now) >= g.times.SelfKill:
		g.enter(Killing, fmt.Sprintf("the lease is %s old: %s are allowed", g.Age(now), g.times.SelfKill))
	case g.phase == Moving && (now >= g.until || g.here.Guests == 0):
		g.enter(Killing, g.why)
	}
}

// Stuck takes that no further guest can be moved, and why: those that are left are killed at once.
func (g *Guard) Stuck(why string) {
	if g.phase == Moving {
		g.enter(Killing, g.why+"; "+why)
	}
}

// open ends the opening of a generation. Two nodes that open at the same time do not see each other's slot when they
// begin; at least one of them does when it reads again after its own is on disk.
func (g *Guard) open() {
	if g.phase != Opening || g.opened == 0 {
		return
	}
	switch p := g.unproven(g.opened); {
	case p == nil:
		g.enter(Held, "the lease is held")
	case p.read > g.opened:
		g.enter(Killing, fmt.Sprintf("node %s has taken its lease too, and is no member of the cluster", g.name(p)))
	}
}

// claim keeps the claim against p: it is made for a fence call and in answer to p's own, it is bound to p's once, and
// it is withdrawn when neither is there. It surrenders to p's where that wins.
func (g *Guard) claim(p *peer, now time.Duration) {
	against := g.claimed(p, now)
	answers := against && (p.theirs.Quorate || p.theirs.Ordered) // two mere answers would keep each other up
	calls := p.call != nil && g.quorate(g.size(p, now))
	switch {
	case g.phase != Held || !answers && !calls:
		p.mine.Withdrawn = p.mine.Split != 0
		return
	case !p.seen:
		return
	case !p.mine.Open(),
		p.mine.FromGeneration != g.slot.Generation, p.mine.TargetGeneration != p.slot.Generation,
		against && p.mine.Answers != 0 && p.mine.Answers != p.theirs.Split:
		p.mine = g.freeze(p, now)
	}
	if against && p.mine.Answers == 0 && (p.theirs.Answers == 0 || p.theirs.Answers == p.mine.Split) {
		p.mine.Answers = p.theirs.Split
	}
	if against && p.written == p.mine && p.mine.Bound(p.theirs) && p.theirs.Beats(p.mine) {
		g.enter(Moving, g.text(p.theirs)+" beats "+g.text(p.mine))
		g.claimer, g.until = p.id, now+g.times.Move
	}
}

// freeze is a new claim against p, with what this node's side of the split is now. With three nodes and more the
// cluster managers know who has the quorum, and only the side that has it asks for a fencing: an answer to its claim
// does not win, whatever a node that has not noticed the split yet counts.
func (g *Guard) freeze(p *peer, now time.Duration) lease.Claim {
	// A claim of the guard before this one can still reach the disk: its number must not be used again.
	number := max(p.mine.Split, uint64(g.began.Milliseconds())) + 1
	c := lease.Claim{
		From: g.slot.Node, Target: p.id, Split: number,
		FromGeneration: g.slot.Generation, TargetGeneration: p.slot.Generation,
		Ordered: p.call != nil && p.call.ordered,
		Members: 1, Reached: g.here.Reached, Guests: g.here.Guests, First: g.slot.Node,
	}
	for _, q := range g.side(p, now) {
		c.Members++
		c.Reached = max(c.Reached, q.slot.Reached)
		c.Guests += q.slot.Guests
		c.First = min(c.First, q.id)
	}
	all := len(g.peers) + 1
	c.Quorate = !g.here.Unmanaged && (2*c.Members == all || 2*c.Members > all && p.call != nil)
	return c
}

// side are the other nodes on this node's side where p is not: it sees them, and they do not claim its guests.
func (g *Guard) side(p *peer, now time.Duration) (all []*peer) {
	for _, q := range g.peers {
		if q != p && q.member && !g.claimed(q, now) {
			all = append(all, q)
		}
	}
	return all
}

// size is how many nodes are on this node's side where p is not.
func (g *Guard) size(p *peer, now time.Duration) int { return 1 + len(g.side(p, now)) }

// quorate reports whether so many nodes are half of all or more. Of two halves the claims decide.
func (g *Guard) quorate(members int) bool { return 2*members >= len(g.peers)+1 }

// fence decides on a fence call for p, or says what has to be done for it first.
func (g *Guard) fence(p *peer, now time.Duration, o *Orders) {
	if p.call == nil {
		return
	}
	fenced, evidence := g.judge(p, now, o)
	if evidence == "" {
		return
	}
	p.call = nil
	o.Verdicts = append(o.Verdicts, Verdict{Target: p.id, Fenced: fenced, Evidence: evidence})
}

// judge is the answer to the fence call for p; evidence is empty where there is none yet.
func (g *Guard) judge(p *peer, now time.Duration, o *Orders) (fenced bool, evidence string) {
	current := p.seen && p.read > p.call.begun // at the same tick of the clock it may have come before
	generation := p.slot.Generation
	switch {
	case g.phase != Held:
		return false, "this node does not hold its lease: " + g.why
	case g.notShared(p) != "":
		return false, g.notShared(p)
	case !g.quorate(g.size(p, now)):
		return false, fmt.Sprintf("this node has no quorum: it sees %d of %d nodes", g.size(p, now), len(g.peers)+1)
	case p.seen && p.shown > p.call.begun && p.surrendered():
		surrendered := fmt.Sprintf("node %s has surrendered generation %d", g.name(p), generation)
		if !g.policy.Revoke {
			return true, surrendered
		}
		return g.prove(p, p.shown, now, o, surrendered,
			", but its access to the disks is not revoked: its last writes may not have ended")
	case current && g.expired(p):
		waited := fmt.Sprintf("no renewal of node %s's generation %d was seen for %s", g.name(p), generation,
			p.read-p.changed)
		lacking := ", but nothing proves that a hung node cannot wake up and write"
		if !p.guarded() {
			waited = fmt.Sprintf("no guard has run on node %s since the lease device was initialized", g.name(p))
			lacking = ", and nothing proves that it runs no guest"
		}
		return g.prove(p, p.read, now, o, waited, lacking)
	case p.member && !p.call.ordered:
		return false, fmt.Sprintf("node %s is a member of the cluster again", g.name(p))
	case now >= p.call.deadline && now-p.read > g.times.Fresh():
		return false, fmt.Sprintf("the slot of node %s cannot be read", g.name(p))
	case now >= p.call.deadline:
		return false, fmt.Sprintf("node %s still renews its lease, and has not surrendered", g.name(p))
	}
	return false, ""
}

// prove is the answer to the fence call for p, which holds no lease any more as evidence says, once nothing of it can
// write. At the deadline of the call it is what is lacking.
func (g *Guard) prove(p *peer, looked, now time.Duration, o *Orders, evidence, lacking string) (bool, string) {
	if proof := g.proof(p, looked, o); proof != "" {
		return true, evidence + proof
	}
	if now >= p.call.deadline {
		return false, evidence + lacking + g.advice(p)
	}
	return false, ""
}

// proof is why nothing of a node whose lease has expired can write any more, empty where nothing proves that. It orders
// the revocation that does. While a revocation goes on the node may take its lease again, in a generation that it does
// not concern: looked, the begin of the read that counts, must be later.
func (g *Guard) proof(p *peer, looked time.Duration, o *Orders) (why string) {
	generation := p.slot.Generation
	revoked := p.revoked == generation
	switch {
	case p.sworn:
		why = ", and the administrator has confirmed that it is off"
	case g.policy.Revoke && !revoked:
		o.Revoke = append(o.Revoke, Revocation{Node: p.id, Generation: generation})
	case g.policy.Revoke && looked <= p.closed:
	case g.policy.Revoke:
		why = ", and its access to the disks is revoked"
	case p.slot.Watchdog > 0:
		why = fmt.Sprintf(", and its watchdog of %s has fired", p.slot.Watchdog)
	case g.policy.TrustExpiry && p.guarded(): // where no guard ran, none has ended the guests when the time was up
		why = ", and trust-expiry is set"
	default:
		return ""
	}
	p.gone, p.inForce = generation, true
	if why != "" && !p.sworn {
		p.proven = generation
	}
	return why
}

// proveFor looks for the proofs that Open lacked a moment ago.
func (g *Guard) proveFor(now time.Duration, o *Orders) {
	if g.phase != Out || g.asked == 0 || now-g.asked > g.times.Fresh() {
		return
	}
	for _, p := range g.peers {
		if !p.member && now-p.read <= g.times.Fresh() && g.expired(p) {
			g.proof(p, p.read, o)
		}
	}
}
