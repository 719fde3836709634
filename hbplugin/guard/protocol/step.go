package protocol

import (
	"fmt"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
)

// Orders is what is to be done now. It is whole each time: what is not in it is not wanted any more.
type Orders struct {
	Run      bool          // guests may run and may be started here
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
	o.Run = g.phase == Held
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

// Rejoined takes that the cluster manager's daemons were restarted.
func (g *Guard) Rejoined() { g.rejoin = false }

// age ends a lease that is too old, and a surrender that has moved all it could.
func (g *Guard) age(now time.Duration) {
	switch {
	case g.leased() && g.Age(now) >= g.times.SelfKill:
		g.enter(Killing, fmt.Sprintf("the lease is %s old: %s are allowed", g.Age(now), g.times.SelfKill))
	case g.phase == Moving && (now >= g.until || g.here.Guests == 0):
		g.enter(Killing, g.why)
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
	case p.read >= g.opened:
		g.enter(Killing, fmt.Sprintf("node %d has taken its lease too, and is no member of the cluster", p.id))
	}
}

// claim keeps the claim against p: it is made for a fence call and in answer to p's own, it is bound to p's once, and
// it is withdrawn when neither is there. It surrenders to p's where that wins.
func (g *Guard) claim(p *peer, now time.Duration) {
	against := g.claimed(p, now)
	switch {
	case g.phase != Held || p.call == nil && !against:
		p.mine.Withdrawn = p.mine.Split != 0
		return
	case !p.seen:
		return
	case !p.mine.Open(),
		p.mine.FromGeneration != g.slot.Generation, p.mine.TargetGeneration != p.slot.Generation,
		against && p.mine.Answers != 0 && p.mine.Answers != p.theirs.Split:
		p.mine = g.freeze(p)
	}
	if against && p.mine.Answers == 0 && (p.theirs.Answers == 0 || p.theirs.Answers == p.mine.Split) {
		p.mine.Answers = p.theirs.Split
	}
	if against && p.written == p.mine && p.mine.Bound(p.theirs) && p.theirs.Beats(p.mine) {
		g.enter(Moving, fmt.Sprintf("%v beats %v", p.theirs, p.mine))
		g.claimer, g.until = p.id, now+g.times.Move
	}
}

// freeze is a new claim against p, with what this node measures now.
func (g *Guard) freeze(p *peer) lease.Claim {
	return lease.Claim{
		From: g.slot.Node, Target: p.id, Split: p.mine.Split + 1,
		FromGeneration: g.slot.Generation, TargetGeneration: p.slot.Generation,
		Ordered: p.call != nil && p.call.ordered,
		Members: g.without(p), Reached: g.here.Reached, Guests: g.here.Guests,
	}
}

// without is how many members this node sees, with itself, but for p: whether p has already been missed says only which of
// the two looked later.
func (g *Guard) without(p *peer) int {
	n := 1
	for _, each := range g.peers {
		if each != p && each.member {
			n++
		}
	}
	return n
}

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
	current := p.seen && p.read >= p.call.begun
	generation := p.slot.Generation
	switch {
	case g.phase != Held:
		return false, "this node does not hold its lease: " + g.why
	case current && p.slot.State == lease.Surrendered:
		return true, fmt.Sprintf("node %d has surrendered generation %d", p.id, generation)
	case current && g.expired(p):
		p.gone, p.inForce = generation, true
		waited := fmt.Sprintf("no renewal of node %d's generation %d was seen for %s", p.id, generation, p.read-p.changed)
		switch {
		case g.policy.Revoke && p.revoked == generation:
			return true, waited + ", and its access to the disks is revoked"
		case g.policy.Revoke:
			o.Revoke = append(o.Revoke, Revocation{Node: p.id, Generation: generation})
		case p.slot.Watchdog > 0:
			return true, fmt.Sprintf("%s, and its watchdog of %s has fired", waited, p.slot.Watchdog)
		case g.policy.TrustExpiry:
			return true, waited + ", and trust-expiry is set"
		}
		if now >= p.call.deadline {
			return false, waited + ", but nothing proves that a hung node cannot wake up and write"
		}
		return false, ""
	case p.member && !p.call.ordered:
		return false, fmt.Sprintf("node %d is a member of the cluster again", p.id)
	case now >= p.call.deadline && now-p.read > g.times.Fresh():
		return false, fmt.Sprintf("the slot of node %d cannot be read", p.id)
	case now >= p.call.deadline:
		return false, fmt.Sprintf("node %d still renews its lease, and has not surrendered", p.id)
	}
	return false, ""
}
