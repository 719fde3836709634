package cib

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// NodeState is what Pacemaker knows of the life of a node.
type NodeState int

// The states of a node.
const (
	Unsure  NodeState = iota // lost and not fenced yet, still joining, or in a word that is not known here
	Online                   // a member, or a remote node that is connected
	Offline                  // clean: it left in order, or it was fenced
)

// Node is a node in crm_mon's list.
type Node struct {
	Name        string
	State       NodeState
	Standby     bool
	Maintenance bool
	Leaving     bool   // it shuts down
	Type        string // "member", "remote", "ping", "unknown"
	Resource    string // the resource that this node is: a guest with a node inside, or a bundle's container
}

// Host reports whether the node is a machine that can run guests: a member, or a remote node that is not
// itself a resource. crm_mon gives guest nodes and bundle nodes the type remote, too; id_as_resource
// (container_id before Pacemaker 1.1.14) tells them apart.
func (n Node) Host() bool { return (n.Type == "member" || n.Type == "remote") && n.Resource == "" }

// Place is where a resource is, and how it is there.
type Place struct {
	ID          string
	Agent       string   // such as "ocf:vmferry:Domain"
	Nodes       []string // on which it is active; two while Pacemaker is unsure
	Pending     string   // what Pacemaker is doing with it, such as "Migrating"; empty for nothing
	Failed      bool
	Blocked     bool
	Managed     bool
	Maintenance bool
	Within      []string // the ids of the bundle, clone or group around it, the outermost first
}

// Status is one look at the cluster.
type Status struct {
	Nodes     []Node          // in crm_mon's order, guest nodes and bundle nodes too
	Resources []Place         // each primitive; the instances of a clone one by one, under one id
	Fenced    []string        // the nodes that were fenced with success, as far as the document has the history
	Online    map[string]bool // the hosts, and whether guests can be put on each
	Standby   map[string]bool // by host
	Places    map[string]Place
}

// ParseStatus reads crm_mon's XML. It is an error when the document is cut
// short, is not crm_mon's, or reports a failure.
func ParseStatus(r io.Reader) (Status, error) {
	doc, err := parse(r, "pacemaker-result")
	if err == nil {
		err = doc.succeeded("crm_mon")
	}
	if err != nil {
		return Status{}, fmt.Errorf("read crm_mon's status: %w", err)
	}
	s := doc.status()
	for _, e := range doc.at("fence_history").all("fence_event") {
		if e.attr("status") == "success" && slices.Contains([]string{"off", "reboot"}, e.attr("action")) {
			s.Fenced = append(s.Fenced, e.attr("target"))
		}
	}
	return s, nil
}

// succeeded reads the result that ends the output of each of Pacemaker's programs.
func (t *tree) succeeded(program string) error {
	results := t.all("status")
	if len(results) == 0 {
		return errors.New("it has no result: it was cut short")
	}
	last := results[len(results)-1]
	if last.attr("code") == "0" {
		return nil
	}
	var said []string
	for _, e := range last.at("errors").all("error") {
		said = append(said, strings.TrimSpace(e.Text))
	}
	said = append(said, last.attr("message"))
	return fmt.Errorf("%s failed with code %s (%s)", program, last.attr("code"), strings.Join(said, "; "))
}

// status reads the lists of nodes and of resources below t.
func (t *tree) status() Status {
	s := Status{Online: map[string]bool{}, Standby: map[string]bool{}, Places: map[string]Place{}}
	for _, n := range t.at("nodes").all("node") {
		node := n.node()
		s.Nodes = append(s.Nodes, node)
		if node.Host() {
			s.Online[node.Name], s.Standby[node.Name] = node.State == Online, node.Standby
		}
	}
	s.seeResources(t.at("resources"), nil)
	return s
}

func (t *tree) node() Node {
	n := Node{
		Name: t.attr("name"), Standby: t.is("standby"), Maintenance: t.is("maintenance"),
		Leaving: t.is("shutdown"), Type: t.attr("type"),
		Resource: t.attr("id_as_resource") + t.attr("container_id"),
	}
	switch online := t.attr("online"); {
	case t.attr("unclean") != "false" || t.is("pending"):
	case online == "true":
		n.State = Online
	case online == "false":
		n.State = Offline
	}
	return n
}

func (s *Status) seeResources(t *tree, within []string) {
	for _, e := range t.Nodes {
		if e.name() != "resource" { // a bundle, a replica in it, a clone, a group
			inner := slices.Clone(within)
			if e.name() != "replica" {
				inner = append(inner, e.attr("id"))
			}
			s.seeResources(e, inner)
			continue
		}
		p := e.place(within)
		s.Resources = append(s.Resources, p)
		p.Nodes = slices.Concat(s.Places[p.ID].Nodes, p.Nodes)
		s.Places[p.ID] = p
	}
}

// place reads a resource. Older crm_mon write the agent with two colons where there is no provider in between.
func (t *tree) place(within []string) Place {
	p := Place{
		ID: t.attr("id"), Agent: strings.ReplaceAll(t.attr("resource_agent"), "::", ":"), Pending: t.attr("pending"),
		Failed: t.is("failed"), Blocked: t.is("blocked"), Managed: Bool(t.attr("managed"), true),
		Maintenance: t.is("maintenance"), Within: within,
	}
	for _, n := range t.all("node") {
		p.Nodes = append(p.Nodes, n.attr("name"))
	}
	return p
}

// Node finds a node by its name.
func (s Status) Node(name string) (Node, bool) {
	i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return s.Nodes[i], true
}
