package guardsim

import (
	"slices"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
)

const (
	detect = time.Second            // until a node that is not heard is no member, at least; at most three times that
	merge  = 500 * time.Millisecond // until one that is heard again is
	alone  = 5 * time.Second        // until a node that has heard no other tries to go on without
)

// manager is the cluster manager of one node, like Pacemaker: what it cannot hear it fences, where it has the quorum, and
// what it has fenced it starts. After a restart it waits until it has heard enough others: the other one of two nodes
// (wait_for_all), or a quorum.
type manager struct {
	joined  bool          // it has heard them since it was started
	started time.Duration // when the manager was started
	changed time.Duration // when who is a member will be otherwise; 0: it will not
	peers   [most + 1]peer
	starts  [guests]time.Duration // when a start that is under way ends; 0: none is
}

// peer is another node, as a manager sees it.
type peer struct {
	member  bool
	calling bool          // a fence call is under way
	again   time.Duration // when the next fence call is due
	fenced  bool
}

func (m *manager) restart(now time.Duration) { *m = manager{starts: m.starts, started: now} }

// members are how many nodes it sees, with its own.
func (m *manager) members() (seen int) {
	for _, p := range m.peers {
		if p.member {
			seen++
		}
	}
	return seen + 1
}

// quorate reports whether its side may fence: each of two nodes may.
func (m *manager) quorate(nodes int) bool { return nodes == 2 || 2*m.members() > nodes }

// manage is one tick of the node's manager.
func (n *node) manage(now time.Duration) {
	m := &n.manager
	n.membership()
	for _, to := range n.rest {
		n.guard.Member(to.id, m.peers[to.id].member)
	}
	m.joined = m.joined || m.members() > 1 && m.quorate(n.Nodes)
	n.finishStarts()
	for _, v := range n.orders.Verdicts {
		n.log("node %d: node %d fenced: %v: %s", n.id, v.Target, v.Fenced, v.Evidence)
		p := &m.peers[v.Target]
		p.calling, p.fenced, p.again = false, v.Fenced && !p.member, n.now+time.Second
		if v.Fenced && n.nodes[v.Target-1].slotHeld() {
			n.result.Expired++
		}
	}
	n.orders.Verdicts = nil
	if m.members() > 1 && n.agreed() || (n.Nodes == 2 || m.members() == 1) && n.now-m.started > alone {
		if phase, _ := n.guard.Phase(); phase == protocol.Out && n.guard.Open(now) == nil {
			n.result.Opened++
			n.log("node %d: opens a generation", n.id)
			m.joined = m.joined || n.Nodes == 2
		}
	}
	if m.joined && (m.quorate(n.Nodes) || n.ignores) && n.id == n.coordinator() {
		n.recover(now)
	}
}

// agreed reports whether the nodes that this one sees see it too: with more than two nodes the coordinator has it unfenced,
// and members agree on who is one.
func (n *node) agreed() bool {
	return n.Nodes == 2 || !slices.ContainsFunc(n.rest, func(to *node) bool {
		return n.manager.peers[to.id].member && !to.manager.peers[n.id].member
	})
}

// recover fences the nodes that are not heard, and starts the guests when all of them are fenced.
func (n *node) recover(now time.Duration) {
	all := true
	for _, to := range n.rest {
		p := &n.manager.peers[to.id]
		if all = all && (p.member || p.fenced); p.member || p.fenced || p.calling || n.now < p.again {
			continue
		}
		p.calling = true
		n.guard.Fence(to.id, now, now+20*time.Second)
	}
	if all {
		n.begin()
	}
}

// membership follows which nodes are heard; what has changed becomes known at one time. In half of the schedules of two
// nodes they find out each for itself (Heartbeat), in all others a node that is not heard does not hear (Corosync's token
// goes round).
func (n *node) membership() {
	m := &n.manager
	loses, differs := false, false
	for _, to := range n.rest {
		member := m.peers[to.id].member
		loses = loses || member && !n.hears(to)
		differs = differs || member != n.hears(to)
	}
	switch {
	case !differs:
		m.changed = 0
	case m.changed == 0 && loses:
		m.changed = n.now + n.between(n.detect, 3*n.detect)
	case m.changed == 0:
		m.changed = n.now + merge
	case n.now >= m.changed:
		m.changed = 0
		for _, to := range n.rest {
			if p := &m.peers[to.id]; p.member != n.hears(to) {
				p.member, p.fenced = !p.member, false
			}
		}
	}
}

func (n *node) hears(to *node) bool {
	return to.up && !to.hung && !n.cut[to.id-1][n.id-1] && (n.oneWay || !n.cut[n.id-1][to.id-1])
}

// coordinator is the node that decides for those that this one sees: the lowest of them that has its lease, or where none
// has, this one.
func (n *node) coordinator() int {
	for _, each := range n.nodes {
		if each.orders.Run && (each == n || n.manager.peers[each.id].member) {
			return each.id
		}
	}
	return n.id
}

// begin starts the guests that run nowhere, as far as the manager knows: those of a fenced node are all gone, and those
// of a member are known from it. With more than two nodes it starts them on any member.
func (n *node) begin() {
	for guest := range guests {
		at := n
		if n.Nodes > 2 {
			at = n.nodes[n.rand.IntN(n.Nodes)]
		}
		known := at == n || n.manager.peers[at.id].member
		if at.orders.Run && known && !at.hung && !n.placed(guest) {
			at.manager.starts[guest] = n.now + n.between(tick, 3*time.Second)
		}
	}
}

// placed reports whether a guest runs, or is being started, on a node that the manager sees.
func (n *node) placed(guest int) bool {
	for _, each := range n.nodes {
		if (each == n || n.manager.peers[each.id].member) && (each.copies[guest] || each.manager.starts[guest] != 0) {
			return true
		}
	}
	return false
}

// finishStarts ends the starts that are due. Whether the lease is held was asked when they began.
func (n *node) finishStarts() {
	for guest, at := range n.manager.starts {
		if at != 0 && n.now >= at {
			n.manager.starts[guest] = 0
			n.copies[guest] = true
		}
	}
}

// slotHeld reports whether the node's guard has not surrendered.
func (n *node) slotHeld() bool { return n.phase() != protocol.Out }
