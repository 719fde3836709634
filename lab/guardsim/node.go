package guardsim

import (
	"cmp"
	"slices"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
)

// node is one machine: what its guard's executor does, in the order in which a tick brings it, and its manager.
type node struct {
	*world
	id      int
	guard   *protocol.Guard // nil: not running
	up      bool
	hung    bool
	diskCut bool
	readCut bool // reads fail alone, or hang
	hangs   bool // they hang: the reads of the first look end when the fault does
	reached int
	boots   byte
	yielded bool    // it surrendered to a claim, and has not taken its lease again
	rate    float64 // of its clock

	copies  [guests]bool
	renewal *pending
	claims  map[int]*pending
	renew   time.Duration // when the next renewal is due, true time, as all below
	poll    time.Duration
	hanging time.Duration // when the look that hangs began, by the node's clock; 0: none does
	gone    time.Duration // when the guests that are being killed are gone; 0: none is
	revoke  time.Duration // when the revocation under way ends; 0: none is
	restart time.Duration // when systemd starts the guard again

	resumes  bool          // the guard that was killed held its lease
	good     time.Duration // of the guard that was killed: its last good renewal, by the node's clock
	deadline time.Duration // when the second process has killed the guests, by the node's clock; 0: it has nothing to do
	manager  manager
	rest     []*node // the other nodes
	orders   protocol.Orders
}

// pending is a write whose end the node waits for.
type pending struct {
	*write
	begun time.Duration // by the node's clock
	slot  lease.Slot
	claim lease.Claim
}

func newNode(w *world, id int) *node {
	n := &node{world: w, id: id, reached: 2, claims: map[int]*pending{}}
	n.rate = 1 + (2*w.rand.Float64()-1)*w.Times.Drift
	n.boot()
	return n
}

// clock is CLOCK_BOOTTIME of the node. It begins far from 0: no moment may pass for "never".
func (n *node) clock() time.Duration {
	return time.Hour + time.Duration(float64(n.now)*n.rate)
}

func (n *node) crash() {
	n.up, n.yielded, n.guard, n.copies, n.orders = false, false, nil, [guests]bool{}, protocol.Orders{}
	n.hanging = 0
	n.manager.starts, n.gone, n.revoke, n.renewal, n.claims = [guests]time.Duration{}, 0, 0, nil, map[int]*pending{}
}

func (n *node) boot() {
	if n.up {
		return
	}
	n.up, n.boots, n.resumes, n.deadline = true, n.boots+1, false, 0
	n.manager.restart(n.now)
	n.restart = n.now
}

// killGuard is kill -9 of the guard: its second process kills the guests when the lease has run out. A guard that is back
// before takes the lease over.
func (n *node) killGuard() {
	if n.up && !n.hung && n.guard != nil {
		now := n.clock()
		n.resumes, n.good = n.phase() == protocol.Held, now-n.guard.Age(now)
		n.deadline = n.good + n.Times.SelfKill + n.between(0, n.Times.Kill-3*tick)
		n.guard, n.restart, n.orders = nil, n.now+n.between(tick, 2*time.Second), protocol.Orders{}
		n.hanging = 0
		n.renewal, n.claims = nil, map[int]*pending{} // they land all the same, and nobody is told
	}
}

// live is one tick of the node.
func (n *node) live() {
	if !n.up || n.hung {
		return
	}
	if n.chance(0.1) { // it was not scheduled
		return
	}
	if n.guard == nil && !n.startGuard() {
		if n.deadline != 0 && n.clock() >= n.deadline {
			n.killGuests()
		}
		return
	}
	now := n.clock()
	n.finishWrites(now)
	n.look(now)
	n.link(now)
	n.guard.Measured(protocol.Here{Reached: n.reached, Guests: n.count()})
	n.manage(now)
	before, _ := n.guard.Phase()
	n.orders = n.guard.Step(now)
	n.noteChange(before)
	n.act(now)
	n.beginWrites(now)
}

// startGuard begins the guard where it is due and its slot and claims can be read.
func (n *node) startGuard() bool {
	if n.now < n.restart {
		return false
	}
	own, good := n.disk.slot(n, n.id)
	var claims []lease.Claim
	for _, other := range n.rest {
		claim, fine := n.disk.claim(n, n.id, other.id)
		claims, good = append(claims, claim), good && fine
	}
	if !good {
		return false
	}
	now := n.clock()
	n.guard = protocol.New(own, lease.Instance{byte(n.id), n.boots}, claims, n.Times, n.Policy, now)
	if n.resumes && now < n.deadline {
		n.guard.Resume(own, n.good, now)
	}
	n.resumes, n.deadline = false, 0
	return true
}

func (n *node) noteChange(before protocol.Phase) {
	after, why := n.guard.Phase()
	if after == before {
		return
	}
	n.log("node %d: %v: %s", n.id, after, why)
	if after == protocol.Held {
		n.yielded = false
		n.access[n.id] = n.guard.Generation()
	}
	if after == protocol.Moving {
		n.result.Surrenders++
		n.yield()
	}
}

// yield is a surrender to a claim. Somebody has to stay, and with three nodes and more it is who has the quorum, or half
// of them.
func (n *node) yield() {
	n.yielded = true
	if !slices.ContainsFunc(n.nodes, func(o *node) bool { return !o.yielded }) {
		n.broken("all nodes surrender to a claim")
	}
	to := n.orders.MoveTo
	if c, ok := n.disk.blocks[lease.ClaimOffset(to, n.id)].(lease.Claim); ok && n.Nodes > 2 && 2*c.Members < n.Nodes {
		n.broken("node %d surrenders to node %d, which has no quorum", n.id, to)
	}
}

func (n *node) phase() protocol.Phase {
	if n.guard == nil {
		return protocol.Out
	}
	phase, _ := n.guard.Phase()
	return phase
}

// killGuests kills the guests and the starts that are under way: libvirt's daemon is killed first.
func (n *node) killGuests() { n.copies, n.manager.starts = [guests]bool{}, [guests]time.Duration{} }

func (n *node) count() (running int) {
	for _, here := range n.copies {
		if here {
			running++
		}
	}
	return running
}

// finishWrites takes the ends of the writes that are due.
func (n *node) finishWrites(now time.Duration) {
	if p := n.renewal; p != nil && p.ends <= n.now {
		if n.renewal = nil; p.good {
			n.guard.Renewed(p.slot, p.begun, now)
		}
	}
	for target, p := range n.claims {
		if p.ends <= n.now {
			if delete(n.claims, target); p.good {
				n.guard.ClaimWritten(p.claim)
			}
		}
	}
}

// beginWrites starts what is due: one renewal at a time, one claim at a time.
func (n *node) beginWrites(now time.Duration) {
	if n.renewal == nil && n.now >= n.renew {
		n.renew = n.now + n.Times.Renew
		if slot, ok := n.guard.Renewal(now); ok {
			n.renewal = &pending{write: n.disk.submit(n, lease.SlotOffset(n.id), slot), begun: now, slot: slot}
		}
	}
	for _, c := range n.orders.Claims {
		if n.claims[c.Target] == nil {
			n.claims[c.Target] = &pending{write: n.disk.submit(n, lease.ClaimOffset(n.id, c.Target), c), claim: c}
		}
	}
}

// look reads the others' slots and claims, and the own slot.
func (n *node) look(now time.Duration) {
	if n.now < n.poll {
		return
	}
	n.poll = n.now + n.Times.Poll
	if n.readCut && n.hangs {
		n.hanging = cmp.Or(n.hanging, now)
		return
	}
	begun := cmp.Or(n.hanging, now)
	n.hanging = 0
	if own, ok := n.disk.slot(n, n.id); ok {
		n.guard.OwnSlot(own, begun, now)
	}
	for _, other := range n.rest {
		if slot, ok := n.disk.slot(n, other.id); ok {
			n.guard.Slot(slot, begun, now)
		}
		if claim, ok := n.disk.claim(n, other.id, n.id); ok {
			n.guard.Claim(claim)
		}
	}
}

// link sends a renewal to the other nodes, and takes their answers.
func (n *node) link(now time.Duration) {
	if n.now < n.renew {
		return
	}
	if phase := n.phase(); phase != protocol.Held && phase != protocol.Moving || n.guard.Age(now) >= n.Times.SelfKill {
		return
	}
	generation := n.guard.Generation()
	for _, to := range n.rest {
		if n.cut[n.id-1][to.id-1] || to.guard == nil || to.hung {
			continue
		}
		if to.guard.LinkRenewal(n.id, generation, n.guard.Written(now), to.clock()) && !n.cut[to.id-1][n.id-1] {
			n.guard.LinkAck(to.id, generation, now)
		}
	}
}

// act carries the orders out.
func (n *node) act(now time.Duration) {
	o := n.orders
	switch {
	case !o.Kill:
		n.gone = 0
	case n.gone == 0:
		n.gone = n.now + n.between(0, n.Times.Kill-3*tick)
	case n.now >= n.gone:
		n.killGuests()
		n.guard.Emptied()
	}
	if o.MoveTo != 0 {
		n.moveOne(n.nodes[o.MoveTo-1])
	}
	for _, r := range o.Revoke {
		if n.revoke == 0 {
			n.revoke = n.now + n.between(tick, n.Times.Revoke)
		}
		if n.now >= n.revoke && !n.diskCut {
			n.revoke = 0
			if n.access[r.Node] <= r.Generation {
				n.access[r.Node] = 0
			}
			n.guard.Revoked(r.Node, r.Generation, now)
		}
	}
	if o.Rejoin {
		n.manager.restart(n.now)
		n.guard.Rejoined()
	}
}

// moveOne moves a guest live to the node whose claim has won, most often not at once.
func (n *node) moveOne(to *node) {
	if n.cut[n.id-1][to.id-1] || n.cut[to.id-1][n.id-1] || !to.orders.Run || to.hung || !n.chance(0.2) {
		return
	}
	for guest, here := range n.copies {
		if here {
			n.copies[guest], to.copies[guest] = false, true
			return
		}
	}
}
