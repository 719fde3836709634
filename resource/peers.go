package resource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// PeerState is what the cluster manager knows of another node.
type PeerState int

// The states of a peer.
const (
	PeerUnknown PeerState = iota // nobody can tell
	PeerUp                       // a member of the cluster
	PeerDown                     // proven to be down: it left in order, or it was fenced
)

// Peer is another node of the cluster, which may run the guest.
type Peer struct {
	Name  string
	State PeerState
}

// What bounds the questions before a start, in which clients wait.
const (
	managerTime = 5 * time.Second // the manager names the peers
	// peerTime is for a peer that need not answer, as one that crashed does not: a live
	// libvirt takes some tenths of a second. One that must answer gets as long as any call.
	peerTime = 2 * time.Second
)

// suspect is a peer to ask before a start.
type suspect struct {
	Peer
	must bool // a migration between it and us has no known end: only its answer, or its death, will do
}

// proveNowhere returns nil when no other node has the guest, as far as that can be known.
//
// The cluster manager has asked our agent on each node already, and it fences a node that
// did not answer. What it cannot know of is a guest that was moved or started behind its back,
// so each peer's libvirt is asked once more. One that gives no answer is believed to be as the
// manager left it, unless the guest was on its way to or from there.
func (a *run) proveNowhere(ctx context.Context) error {
	suspects, err := a.suspects(ctx)
	if err != nil {
		return err
	}
	answers := make(chan error, len(suspects))
	for _, s := range suspects {
		go func() { answers <- a.acquit(ctx, s) }()
	}
	var found error
	for range suspects {
		if err := <-answers; err != nil && found == nil {
			found = err
		}
	}
	return found
}

// suspects are the peers that are not proven to be down.
func (a *run) suspects(ctx context.Context) ([]suspect, error) {
	peers, known := a.peers(ctx)
	i, pending, err := a.pending()
	if err != nil {
		return nil, because(Generic, err, "guest %q not started: the note about its last migration cannot be read", a.guest.Name)
	}
	var out []suspect
	for _, p := range peers {
		must := pending && p.Name == i.Peer
		if p.State != PeerDown && p.Name != a.Node {
			out = append(out, suspect{p, must})
		}
	}
	isPeer := func(p Peer) bool { return p.Name == i.Peer }
	if pending && !known && !slices.ContainsFunc(peers, isPeer) {
		out = append(out, suspect{Peer{Name: i.Peer}, true})
	}
	return out, nil
}

// peers asks the cluster manager. known is false where there is none or it gives no answer.
func (a *run) peers(ctx context.Context) (peers []Peer, known bool) {
	if a.Peers == nil {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, min(managerTime, a.budget.call))
	defer cancel()
	peers, err := a.Peers(ctx)
	if err != nil {
		a.Log.WithError(err).Info("the cluster manager does not name the other nodes: only the one of a pending migration is asked")
		return nil, false
	}
	return peers, true
}

// silence is how long a peer that gave no answer is not asked again, unless it must be.
// Heartbeat starts the guests of a node that crashed one after the other, and each would wait.
const silence = 30 * time.Second

// isSilent tells whether some start on this node found lately that the peer gives no answer.
func (a *run) isSilent(peer string) bool {
	info, err := os.Stat(a.state.file(silentDir, peer))
	return err == nil && time.Since(info.ModTime()).Abs() < silence
}

// acquit returns nil when the peer does not have the guest.
func (a *run) acquit(ctx context.Context, s suspect) error {
	if !s.must && a.isSilent(s.Name) {
		a.Log.WithField("peer", s.Name).Info("the peer's libvirt gave no answer a moment ago: the cluster manager's word counts")
		return nil
	}
	limit := min(peerTime, a.budget.call)
	if s.must {
		limit = a.budget.call
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	status, err := a.askPeer(ctx, s.Name)
	switch {
	case errors.Is(err, libvirt.ErrNoDomain):
		return nil
	case err != nil && s.must:
		return because(Generic, err, "guest %q not started: a migration between this node and %s was begun, its end is not known, and %s cannot be asked: "+
			"make its libvirt answer, or fence the node; if you know that the guest is not there, remove %s",
			a.guest.Name, s.Name, s.Name, a.lasting.file(intentsDir, a.Instance))
	case err != nil:
		if werr := a.state.save(silentDir, s.Name, struct{}{}); werr != nil {
			a.Log.WithError(werr).Debug("the next start will ask the peer again")
		}
		a.Log.WithError(err).WithField("peer", s.Name).Info("the peer's libvirt gives no answer: the cluster manager's word counts")
		return nil
	case !status.State.Active() || a.isOther(status.UUID):
		return nil
	}
	return because(Generic, &elsewhere{s.Name, status}, "guest %q not started", a.guest.Name)
}

// elsewhere is why a guest is not started: another node has it.
type elsewhere struct {
	node   string
	status libvirt.Status
}

// Error says where it is and what to do.
func (e *elsewhere) Error() string {
	return fmt.Sprintf("it is on %s already, %s (%s): stop it there, or let the cluster manager find it (crm_resource --refresh)",
		e.node, e.status.State, e.status.Reason)
}

// fetch moves the guest here from the node that has it, live. A manager that never looks
// where a guest runs would else take the failed start for a failed node.
func (a *run) fetch(ctx context.Context, from *elsewhere) error {
	if from.status.State != libvirt.Running && from.status.State != libvirt.Blocked {
		return because(Generic, from, "guest %q not started", a.guest.Name)
	}
	source, err := a.route(ctx, from.node)
	if err != nil {
		return because(Configured, err, "guest %q cannot be fetched from %s", a.guest.Name, from.node)
	}
	own, err := a.route(ctx, a.Node)
	if err != nil || a.Node == "" {
		return because(Generic, errors.Join(err, from), "guest %q cannot be fetched, as this node's own name is not known", a.guest.Name)
	}
	if err := a.intend(inward, from.node, a.guest.UUID); err != nil {
		return err
	}
	soft, cancel := a.at(ctx, a.budget.migrate)
	defer cancel()
	a.Log.WithField("peer", from.node).Info("the guest runs there already: moving it here")
	m := a.Params.Move(a.guest.Name, cmp.Or(a.guest.UUID, from.status.UUID), own)
	m.SourceURI, m.Fetch, m.Relay = source.URI, true, false
	err = a.Migrate(soft, m)
	if err != nil {
		return because(Generic, err, "guest %q could not be fetched from %s", a.guest.Name, from.node)
	}
	return nil
}

// isOther tells whether a UUID proves that a guest of our name is another one.
func (a *run) isOther(uuid string) bool {
	return a.guest.UUID != "" && uuid != "" && !strings.EqualFold(a.guest.UUID, uuid)
}

// askPeer asks another node's libvirt for the guest.
func (a *run) askPeer(ctx context.Context, node string) (libvirt.Status, error) {
	to, err := a.route(ctx, node)
	if err != nil {
		return libvirt.Status{}, err
	}
	return a.statusAt(ctx, to.URI)
}

// statusAt asks the libvirt at uri for the guest, over a connection of its own.
func (a *run) statusAt(ctx context.Context, uri string) (libvirt.Status, error) {
	conn, err := a.Open(ctx, uri)
	if err != nil {
		return libvirt.Status{}, err
	}
	defer func() { _ = conn.Close() }()
	return conn.Status(ctx, a.guest.Name)
}
