package pacemaker

import (
	"fmt"
	"io"
	"slices"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/resource"
)

// ParseStatus reads the XML of crm_mon and returns what it says of the node:
// whether it is in standby, and which resources of the given agents are on it.
// Primitives count wherever they stand: alone, in a group, a clone or a bundle.
//
// A resource is on the node when the node is listed under it, whatever its
// role: a failed or half-started guest may be running all the same.
//
// It is an error when the document is cut short, is not crm_mon's, reports a
// failure, or does not know the node: each of these means "cannot tell".
func ParseStatus(r io.Reader, node string, agents []string) (hbplugin.View, error) {
	s, own, err := look(r, node)
	if err != nil {
		return hbplugin.View{}, err
	}
	return hbplugin.View{Running: true, Standby: own.Standby, Guests: guests(s, node, agents)}, nil
}

// ParsePeers reads the same document and returns all nodes but this one that can run
// guests: members and remote nodes, and no guest node nor bundle node. Its errors are those of
// ParseStatus. Fenced nodes are PeerDown here; see [Client.Peers].
func ParsePeers(r io.Reader, node string) ([]resource.Peer, error) {
	s, _, err := look(r, node)
	if err != nil {
		return nil, err
	}
	return peers(s, node), nil
}

// look reads the document and finds the node in it.
func look(r io.Reader, node string) (cib.Status, cib.Node, error) {
	s, err := cib.ParseStatus(r)
	if err != nil {
		return cib.Status{}, cib.Node{}, err
	}
	own, known := s.Node(node)
	if !known {
		return cib.Status{}, cib.Node{}, fmt.Errorf("read crm_mon's status: node %q is not in the cluster", node)
	}
	return s, own, nil
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

func peers(s cib.Status, node string) []resource.Peer {
	states := map[cib.NodeState]resource.PeerState{cib.Online: resource.PeerUp, cib.Offline: resource.PeerDown}
	var out []resource.Peer
	for _, n := range s.Nodes {
		if n.Host() && n.Name != node {
			out = append(out, resource.Peer{Name: n.Name, State: states[n.State]})
		}
	}
	return out
}
