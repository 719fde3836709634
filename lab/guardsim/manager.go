package guardsim

import (
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/protocol"
)

const (
	detect = time.Second            // until a node that is not heard is no member, at least; at most three times that
	merge  = 500 * time.Millisecond // until one that is heard again is
	alone  = 5 * time.Second        // until a node that has heard no other tries to go on without
)

// manager is the cluster manager of one node, like Pacemaker on two nodes: what it cannot hear it fences, and what it
// has fenced it starts. After a restart it waits until it has heard the other node (wait_for_all).
type manager struct {
	joined  bool          // it has heard the other since it was started
	member  bool          // the other is a member
	changed time.Duration // when that will be otherwise; 0: it will not
	started time.Duration // when the manager was started
	calling bool          // a fence call is under way
	again   time.Duration // when the next fence call is due
	fenced  bool
	starts  [guests]time.Duration // when a start that is under way ends; 0: none is
}

func (m *manager) restart(now time.Duration) { *m = manager{starts: m.starts, started: now} }

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
	if m.member || n.now-m.started > alone {
		if phase, _ := n.guard.Phase(); phase == protocol.Out && n.guard.Open(now) == nil {
			n.result.Opened++
			n.log("node %d: opens a generation", n.id)
			m.joined = true
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

// membership follows what is heard. In half of the schedules the nodes find out each for itself (Heartbeat), in the other
// half a node that is not heard does not hear (Corosync's token goes round).
func (n *node) membership() {
	m, to := &n.manager, n.other()
	heard := to.up && !to.hung && !n.cut[to.id-1][n.id-1] && (n.oneWay || !n.cut[n.id-1][to.id-1])
	switch {
	case heard == m.member:
		m.changed = 0
	case m.changed == 0 && heard:
		m.changed = n.now + merge
	case m.changed == 0:
		m.changed = n.now + n.between(n.detect, 3*n.detect)
	case n.now >= m.changed:
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
// of a member are known from it.
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
