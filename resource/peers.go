package resource

import "github.com/vmferry/vmferry/resource/elsewhere"

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
