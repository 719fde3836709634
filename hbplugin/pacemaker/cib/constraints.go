package cib

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Constraint is a location constraint.
type Constraint struct {
	ID        string
	Until     time.Time // the end of its lifetime; zero where it has none
	Resources []string  // resources, templates or tags, by name
	Pattern   string    // a regular expression in their place; with a "!" before it, for those that do not match
	Node      string    // empty where rules decide
	Score     string
	Discovery string // resource-discovery: "always", "never" or "exclusive"; empty is always
	Promoted  bool   // it is about the promoted role alone
	Rules     []Rule
}

// Holds reports whether it still does at now: an expired one stays in the
// configuration until somebody clears it.
func (c Constraint) Holds(now time.Time) bool { return c.Until.IsZero() || now.Before(c.Until) }

// Rule is a rule of a location constraint.
type Rule struct {
	Text string // what it says, in words, such as `site ne "x"`
	tree *tree
}

// Colocation is a colocation constraint between two resources. A set is told as one for each pair in it.
type Colocation struct {
	ID, Resource, With, Role string // Role is the one that With must have; empty for any
	Score                    int
}

// Order is an order between two resources. A set is told as one for each pair in it.
type Order struct {
	ID, First, Then string
	Action          string // what First does first, such as "promote"; empty for start
	Optional        bool   // it holds only when both happen together
}

// Ticket is a ticket that a resource depends on.
type Ticket struct{ ID, Resource, Ticket string }

func (d *document) readConstraints(t *tree) {
	for _, e := range t.Nodes {
		switch e.name() {
		case "rsc_location":
			d.out.Constraints = append(d.out.Constraints, e.location())
		case "rsc_colocation":
			d.out.Colocations = append(d.out.Colocations, e.colocations()...)
		case "rsc_order":
			d.out.Orders = append(d.out.Orders, e.orders()...)
		case "rsc_ticket":
			d.out.Tickets = append(d.out.Tickets, e.tickets()...)
		}
	}
}

// members are the resources of the sets below t, in the order of the document.
func (t *tree) members() []string {
	var out []string
	for _, s := range t.all("resource_set") {
		for _, ref := range s.all("resource_ref") {
			out = append(out, ref.attr("id"))
		}
	}
	return out
}

func (t *tree) location() Constraint {
	c := Constraint{
		ID: t.attr("id"), Pattern: t.attr("rsc-pattern"), Node: t.attr("node"), Score: t.attr("score"),
		Discovery: t.attr("resource-discovery"),
		Resources: t.members(), Until: t.lifetime(), Promoted: t.promoted(),
	}
	if rsc := t.attr("rsc"); rsc != "" {
		c.Resources = append(c.Resources, rsc)
	}
	for _, r := range t.all("rule") {
		c.Promoted = c.Promoted || r.promoted()
		c.Rules = append(c.Rules, Rule{r.words(), r})
	}
	return c
}

// promoted reports whether an element is about the promoted role, which was called Master before Pacemaker 2.1.
func (t *tree) promoted() bool { return t.attr("role") == "Promoted" || t.attr("role") == "Master" }

// lifetime reads a lifetime as crm_resource writes it: one date before which the rule holds.
func (t *tree) lifetime() time.Time {
	var dates []*tree
	for _, r := range t.all("rule") {
		dates = append(dates, r.all("date_expression")...)
	}
	if len(dates) != 1 || dates[0].attr("operation") != "lt" {
		return time.Time{}
	}
	end, err := time.Parse("2006-01-02 15:04:05Z07:00", dates[0].attr("end"))
	if err != nil {
		return time.Time{}
	}
	return end
}

func (t *tree) colocations() []Colocation {
	score, role := Score(t.attr("score")), t.attr("with-rsc-role")
	if t.attr("score") == "" {
		score = Infinity
	}
	if rsc := t.attr("rsc"); rsc != "" {
		return []Colocation{{t.attr("id"), rsc, t.attr("with-rsc"), role, score}}
	}
	var out []Colocation
	for _, pair := range pairs(t.members()) {
		out = append(out, Colocation{ID: t.attr("id"), Resource: pair[1], With: pair[0], Score: score},
			Colocation{ID: t.attr("id"), Resource: pair[0], With: pair[1], Score: score})
	}
	return out
}

func (t *tree) orders() []Order {
	optional := t.attr("kind") == "Optional" || t.attr("score") == "0"
	if first := t.attr("first"); first != "" {
		return []Order{{t.attr("id"), first, t.attr("then"), t.attr("first-action"), optional}}
	}
	var out []Order
	for _, pair := range pairs(t.members()) {
		out = append(out, Order{ID: t.attr("id"), First: pair[0], Then: pair[1], Optional: optional})
	}
	return out
}

func (t *tree) tickets() []Ticket {
	var out []Ticket
	for _, rsc := range append(t.members(), t.attr("rsc")) {
		if rsc != "" {
			out = append(out, Ticket{t.attr("id"), rsc, t.attr("ticket")})
		}
	}
	return out
}

// pairs are all pairs of different names, each in the order of the names.
func pairs(names []string) [][2]string {
	var out [][2]string
	for i, first := range names {
		for _, then := range names[i+1:] {
			out = append(out, [2]string{first, then})
		}
	}
	return out
}

// Applies reports whether a location constraint is about a resource.
func (c Config) Applies(l Constraint, r Resource) bool {
	names := c.Names(r)
	named := func(name string) bool { return slices.Contains(l.Resources, name) }
	if l.Pattern == "" {
		return slices.ContainsFunc(names, named)
	}
	pattern, inverted := strings.CutPrefix(l.Pattern, "!")
	re, err := regexp.CompilePOSIX(pattern)
	return err == nil && slices.ContainsFunc(append([]string{r.ID}, r.Within...), re.MatchString) != inverted
}

// Truth is what can be said of a rule.
type Truth int

// The truths.
const (
	Unknown Truth = iota // it depends on the time, or on what this program does not evaluate
	True
	False
)

func truth(b bool) Truth {
	if b {
		return True
	}
	return False
}

// ScoreOn is the score that the rule gives to a node for which it holds, as written.
func (r Rule) ScoreOn(m Member) string {
	return cmp.Or(r.tree.attr("score"), m.Attrs[r.tree.attr("score-attribute")])
}

// Eval reports whether the rule holds for a node. Dates are Unknown.
func (r Rule) Eval(m Member) Truth { return r.tree.eval(m) }

// eval joins the expressions by "and" unless boolean-op says "or".
func (t *tree) eval(m Member) Truth {
	decides, otherwise := False, True
	if t.attr("boolean-op") == "or" {
		decides, otherwise = True, False
	}
	for _, e := range t.Nodes {
		got := Unknown
		switch e.name() {
		case "expression":
			got = e.compare(m)
		case "rule":
			got = e.eval(m)
		case "date_expression":
		default:
			continue
		}
		if got == decides {
			return decides
		}
		if got == Unknown {
			otherwise = Unknown
		}
	}
	return otherwise
}

// compare is one expression about an attribute of the node (pcmk__evaluate_attr_expression).
func (t *tree) compare(m Member) Truth {
	value, defined := m.Attrs[t.attr("attribute")]
	if slices.Contains([]string{"#uname", "#id"}, t.attr("attribute")) {
		value, defined = m.Name, t.attr("attribute") == "#uname"
	} else if strings.HasPrefix(t.attr("attribute"), "#") {
		return Unknown
	}
	switch op := t.attr("operation"); {
	case op == "defined":
		return truth(defined)
	case op == "not_defined":
		return truth(!defined)
	case t.attr("value-source") != "" && t.attr("value-source") != "literal":
		return Unknown
	case !defined && op == "ne":
		return True
	case !defined:
		return False
	default:
		return ordered(value, op, t.attr("value"), t.attr("type"))
	}
}

// ordered compares two values: as numbers where the expression says so, or where it compares by size and both are.
func ordered(value, op, with, kind string) Truth {
	order := strings.Compare(strings.ToLower(value), strings.ToLower(with))
	a, errA := strconv.ParseFloat(value, 64)
	b, errB := strconv.ParseFloat(with, 64)
	numeric := kind == "number" || kind == "integer" || kind == "" && op != "eq" && op != "ne"
	switch {
	case kind == "version":
		return Unknown
	case numeric && errA == nil && errB == nil:
		order = int(max(-1, min(1, (a-b)*1e9)))
	case numeric && kind != "":
		return Unknown
	}
	result, known := map[string]bool{
		"eq": order == 0, "ne": order != 0, "lt": order < 0, "lte": order <= 0, "gt": order > 0, "gte": order >= 0,
	}[op]
	if !known {
		return Unknown
	}
	return truth(result)
}

// words is a rule as a person would say it.
func (t *tree) words() string {
	var parts []string
	for _, e := range t.Nodes {
		switch e.name() {
		case "expression":
			part := e.attr("attribute") + " " + e.attr("operation")
			if e.attr("value") != "" {
				part += " " + strconv.Quote(e.attr("value"))
			}
			parts = append(parts, part)
		case "date_expression":
			parts = append(parts, "a date")
		case "rule":
			parts = append(parts, "("+e.words()+")")
		}
	}
	join := " and "
	if t.attr("boolean-op") == "or" {
		join = " or "
	}
	return strings.Join(parts, join)
}
