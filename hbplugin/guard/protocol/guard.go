package protocol

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

// Phase is what a node does with its lease; the diagram is in the package comment.
type Phase int

// The phases.
const (
	Out     Phase = iota // no lease: no guest may run here
	Opening              // a new generation is being written, and the others' slots are read: no guest may run here yet
	Held                 // guests may run here
	Moving               // another node's claim has won: the guests are moved to it
	Killing              // all guests are killed
)

// String is the phase in a word.
func (p Phase) String() string {
	return [...]string{"out", "opening", "held", "moving", "killing"}[p]
}

// Policy is what counts as proof that a node whose lease has expired cannot write any more, beside a watchdog that its
// slot declares.
type Policy struct {
	Revoke      bool // its access to the disks is revoked
	TrustExpiry bool // the administrator has written that expiry alone is enough

	Names []string // of all nodes, for messages; where there are none they say the numbers
}

// name is node id in a message.
func (p Policy) name(id int) string {
	if id < 1 || id > len(p.Names) {
		return strconv.Itoa(id)
	}
	return p.Names[id-1]
}

// Here is what this node measures of itself; a claim freezes it.
type Here struct {
	Reached  int           // addresses of the ping list that answer, smoothed
	Guests   int           // guests that run here
	Watchdog time.Duration // the hardware watchdog that the guard feeds fires after this; 0: there is none

	Unmanaged bool // the cluster manager does not answer: a node of which it does is of more use
}

// Guard is the state of one node. Times are those of one clock that goes on while the machine is suspended; they must
// not go backwards. It is not safe for concurrent use.
type Guard struct {
	times  timing.Times
	policy Policy
	here   Here

	phase   Phase
	why     string        // of the phase
	slot    lease.Slot    // as last handed out to be written
	written uint64        // the counter of the newest slot of this generation that is known to be on the device
	good    time.Duration // when the last good write of this generation began
	looked  time.Duration // when the last good read of the own slot began
	emptied bool          // in Killing: no guest is left, and no socket of one has data
	claimer int           // in Moving: the node whose claim has won
	until   time.Duration // in Moving: when the time for it is up
	asked   time.Duration // in Out: when Open last failed as a proof was missing; 0: it has not
	opened  time.Duration // in Opening: when the first write ended; 0: it has not
	began   time.Duration // when this guard began
	skip    uint64        // generations that the guard before this one may have held without a trace on the disk
	watched time.Duration // since when nobody else has written the own slot
	foreign lease.Slot    // what somebody else, or an earlier boot, has written there, as last read
	rejoin  bool          // the manager's daemons have to be restarted: they did not stop by themselves

	peers []*peer
}

// peer is another node, as seen from here.
type peer struct {
	id      int
	slot    lease.Slot
	seen    bool          // slot was read once
	read    time.Duration // when the last good read began
	changed time.Duration // when a renewal was last seen, on disk or over the link
	shown   time.Duration // begin of the last good read that showed slot itself, not an older one that was written late
	wrote   time.Duration // when a new slot was last read
	acked   time.Duration // begin of the last own renewal that it acknowledged
	member  bool
	told    told
	foreign bool // a guard with another lease device sends as it, and it was not heard since

	theirs  lease.Claim // its claim against this node, as last read
	mine    lease.Claim // the claim against it
	written lease.Claim // the claim against it that is known to be on disk

	call    *call
	gone    uint64        // the generation in which its lease expired; it is acknowledged no more
	revoked uint64        // the generation in which its access was revoked
	closed  time.Duration // when that was proven
	proven  uint64        // the generation in which nothing of it can write any more, for one of the reasons of proof
	sworn   bool          // the administrator has seen it off, and it has written nothing since
	inForce bool          // gone says something: generation 0 exists, as in which nothing is revoked or proven yet
}

// call is a request to fence a node.
type call struct {
	begun    time.Duration
	deadline time.Duration
	ordered  bool
}

// skipped is how many generations a guard leaves out that does not know what the one before it did: a write that hung
// can have landed after the end of its generation, and over the slot of the next ones. What was found out of a
// generation, as that its access is revoked, must never be taken for a later one.
const skipped = 1000

// unseen is how many renewals a guard leaves out that resumes a lease: a late write of an older renewal may have come
// over the newest one, and the others take nothing for a renewal that is not newer than what they have seen.
const unseen = 1 << 20

// none is no generation.
const none = math.MaxUint64

// New is the guard of the node that own is the slot of, as read from the device now. mine are its own claims, as read.
// A slot that says that guests may run, of a guard that is no more, makes it kill them first; the cluster manager still
// counts on them where the machine has not booted since.
func New(own lease.Slot, instance lease.Instance, mine []lease.Claim, times timing.Times, policy Policy,
	now time.Duration,
) *Guard {
	g := &Guard{times: times, policy: policy, slot: own, written: own.Counter, watched: now, foreign: own, began: now,
		looked: now, why: "the guard has just started"}
	g.slot.Instance = instance
	if own.Instance != (lease.Instance{}) {
		g.skip = skipped
	}
	if own.Instance == instance { // there is one guard on a machine
		g.watched -= times.Fresh()
	}
	if own.State != lease.Surrendered {
		g.phase, g.why = Killing, "the guard of this node ended without a surrender"
		g.rejoin = own.Instance == instance
	}
	for _, c := range mine {
		g.peers = append(g.peers, &peer{id: c.Target, changed: now, mine: c, written: c, revoked: none, proven: none})
	}
	return g
}

// Resume takes over the lease of a guard that ended without giving it back, on the same boot of the same machine: the
// guests go on. previous is what it held when it ended, and good what the age of its lease counted from: a guard that
// had begun to surrender has nothing to be resumed, whatever the disk says. It reports whether the lease was held and
// is not too old; if not, the guests are killed. It is called before anything else.
func (g *Guard) Resume(previous lease.Slot, good, now time.Duration) bool {
	if g.phase != Killing || previous.State != lease.Held || previous.Instance != g.slot.Instance ||
		previous.Generation != g.slot.Generation || g.foreign.Instance != g.slot.Instance ||
		now < good || now-good >= g.times.SelfKill {
		return false
	}
	g.good, g.looked, g.opened = good, good, good
	g.slot.Counter += unseen
	g.enter(Held, "the lease of the guard before this one is held")
	g.rejoin = false
	return true
}

// Phase is what the node does now, and why.
func (g *Guard) Phase() (Phase, string) { return g.phase, g.why }

// Generation is that of the own slot.
func (g *Guard) Generation() uint64 { return g.slot.Generation }

// Age is how old the lease is. It says nothing in Out and Killing.
func (g *Guard) Age(now time.Duration) time.Duration {
	return now - max(min(g.good, g.looked), g.acked())
}

// WriteAge is how long ago the last good write of this generation began.
func (g *Guard) WriteAge(now time.Duration) time.Duration { return now - g.good }

// ReadAge is how long ago the last good read of the own slot began.
func (g *Guard) ReadAge(now time.Duration) time.Duration { return now - g.looked }

// blind reports whether the device was not read for as long as a lease lasts, while the link renews it.
func (g *Guard) blind(now time.Duration) bool { return g.ReadAge(now) >= g.times.SelfKill }

// acked is the begin of the newest renewal that every other node has acknowledged.
func (g *Guard) acked() time.Duration {
	oldest := time.Duration(-1)
	for i, p := range g.peers {
		if i == 0 || p.acked < oldest {
			oldest = p.acked
		}
	}
	return oldest
}

func (g *Guard) name(p *peer) string { return g.policy.name(p.id) }

func (g *Guard) peer(id int) *peer {
	for _, p := range g.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// Measured takes what this node measures.
func (g *Guard) Measured(h Here) { g.here = h }

// Open asks for the lease again, in a new generation. It fails where guests could run twice: the guests here are not
// proven gone, somebody else writes this node's slot, or a node that is no member may hold what it ran. Of the last,
// the steps that follow look for the proof that a fence call needs: a node that is alone after both had failed has no
// lease to make one.
func (g *Guard) Open(now time.Duration) error {
	switch {
	case g.phase == Opening || g.phase == Held:
		return nil
	case g.phase != Out:
		return fmt.Errorf("this node surrenders: %s", g.why)
	case g.rejoin:
		return errors.New("the cluster manager is being restarted after the surrender")
	case now-g.watched < g.times.Fresh():
		return fmt.Errorf("the slot of node %s has to be watched for %s more", g.policy.name(g.slot.Node),
			g.times.Fresh()-now+g.watched)
	case now-g.looked >= g.times.Fresh():
		return fmt.Errorf("the slot of node %s cannot be read on the lease device", g.policy.name(g.slot.Node))
	}
	if why, _ := g.unshared(); why != "" {
		return errors.New(why)
	}
	for _, p := range g.peers {
		if g.claimed(p, now) {
			return fmt.Errorf("node %s wants this node fenced: it may start what ran here", g.name(p))
		}
	}
	if p := g.unproven(0); p != nil {
		g.asked = now
		return fmt.Errorf("node %s is no member of the cluster, and nothing proves that it runs no guest%s", g.name(p),
			g.advice(p))
	}
	g.slot.Generation += 1 + g.skip
	g.skip = 0
	g.slot.Counter, g.written = 0, 0
	g.good, g.opened, g.asked, g.rejoin = now, 0, 0, false
	for _, p := range g.peers {
		p.acked = 0
	}
	g.enter(Opening, "a new generation is being opened")
	return nil
}

// unproven is a node that may run guests that are to run here: it is no member of the cluster, and no read since then
// showed that it has surrendered or that nothing of it can write any more. nil where there is none.
func (g *Guard) unproven(since time.Duration) *peer {
	for _, p := range g.peers {
		if !p.member && (!p.seen || p.read <= since || !p.isGone()) {
			return p
		}
	}
	return nil
}

// Close gives the lease back: what still runs here is killed. For the orderly end of the guard.
func (g *Guard) Close() {
	if g.phase != Out && g.phase != Killing {
		g.enter(Killing, "the guard ends")
		g.rejoin = false
	}
}

func (g *Guard) enter(phase Phase, why string) {
	ran := g.phase == Held || g.phase == Moving // before that no guest ran, and the manager knows of none
	g.rejoin = g.rejoin || ran && (phase == Moving || phase == Killing)
	g.phase, g.why, g.emptied = phase, why, false
}
