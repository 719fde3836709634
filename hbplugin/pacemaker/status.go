package pacemaker

import (
	"fmt"
	"slices"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/resource/elsewhere"
)

// ownNode finds this node in a status.
func ownNode(s cib.Status, node string) (cib.Node, error) {
	own, known := s.Node(node)
	if !known {
		return own, fmt.Errorf("read crm_mon's status: node %q is not in the cluster", node)
	}
	return own, nil
}

// viewOf is what a status says of the node: whether it is in standby, and which resources of the given agents are on it.
// Primitives count wherever they are: alone, in a group, a clone or a bundle.
//
// A resource is on the node when the node is listed under it, whatever its
// role: a failed or half-started guest may be running all the same.
func viewOf(s cib.Status, own cib.Node, agents []string) hbplugin.View {
	return hbplugin.View{Running: true, Standby: own.Standby, Guests: guests(s, own.Name, agents)}
}

// guests are the resources of our agents on a node. A name is taken once: the instances of a clone share it.
func guests(s cib.Status, node string, agents []string) []hbplugin.Guest {
	var out []hbplugin.Guest
	for _, p := range s.Resources {
		same := func(g hbplugin.Guest) bool { return g.Name == p.ID }
		if slices.Contains(agents, p.Agent) && slices.Contains(p.Nodes, node) && !slices.ContainsFunc(out, same) {
			out = append(out, hbplugin.Guest{Name: p.ID, Moving: p.Pending != "", Stuck: stuck(p)})
		}
	}
	return out
}

// stuck says why Pacemaker will not touch a resource: it was told not to, or a
// failed stop has blocked it until an operator cleans up.
func stuck(p cib.Place) string {
	switch {
	case p.Maintenance:
		return "in maintenance"
	case p.Blocked:
		return "blocked"
	case !p.Managed:
		return "unmanaged"
	}
	return ""
}

// peers are all nodes but this one that can run guests: members and remote nodes, and no guest node nor bundle node. Fenced
// nodes are PeerDown here; see [Client.Peers].
func peers(s cib.Status, node string) []elsewhere.Peer {
	states := map[cib.NodeState]elsewhere.PeerState{cib.Online: elsewhere.PeerUp, cib.Offline: elsewhere.PeerDown}
	var out []elsewhere.Peer
	for _, n := range s.Nodes {
		if n.Host() && n.Name != node {
			out = append(out, elsewhere.Peer{Name: n.Name, State: states[n.State]})
		}
	}
	return out
}
