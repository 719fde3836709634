package guardsim

import (
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
)

const (
	detect = 2200 * time.Millisecond // until a node that is not heard is no member
	merge  = 500 * time.Millisecond  // until one that is heard again is
)

// manager is the cluster manager of one node, like Pacemaker on two nodes: what it cannot hear it fences, and what it
// has fenced it starts. After a restart it waits until it has heard the other node (wait_for_all).
type manager struct {
	joined  bool          // it has heard the other since it was started
	member  bool          // the other is a member
	changed time.Duration // since when that ought to be otherwise; 0: it ought not
	calling bool          // a fence call is under way
	again   time.Duration // when the next fence call is due
	fenced  bool
	starts  [guests]time.Duration // when a start that is under way ends; 0: none is
}

func (m *manager) restart() { *m = manager{starts: m.starts} }

// manage is one tick of the node's manager.
func (n *node) manage(now time.Duration) {
	m := &n.manager
	n.membership()
	n.guard.Member(n.other().id, m.member)
	n.finishStarts()
	for _, v := range n.orders.Verdicts {
		n.log("node %d: node %d fenced: %v: %s", n.id, v.Target, v.Fenced, v.Evidence)
		m.calling, m.fenced, m.again = false, v.Fenced && !m.member, n.now+time.Second
		if v.Fenced && n.other().slotHeld() {
			n.result.Expired++
		}
	}
	n.orders.Verdicts = nil
	if m.member {
		if phase, _ := n.guard.Phase(); phase == protocol.Out && n.guard.Open(now) == nil {
			n.result.Opened++
			n.log("node %d: opens a generation", n.id)
		}
	}
	switch {
	case !m.joined:
	case !m.member && !m.fenced && !m.calling && n.now >= m.again:
		m.calling = true
		n.guard.Fence(n.other().id, now, now+20*time.Second)
	case m.fenced || m.member && n.id == n.coordinator():
		n.begin()
	}
}

// membership follows what is heard. Both hear each other, or neither is a member of the other: Corosync's token goes
// round.
func (n *node) membership() {
	m, to := &n.manager, n.other()
	heard := to.up && !to.hung && !n.cut[n.id-1][to.id-1] && !n.cut[to.id-1][n.id-1]
	if heard == m.member {
		m.changed = 0
		return
	}
	if m.changed == 0 {
		m.changed = n.now
	}
	wait := detect
	if heard {
		wait = merge
	}
	if n.now-m.changed >= wait {
		m.member, m.changed = heard, 0
		m.joined = m.joined || heard
		m.fenced = false
	}
}

// coordinator is the node that decides where both are members: the lower one that has its lease.
func (n *node) coordinator() int {
	for _, each := range n.nodes {
		if each.orders.Run {
			return each.id
		}
	}
	return 0
}

// begin starts the guests that run nowhere, as far as the manager knows: those of a fenced node are all gone, and those
// of a member are asked for.
func (n *node) begin() {
	if !n.orders.Run {
		return
	}
	m := &n.manager
	for guest := range guests {
		elsewhere := m.member && (n.other().copies[guest] || n.other().manager.starts[guest] != 0)
		if !n.copies[guest] && !elsewhere && m.starts[guest] == 0 {
			m.starts[guest] = n.now + n.between(tick, 3*time.Second)
		}
	}
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
