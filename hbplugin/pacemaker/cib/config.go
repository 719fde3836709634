package cib

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Config is what Pacemaker was told, and, where the document has a status, what it knows of each node.
type Config struct {
	Options     map[string]string // cluster properties, such as "stonith-enabled"
	Resources   []Resource        // the primitives, in the order of the document
	Constraints []Constraint      // on where resources run
	Colocations []Colocation
	Orders      []Order
	Tickets     []Ticket
	Nodes       []Member            // the members and the remote nodes, in the order of the document
	Tags        map[string][]string // what each tag stands for
	Underway    []Pending           // the operations that have begun and not ended
	Levels      []Level             // the fencing topology
}

// Level is one level of the fencing topology.
type Level struct {
	Target  string   // whom it is for, as written: a node's name, "pattern REGEX", or "attribute NAME=VALUE"
	Devices []string // all have to succeed
}

// Resource is one primitive, with what it inherits from its template, from the
// group, clone or bundle around it, and from the defaults.
type Resource struct {
	ID          string
	Agent       string            // such as "ocf:vmferry:Domain"; empty where only an unknown template says it
	Params      map[string]string // instance attributes
	Meta        map[string]string // meta attributes
	Utilization map[string]string
	Timeouts    map[string]string // by action, as written; without an entry Pacemaker's own default of 20 s holds
	Ruled       []string          // parameters, meta attributes and actions that a rule decides: in no map
	Origin      map[string]string // by meta attribute: the id of the element that sets it; empty: the resource defaults
	Within      []string          // the ids of the group, clone or bundle around it, the outermost first
	Group       []string          // the members of its group that come before it
	Template    string
	Clone       bool // a clone or a bundle is around it
}

// ParseConfig reads the element <configuration>, alone or in a <cib>. The value of an attribute that a rule
// governs is taken for unknown: whether the rule holds depends on the time and the node.
func ParseConfig(r io.Reader) (Config, error) {
	root, err := parse(r, "configuration", "cib")
	if err != nil {
		return Config{}, fmt.Errorf("read Pacemaker's configuration: %w", err)
	}
	d := &document{ids: map[string]*tree{}, conf: root, state: root.at("status")}
	if root.name() == "cib" {
		d.conf = root.at("configuration")
	}
	d.conf.each(func(t *tree) {
		if id := t.attr("id"); id != "" {
			d.ids[id] = t
		}
	})
	return d.read(), nil
}

// document is the CIB while it is read.
type document struct {
	ids         map[string]*tree
	conf, state *tree
	ops         choices // the operation defaults
	out         Config
}

func (d *document) read() Config {
	d.out.Options, _ = d.values(d.conf.at("crm_config").all("cluster_property_set")).split()
	d.ops = d.values(d.conf.at("op_defaults").all("meta_attributes"))
	d.out.Tags = map[string][]string{}
	for _, t := range d.conf.at("tags").all("tag") {
		for _, ref := range t.all("obj_ref") {
			d.out.Tags[t.attr("id")] = append(d.out.Tags[t.attr("id")], ref.attr("id"))
		}
	}
	defaults := d.values(d.conf.at("rsc_defaults").all("meta_attributes"))
	d.walk(d.conf.at("resources"), holder{meta: defaults, origin: originOf(nil, defaults, "")})
	d.readNodes()
	d.readPending()
	d.readLevels()
	d.readConstraints(d.conf.at("constraints"))
	return d.out
}

// holder is what the primitives in an element inherit from all around it.
type holder struct {
	meta   choices
	origin map[string]string
	within []string
	clone  bool
}

// enter is the holder for what is in a group, a clone or a bundle.
func (d *document) enter(h holder, t *tree) holder {
	meta := d.values(t.all("meta_attributes"))
	return holder{
		meta:   meta.over(h.meta),
		origin: originOf(h.origin, meta, t.attr("id")),
		within: append(slices.Clone(h.within), t.attr("id")),
		clone:  h.clone || t.name() != "group",
	}
}

// originOf is base with id for all that meta sets.
func originOf(base map[string]string, meta choices, id string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, base)
	for name := range meta {
		out[name] = id
	}
	return out
}

// walk adds the primitives below t, in the order of the document.
func (d *document) walk(t *tree, h holder) {
	var before []string
	for _, e := range t.Nodes {
		switch e.name() {
		case "primitive":
			r := d.resource(e, h)
			if t.name() == "group" {
				r.Group = slices.Clone(before)
			}
			before = append(before, r.ID)
			d.out.Resources = append(d.out.Resources, r)
		case "group", "clone", "master", "bundle":
			d.walk(e, d.enter(h, e))
		}
	}
}

func (d *document) resource(p *tree, h holder) Resource {
	template := d.ids[p.attr("template")]
	if template == nil {
		template = &tree{}
	}
	agent := p
	if p.attr("class") == "" {
		agent = template
	}
	both := func(set string) choices { return d.values(p.all(set)).over(d.values(template.all(set))) }
	own, inherited := d.values(p.all("meta_attributes")), d.values(template.all("meta_attributes"))
	r := Resource{
		ID:       p.attr("id"),
		Agent:    agent.agent(),
		Within:   h.within,
		Template: p.attr("template"),
		Clone:    h.clone,
	}
	r.Origin = originOf(originOf(h.origin, inherited, r.Template), own, r.ID)
	var params, meta, ops []string
	r.Params, params = both("instance_attributes").split()
	r.Meta, meta = own.over(inherited).over(h.meta).split()
	r.Utilization, _ = both("utilization").split()
	r.Timeouts, ops = d.timeouts(p, template)
	r.Ruled = slices.Concat(params, meta, ops)
	return r
}

// agent is the name of the agent, such as "ocf:vmferry:Domain".
func (t *tree) agent() string {
	parts := []string{t.attr("class"), t.attr("provider"), t.attr("type")}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ":")
}

// timed are the actions of which the time-out is told.
var timed = []string{"start", "stop", "monitor", "migrate_to", "migrate_from"}

// timeouts are those of the operations of a primitive and its template, by action. One is taken from the operation's
// own attribute, then from its meta attributes, then from the operation defaults (pcmk__unpack_action_meta).
func (d *document) timeouts(p, template *tree) (timeouts map[string]string, ruled []string) {
	limits := choices{}
	for _, list := range append(p.all("operations"), template.all("operations")...) {
		for _, op := range d.resolve(list).all("op") {
			if _, seen := limits[op.attr("name")]; !seen {
				limits[op.attr("name")] = d.timeout(op)
			}
		}
	}
	for _, action := range timed {
		limits[action] = limits[action].then(d.ops["timeout"])
	}
	return limits.split()
}

// timeout is what an operation itself says of it.
func (d *document) timeout(op *tree) choice {
	if own := op.attr("timeout"); own != "" {
		return choice{[]string{own}, true}
	}
	return d.values(op.all("meta_attributes"))["timeout"]
}

// Resource finds a primitive by its id. A clone's instance, such as "web:0", is the primitive itself.
func (c Config) Resource(id string) (Resource, bool) {
	i := slices.IndexFunc(c.Resources, func(r Resource) bool { return r.ID == id })
	if i < 0 {
		i = slices.IndexFunc(c.Resources, func(r Resource) bool { return r.Clone && r.ID == Primitive(id) })
	}
	if i < 0 {
		return Resource{}, false
	}
	return c.Resources[i], true
}

// FenceDevices are the resources that are fence devices.
func (c Config) FenceDevices() []Resource {
	isOther := func(r Resource) bool { return !strings.HasPrefix(r.Agent, "stonith:") }
	return slices.DeleteFunc(slices.Clone(c.Resources), isOther)
}

// Primitive is the id of the primitive that an instance belongs to: "web" for "web:0".
func Primitive(instance string) string {
	id, number, ok := strings.Cut(instance, ":")
	if !ok || strings.Trim(number, "0123456789") != "" {
		return instance
	}
	return id
}

// Names are all that a constraint may call the resource by: its id, what is around it, its template, and
// the tags of these.
func (c Config) Names(r Resource) []string {
	names := append([]string{r.ID}, r.Within...)
	if r.Template != "" {
		names = append(names, r.Template)
	}
	tagged := names
	for _, tag := range slices.Sorted(maps.Keys(c.Tags)) {
		if slices.ContainsFunc(c.Tags[tag], func(id string) bool { return slices.Contains(names, id) }) {
			tagged = append(tagged, tag)
		}
	}
	return tagged
}

// Member is a node of the configuration.
type Member struct {
	Name      string
	Attrs     map[string]string // permanent attributes, with the transient ones over them; #uname is not among them
	Permanent map[string]string
	Failures  map[string]int // by resource: its fail-count
	Answers   map[string]int // by resource: the exit code of its last failed action, such as 5 for "not installed"
}

// readNodes joins the configured nodes and their states.
func (d *document) readNodes() {
	configured, states := map[string]*tree{}, map[string]*tree{}
	for _, s := range d.state.all("node_state") {
		states[s.attr("uname")] = s
	}
	add := func(name string) {
		m := d.member(name, cmp.Or(configured[name], &tree{}), cmp.Or(states[name], &tree{}))
		d.out.Nodes = append(d.out.Nodes, m)
	}
	for _, n := range d.conf.at("nodes").all("node") {
		configured[n.attr("uname")] = n
		if n.attr("type") != "remote" { // guest nodes and bundle nodes are there as well
			add(n.attr("uname"))
		}
	}
	for _, r := range d.out.Resources {
		if r.Agent == "ocf:pacemaker:remote" {
			add(r.ID)
		}
	}
}

func (d *document) member(name string, n, state *tree) Member {
	permanent := d.values(n.all("instance_attributes"))
	transient := d.values(state.at("transient_attributes").all("instance_attributes"))
	m := Member{Name: name}
	m.Permanent, _ = permanent.split()
	m.Attrs, _ = transient.over(permanent).split()
	m.Failures = failures(m.Attrs)
	m.Answers, _ = answers(state)
	return m
}

// failures adds up the fail-counts of the operations of each resource: "fail-count-web#start_0".
func failures(attributes map[string]string) map[string]int {
	out := map[string]int{}
	for name, value := range attributes {
		rest, ok := strings.CutPrefix(name, "fail-count-")
		if id, _, _ := strings.Cut(rest, "#"); ok {
			out[id] = min(Infinity, out[id]+Score(value))
		}
	}
	return out
}

// answers are the errors in the history of a node, by resource, and whether it has none at all.
func answers(state *tree) (codes map[string]int, erased bool) {
	codes, erased = map[string]int{}, true
	for _, r := range state.at("lrm", "lrm_resources").all("lrm_resource") {
		erased = false
		for _, op := range r.all("lrm_rsc_op") {
			if code := Score(op.attr("rc-code")); code >= 1 && code <= 6 && op.attr("op-status") != "-1" {
				codes[r.attr("id")] = max(code, codes[r.attr("id")])
			}
		}
	}
	return codes, erased
}

// Pending is an operation that has begun and not ended.
type Pending struct {
	Resource, Operation string
	Node                string // where the operation runs
	Source, Target      string // of a migration
}

func (d *document) readPending() {
	for _, s := range d.state.all("node_state") {
		for _, r := range s.at("lrm", "lrm_resources").all("lrm_resource") {
			for _, op := range r.all("lrm_rsc_op") {
				if op.attr("op-status") == "-1" {
					d.out.Underway = append(d.out.Underway, Pending{
						Resource: r.attr("id"), Operation: op.attr("operation"), Node: s.attr("uname"),
						Source: op.attr("migrate_source"), Target: op.attr("migrate_target"),
					})
				}
			}
		}
	}
}

// Member finds a node by its name.
func (c Config) Member(name string) Member {
	for _, m := range c.Nodes {
		if m.Name == name {
			return m
		}
	}
	return Member{Name: name}
}

// ParseErased reads the element <status> and returns the nodes that have a state and no history of
// operations, as a node that was fenced and has not joined again.
func ParseErased(r io.Reader) ([]string, error) {
	root, err := parse(r, "status", "cib")
	if err != nil {
		return nil, fmt.Errorf("read Pacemaker's status: %w", err)
	}
	if root.name() == "cib" {
		root = root.at("status")
	}
	var out []string
	for _, s := range root.all("node_state") {
		if _, erased := answers(s); erased {
			out = append(out, s.attr("uname"))
		}
	}
	return out, nil
}

// readLevels reads the fencing topology.
func (d *document) readLevels() {
	for _, t := range d.conf.at("fencing-topology").all("fencing-level") {
		l := Level{Target: t.attr("target")}
		if pattern := t.attr("target-pattern"); pattern != "" {
			l.Target = "pattern " + pattern
		}
		if name := t.attr("target-attribute"); name != "" {
			l.Target = "attribute " + name + "=" + t.attr("target-value")
		}
		for device := range strings.SplitSeq(t.attr("devices"), ",") {
			l.Devices = append(l.Devices, strings.TrimSpace(device))
		}
		d.out.Levels = append(d.out.Levels, l)
	}
}
