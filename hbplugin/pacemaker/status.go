package pacemaker

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
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
	p := parser{node: node, agents: agents}
	if err := p.parse(xml.NewDecoder(r)); err != nil {
		return hbplugin.View{}, fmt.Errorf("read crm_mon's status: %w", err)
	}
	return hbplugin.View{Running: true, Standby: p.standby, Guests: p.guests}, nil
}

// ParsePeers reads the same document and returns all nodes but this one that can run
// guests: members and remote nodes. Its errors are those of ParseStatus.
func ParsePeers(r io.Reader, node string) ([]resource.Peer, error) {
	p := parser{node: node}
	if err := p.parse(xml.NewDecoder(r)); err != nil {
		return nil, fmt.Errorf("read crm_mon's status: %w", err)
	}
	return p.peers, nil
}

// parser walks the document once, keeping the names of the open elements.
type parser struct {
	node   string
	agents []string

	path    []string
	current *hbplugin.Guest // the resource that is open, if it is of our agents
	guests  []hbplugin.Guest
	peers   []resource.Peer
	known   bool // the node was seen in the list of nodes
	standby bool
	down    bool   // it shuts down
	result  string // the code of the closing status element
}

func (p *parser) parse(d *xml.Decoder) error {
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return p.verdict()
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if err := p.open(t); err != nil {
				return err
			}
		case xml.EndElement:
			p.close()
		}
	}
}

func (p *parser) open(t xml.StartElement) error {
	name := t.Name.Local
	if len(p.path) == 0 && name != "pacemaker-result" {
		return fmt.Errorf("the document is <%s>, not crm_mon's", name)
	}
	switch {
	case name == "status" && len(p.path) == 1:
		p.result = attr(t, "code")
	case name == "node" && p.parent() == "nodes":
		p.seeNode(t)
	case name == "node" && p.parent() == "resource":
		p.place(attr(t, "name"))
	case name == "resource" && slices.Contains(p.path, "resources"):
		p.current = p.guest(t)
	}
	p.path = append(p.path, name)
	return nil
}

func (p *parser) close() {
	if p.path[len(p.path)-1] == "resource" {
		p.current = nil
	}
	p.path = p.path[:len(p.path)-1]
}

func (p *parser) parent() string {
	if len(p.path) == 0 {
		return ""
	}
	return p.path[len(p.path)-1]
}

func (p *parser) seeNode(t xml.StartElement) {
	if attr(t, "name") != p.node {
		p.seePeer(t)
		return
	}
	p.known = true
	p.standby, p.down = attr(t, "standby") == "true", attr(t, "shutdown") == "true"
}

// seePeer takes another node down. The nodes inside bundles' containers run no guests.
func (p *parser) seePeer(t xml.StartElement) {
	if kind := attr(t, "type"); kind != "member" && kind != "remote" {
		return
	}
	peer := resource.Peer{Name: attr(t, "name")}
	switch online, unclean := attr(t, "online"), attr(t, "unclean"); {
	case unclean != "false" || attr(t, "pending") == "true": // left, and not fenced yet; or still joining
	case online == "true":
		peer.State = resource.PeerUp
	case online == "false":
		peer.State = resource.PeerDown
	}
	p.peers = append(p.peers, peer)
}

// guest returns the resource if it is one of our agents'. Older crm_mon write
// the agent with two colons where there is no provider in between.
func (p *parser) guest(t xml.StartElement) *hbplugin.Guest {
	agent := strings.ReplaceAll(attr(t, "resource_agent"), "::", ":")
	if !slices.Contains(p.agents, agent) {
		return nil
	}
	return &hbplugin.Guest{Name: attr(t, "id"), Moving: attr(t, "pending") != "", Stuck: stuck(t)}
}

// stuck says why Pacemaker will not touch a resource: it was told not to, or a
// failed stop has blocked it until an operator cleans up.
func stuck(t xml.StartElement) string {
	switch {
	case attr(t, "maintenance") == "true":
		return "in maintenance"
	case attr(t, "blocked") == "true":
		return "blocked"
	case attr(t, "managed") == "false":
		return "unmanaged"
	}
	return ""
}

// place records that the open resource is on a node. A name is taken once: the
// instances of a clone share it.
func (p *parser) place(node string) {
	if p.current == nil || node != p.node {
		return
	}
	same := func(g hbplugin.Guest) bool { return g.Name == p.current.Name }
	if !slices.ContainsFunc(p.guests, same) {
		p.guests = append(p.guests, *p.current)
	}
}

func (p *parser) verdict() error {
	switch {
	case p.result == "":
		return errors.New("it has no result: it was cut short")
	case p.result != "0":
		return fmt.Errorf("crm_mon failed with code %s", p.result)
	case !p.known:
		return fmt.Errorf("node %q is not in the cluster", p.node)
	}
	return nil
}

func attr(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
