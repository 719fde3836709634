package cib

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Simulation is what crm_simulate says of one transition of the cluster.
type Simulation struct {
	Before, After Status
	Actions       []Action                  // what Pacemaker plans
	Steps         []Step                    // what was carried out in the simulation
	Fences        map[string]string         // the nodes that are fenced, and why
	Scores        map[string]map[string]int // by resource and node, at the moment of the decision
	Original      map[string]map[string]int // by node: its capacity
	Remaining     map[string]map[string]int // by node: the capacity that is free afterwards
}

// Action is one planned change of a resource.
type Action struct {
	Kind     string // "migrate", "move", "recover", "restart", "stop", "start", …
	Resource string
	From     string // the node where it is; empty for a start
	To       string // the node where it will be; empty for a stop
	Reason   string
	Blocked  bool // Pacemaker wants it and cannot do it
}

// Step is one operation of an agent's in the simulation.
type Step struct{ Operation, Resource, Node string }

// ParseSimulation reads the XML that "crm_simulate --simulate --show-scores --show-utilization" prints. It is an
// error when the document is cut short, is not crm_simulate's, lacks the simulation, or reports a failure.
func ParseSimulation(r io.Reader) (Simulation, error) {
	doc, err := parse(r, "pacemaker-result")
	if err == nil {
		err = doc.succeeded("crm_simulate")
	}
	if err == nil && len(doc.all("revised_cluster_status")) == 0 {
		err = fmt.Errorf("it has no simulation")
	}
	if err != nil {
		return Simulation{}, fmt.Errorf("read crm_simulate's answer: %w", err)
	}
	s := Simulation{Before: doc.at("cluster_status").status(), After: doc.at("revised_cluster_status").status()}
	s.readActions(doc.at("actions"))
	for _, e := range doc.at("transition").all("rsc_action") {
		s.Steps = append(s.Steps, Step{e.attr("op"), e.attr("resource"), e.attr("node")})
	}
	s.readNumbers(doc.at("allocations_utilizations"))
	return s, nil
}

func (s *Simulation) readActions(t *tree) {
	s.Fences = map[string]string{}
	for _, e := range t.all("node_action") {
		if strings.HasPrefix(e.attr("task"), "Fence") {
			s.Fences[e.attr("node")] = e.attr("reason")
		}
	}
	for _, e := range t.all("rsc_action") {
		a := Action{
			Kind:     e.attr("action"),
			Resource: e.attr("resource"),
			From:     e.attr("source"),
			To:       e.attr("dest"),
			Reason:   e.attr("reason"),
			Blocked:  e.is("blocked"),
		}
		if node := e.attr("node"); a.Kind == "start" {
			a.To += node
		} else {
			a.From += node
		}
		s.Actions = append(s.Actions, a)
	}
}

// readNumbers reads scores and capacities. A score is told at several moments: the last one is that of the decision.
func (s *Simulation) readNumbers(t *tree) {
	s.Scores = map[string]map[string]int{}
	s.Original, s.Remaining = map[string]map[string]int{}, map[string]map[string]int{}
	for _, e := range t.Nodes {
		switch e.name() {
		case "node_weight":
			set(s.Scores, e.attr("id"), e.attr("node"), Score(e.attr("score")))
		case "capacity":
			into := s.Remaining
			if e.attr("comment") == "Original" {
				into = s.Original
			}
			for _, c := range e.Nodes {
				if n, err := strconv.Atoi(c.Text); err == nil {
					set(into, e.attr("node"), c.name(), n)
				}
			}
		}
	}
}

func set(m map[string]map[string]int, outer, inner string, n int) {
	if m[outer] == nil {
		m[outer] = map[string]int{}
	}
	m[outer][inner] = n
}

// Of are the planned actions on a resource, under any number of its instances.
func (s Simulation) Of(resource string) []Action {
	return slices.DeleteFunc(slices.Clone(s.Actions), func(a Action) bool { return !isOf(a.Resource, resource) })
}

// Ran reports whether an operation of the resource was carried out on the node.
func (s Simulation) Ran(operation, resource, node string) bool {
	return slices.ContainsFunc(s.Steps, func(st Step) bool {
		return st.Operation == operation && isOf(st.Resource, resource) && st.Node == node
	})
}

// isOf reports whether an instance is the resource, or one of its instances.
func isOf(instance, resource string) bool {
	return instance == resource || Primitive(instance) == resource
}
