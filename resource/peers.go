package resource

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// The other nodes, under the names that this package's callers know them by.
type (
	// PeerState is what the cluster manager knows of another node.
	PeerState = elsewhere.PeerState
	// Peer is another node of the cluster, which may run the guest.
	Peer = elsewhere.Peer
)

// The states of a peer; see package elsewhere.
const (
	PeerUnknown = elsewhere.PeerUnknown
	PeerUp      = elsewhere.PeerUp
	PeerDown    = elsewhere.PeerDown
	PeerFenced  = elsewhere.PeerFenced
)

// newCluster is the other nodes, to be asked for the guest of this action.
func newCluster(a *run) *elsewhere.Cluster {
	return &elsewhere.Cluster{
		Guest: &a.guest.Identity, Resource: a.Instance, Node: a.Node, CallTime: a.budget.call, Log: a.Log,
		Open: a.Open, Peers: a.Peers, Runnable: a.Runnable,
		Census: elsewhere.Census{Notes: peerNotes{a.state}, Uptime: hostproc.Uptime},
		URI: func(ctx context.Context, node string) (string, error) {
			to, err := a.route(ctx, node)
			return to.URI, err
		},
	}
}

// peerNotes keeps in the run directory what peers' libvirts said last: it ends with the boot, as the uptime does.
type peerNotes struct{ dir stateDir }

const peersDir = "peers"

// Load implements elsewhere.Census's notes.
func (n peerNotes) Load(uri string, last *elsewhere.RollCall) error {
	return n.dir.load(peersDir, uri, last)
}

// Save implements elsewhere.Census's notes.
func (n peerNotes) Save(uri string, now elsewhere.RollCall) error {
	return n.dir.save(peersDir, uri, now)
}

// Lock implements elsewhere.Census's notes.
func (n peerNotes) Lock(uri string) string {
	return strings.TrimSuffix(n.dir.file(filepath.Join(peersDir, "turns"), uri), ".json")
}
