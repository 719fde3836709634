package cib

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is what Pacemaker was told.
type Config struct {
	Options     map[string]string // cluster properties, such as "stonith-enabled"
	Resources   []Resource        // the primitives, in the order of the document
	Constraints []Constraint      // on where resources run
}

// Constraint is a location constraint.
type Constraint struct {
	ID    string
	Until time.Time // the end of its lifetime; zero where it has none
}

// Holds tells whether it still does at now: an expired one stays in the
// configuration until somebody clears it.
func (c Constraint) Holds(now time.Time) bool { return c.Until.IsZero() || now.Before(c.Until) }

// Resource is one primitive, with what it inherits from its template, from the
// group, clone or bundle around it, and from the resource defaults.
type Resource struct {
	ID     string
	Agent  string            // such as "ocf:vmferry:Domain"; empty where only an unknown template says it
	Params map[string]string // instance attributes
	Meta   map[string]string // meta attributes
	Ops    []Op
}

// Op is an operation that the resource is configured with.
type Op struct {
	Name     string `xml:"name,attr"`
	Interval string `xml:"interval,attr"`
	Timeout  string `xml:"timeout,attr"`
}

// ParseConfig reads the element <configuration>, alone or in a <cib>. Attribute
// sets that a rule governs are left out: whether they hold depends on the time
// and the node.
func ParseConfig(r io.Reader) (Config, error) {
	var doc struct {
		XMLName xml.Name
		configuration
		Inner configuration `xml:"configuration"`
	}
	if err := xml.NewDecoder(r).Decode(&doc); err != nil {
		return Config{}, fmt.Errorf("read Pacemaker's configuration: %w", err)
	}
	switch doc.XMLName.Local {
	case "configuration":
		return doc.configuration.read(), nil
	case "cib":
		return doc.Inner.read(), nil
	}
	return Config{}, fmt.Errorf("read Pacemaker's configuration: the document is <%s>, not <configuration>", doc.XMLName.Local)
}

// configuration is the form of the document.
type configuration struct {
	Options   []nvset    `xml:"crm_config>cluster_property_set"`
	Resources element    `xml:"resources"`
	Defaults  []nvset    `xml:"rsc_defaults>meta_attributes"`
	Locations []location `xml:"constraints>rsc_location"`
}

type location struct {
	ID    string `xml:"id,attr"`
	Dates []struct {
		Operation string `xml:"operation,attr"`
		End       string `xml:"end,attr"`
	} `xml:"rule>date_expression"`
}

// constraint reads the lifetime as crm_resource writes it: one date before which
// the rule holds.
func (l location) constraint() Constraint {
	c := Constraint{ID: l.ID}
	if len(l.Dates) != 1 || l.Dates[0].Operation != "lt" {
		return c
	}
	if end, err := time.Parse("2006-01-02 15:04:05Z07:00", l.Dates[0].End); err == nil {
		c.Until = end
	}
	return c
}

type idElement struct {
	ID string `xml:"id,attr"`
}

// element is a resource or what holds resources.
type element struct {
	ID       string  `xml:"id,attr"`
	Class    string  `xml:"class,attr"`
	Provider string  `xml:"provider,attr"`
	Type     string  `xml:"type,attr"`
	Template string  `xml:"template,attr"`
	Params   []nvset `xml:"instance_attributes"`
	Meta     []nvset `xml:"meta_attributes"`
	Ops      []Op    `xml:"operations>op"`

	Primitives []element `xml:"primitive"`
	Groups     []element `xml:"group"`
	Clones     []element `xml:"clone"`
	Masters    []element `xml:"master"`
	Bundles    []element `xml:"bundle"`
	Templates  []element `xml:"template"`
}

type nvset struct {
	ID    string      `xml:"id,attr"`
	Ref   string      `xml:"id-ref,attr"`
	Score string      `xml:"score,attr"`
	Rules []idElement `xml:"rule"`
	Pairs []struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	} `xml:"nvpair"`
}

func (c configuration) read() Config {
	w := walker{sets: map[string]nvset{}, templates: map[string]element{}}
	w.index(c.Resources)
	w.walk(c.Resources, w.values(c.Defaults))
	for _, l := range c.Locations {
		w.out.Constraints = append(w.out.Constraints, l.constraint())
	}
	w.out.Options = w.values(c.Options)
	return w.out
}

// walker goes down the tree of resources.
type walker struct {
	sets      map[string]nvset
	templates map[string]element
	out       Config
}

// index notes what other elements may refer to by id.
func (w *walker) index(e element) {
	for _, s := range slices.Concat(e.Params, e.Meta) {
		if s.Ref == "" {
			w.sets[s.ID] = s
		}
	}
	for _, t := range e.Templates {
		w.templates[t.ID] = t
		w.index(t)
	}
	for _, child := range e.children() {
		w.index(child)
	}
	for _, p := range e.Primitives {
		w.index(p)
	}
}

func (e element) children() []element { return slices.Concat(e.Groups, e.Clones, e.Masters, e.Bundles) }

// walk adds the primitives below e, which inherit the meta attributes meta.
func (w *walker) walk(e element, meta map[string]string) {
	for _, p := range e.Primitives {
		w.out.Resources = append(w.out.Resources, w.resource(p, meta))
	}
	for _, child := range e.children() {
		w.walk(child, over(meta, w.values(child.Meta)))
	}
}

func (w *walker) resource(p element, meta map[string]string) Resource {
	t := w.templates[p.Template]
	agent := p
	if p.Class == "" {
		agent = t
	}
	ops := slices.Clone(p.Ops)
	for _, op := range t.Ops {
		same := func(o Op) bool { return o.Name == op.Name && o.Interval == op.Interval }
		if !slices.ContainsFunc(ops, same) {
			ops = append(ops, op)
		}
	}
	return Resource{
		ID: p.ID, Agent: agent.agent(), Ops: ops,
		Params: over(w.values(t.Params), w.values(p.Params)),
		Meta:   over(over(meta, w.values(t.Meta)), w.values(p.Meta)),
	}
}

func (e element) agent() string {
	parts := slices.DeleteFunc([]string{e.Class, e.Provider, e.Type}, func(s string) bool { return s == "" })
	return strings.Join(parts, ":")
}

// values joins sets: the one with the highest score decides, then the first.
func (w *walker) values(sets []nvset) map[string]string {
	sets = slices.Clone(sets)
	for i, s := range sets {
		if s.Ref != "" {
			sets[i] = w.sets[s.Ref]
		}
	}
	slices.SortStableFunc(sets, func(a, b nvset) int { return cmp.Compare(b.score(), a.score()) })
	out := map[string]string{}
	for _, s := range sets {
		if len(s.Rules) > 0 {
			continue
		}
		for _, p := range s.Pairs {
			if _, set := out[p.Name]; !set {
				out[p.Name] = p.Value
			}
		}
	}
	return out
}

// infinity is what Pacemaker calls INFINITY.
const infinity = 1000000

func (s nvset) score() int {
	switch strings.ToUpper(s.Score) {
	case "INFINITY", "+INFINITY":
		return infinity
	case "-INFINITY":
		return -infinity
	}
	n, err := strconv.Atoi(s.Score)
	if err != nil {
		return 0
	}
	return n
}

// over is base with what top says instead.
func over(base, top map[string]string) map[string]string {
	out := make(map[string]string, len(base)+len(top))
	for _, m := range []map[string]string{base, top} {
		for name, value := range m {
			out[name] = value
		}
	}
	return out
}

// Bool reads one of Pacemaker's booleans; what is none of them is def.
func Bool(value string, def bool) bool {
	switch strings.ToLower(value) {
	case "true", "yes", "on", "y", "1":
		return true
	case "false", "no", "off", "n", "0":
		return false
	}
	return def
}
