package resource

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/timely"
)

// evidence is what was found out about a guest's copies on other nodes.
type evidence struct {
	// epochs are Pacemaker's attribute of each node that has, or had, the truth; nil where they were not read with quorum.
	epochs    map[string]uint64
	current   bool             // and this node was in touch with others in this boot
	answered  bool             // the peer has said which manifest it has
	manifest  *mirror.Manifest // of the peer; nil where it has none
	off       bool             // it is proven that the peer is: it was fenced, or its guests have ended by its guard
	dead      bool             // Heartbeat calls it so
	pacemaker bool
}

// weigh makes of it what is known. A peer that is not proven to be off, and gives no answer, is taken to have a truth that
// is not closed. Without Pacemaker the peer alone can tell who has the truth, unless it is off: then a replica here is its
// last one.
func (e evidence) weigh(own mirror.Manifest, node, peer string) mirror.Known {
	k := mirror.Known{Node: peer, Boot: mirror.ThisBoot(), Sure: e.epochs != nil && (e.current || isFresh(own)) || e.answered, Peer: e.manifest}
	for name, epoch := range e.epochs {
		if !strings.EqualFold(name, node) && epoch > k.Epoch {
			k.Epoch, k.Node = epoch, name
		}
	}
	switch isReplica := own.Role == mirror.Replica; {
	case e.answered:
	case e.off && !e.pacemaker:
		k.Sure = isReplica || own.Role == mirror.Promoting || own.Role == mirror.Truth && e.current
	case !e.off && (isReplica || !own.Handed.IsZero()):
		k.Peer = &mirror.Manifest{Role: mirror.Truth, Point: own.Point}
	}
	switch {
	case k.Sure:
	case e.pacemaker && e.epochs == nil:
		k.Doubt = "Pacemaker does not say that with quorum"
	case e.pacemaker:
		k.Doubt = "this node has been alone since it was booted, so that Pacemaker's configuration here may be an old one"
	case e.dead && !e.off:
		k.Doubt = "Heartbeat calls " + peer + " dead, and neither STONITH nor a guard proves that its guests have ended"
	default:
		k.Doubt = peer + " does not answer"
	}
	return k
}

// isFresh reports whether a round has come to a replica since this node was started.
func isFresh(own mirror.Manifest) bool {
	boot := mirror.ThisBoot()
	return own.Role == mirror.Replica &&
		slices.ContainsFunc(own.Disks, func(d mirror.Disk) bool { return d.Boot.IsSame(boot) })
}

// noteCurrent notes, until the next boot, that the disks here are the current copy, or that the cluster was seen.
func (m *mirrored) noteCurrent(id string) {
	m.warn(m.tidy(func() error { return m.notes.Current.Save(id, notes.Current{IsCurrent: true}) }),
		"a start while the other node is away may be refused: make the state directory writable")
}

// isCurrent reports whether that is noted.
func (m *mirrored) isCurrent() bool {
	_, all := m.notes.Current.Age(notes.Cluster)
	_, this := m.notes.Current.Age(m.Instance)
	return all || this
}

// gather asks Pacemaker, and the peer where that was not fenced.
func (m *mirrored) gather(ctx context.Context) (e evidence) {
	ctx, cancel := timely.Within(ctx, 2*m.budget.call)
	defer cancel()
	var err error
	if e.pacemaker = m.Pacemaker; e.pacemaker {
		if e.epochs, err = m.epochs(ctx); err != nil {
			m.Log.WithError(err).Warn("Pacemaker does not say which node has the guest's current disks")
		}
		members, err := command.Runner(m.command).Explained(ctx, "crm_node", "--partition")
		if err == nil && len(strings.Fields(members)) > 1 {
			m.noteCurrent(notes.Cluster)
		}
	}
	e.current = m.isCurrent()
	if m.Peers != nil {
		peers, _ := m.Peers(ctx) // one of which nothing is known may be up
		for _, p := range peers {
			if strings.EqualFold(p.Name, m.peer) {
				e.off = p.State == elsewhere.PeerFenced
			}
		}
	}
	if e.off || m.Mirror.Peer == nil {
		return e
	}
	if m.Mirror.IsDead != nil {
		dead, fenced := m.Mirror.IsDead(ctx, m.peer)
		e.dead, e.off = dead, dead && (fenced || m.MayRun != nil)
	}
	if e.manifest, err = m.Mirror.Peer(ctx, m.peer, m.guest.Name, m.uuid); err != nil {
		m.Log.WithError(err).Warnf("%s does not say which copy of the guest's disks it has", m.peer)
	}
	e.answered = err == nil
	return e
}

// epochs reads them from the cluster, and not from this node's copy of its configuration.
func (m *mirrored) epochs(ctx context.Context) (map[string]uint64, error) {
	run := command.Runner(m.command)
	quorum, err := run.Explained(ctx, "crm_node", "--quorum")
	if err == nil && strings.TrimSpace(quorum) != "1" {
		err = errors.New("this part of the cluster has no quorum")
	}
	var text string
	if err == nil {
		text, err = run.Explained(ctx, "cibadmin", "--query", "--xpath", "//nodes")
	}
	if err != nil {
		return nil, err
	}
	return parseEpochs(text, "vmferry-mirror-"+m.Instance)
}

func parseEpochs(text, attribute string) (map[string]uint64, error) {
	var section struct {
		XMLName xml.Name `xml:"nodes"`
		Nodes   []struct {
			Name  string `xml:"uname,attr"`
			Pairs []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"instance_attributes>nvpair"`
		} `xml:"node"`
	}
	if err := xml.Unmarshal([]byte(text), &section); err != nil {
		return nil, err
	}
	all := map[string]uint64{}
	for _, n := range section.Nodes {
		for _, p := range n.Pairs {
			if p.Name == attribute {
				epoch, err := strconv.ParseUint(p.Value, 10, 50)
				if err != nil {
					return nil, fmt.Errorf("attribute %s of node %s: %w", attribute, n.Name, err)
				}
				all[n.Name] = epoch
			}
		}
	}
	return all, nil
}

// publish has Pacemaker keep the epoch of a truth here. Without Pacemaker the other node asks this one.
func (m *mirrored) publish(ctx context.Context, epoch uint64) error {
	if !m.Pacemaker {
		return nil
	}
	ctx, cancel := timely.Within(ctx, m.budget.call)
	defer cancel()
	_, err := command.Runner(m.command).Explained(ctx, "crm_attribute", "--type", "nodes", "--node", m.Node,
		"--name", "vmferry-mirror-"+m.Instance, "--update", strconv.FormatUint(epoch, 10))
	return err
}
