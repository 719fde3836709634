package cib

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// tree is one element of a document, with everything below it in the order of the document.
type tree struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Nodes   []*tree    `xml:",any"`
	Text    string     `xml:",chardata"`
}

// parse reads one document, whose root must be one of the names.
func parse(r io.Reader, names ...string) (*tree, error) {
	var doc tree
	err := xml.NewDecoder(r).Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty: it was cut short")
	}
	if err != nil {
		return nil, err
	}
	if slices.Contains(names, doc.name()) {
		return &doc, nil
	}
	return nil, fmt.Errorf("the document is <%s>, not <%s>", doc.name(), strings.Join(names, "> or <"))
}

func (t *tree) name() string { return t.XMLName.Local }

func (t *tree) attr(name string) string {
	for _, a := range t.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// is reads one of crm_mon's booleans.
func (t *tree) is(name string) bool { return t.attr(name) == "true" }

// all are the children of that name.
func (t *tree) all(name string) []*tree {
	var out []*tree
	for _, n := range t.Nodes {
		if n.name() == name {
			out = append(out, n)
		}
	}
	return out
}

// at goes down one child of each name; where there is none, it is an element that has nothing.
func (t *tree) at(names ...string) *tree {
	for _, name := range names {
		all := t.all(name)
		if len(all) == 0 {
			return &tree{}
		}
		t = all[0]
	}
	return t
}

// each calls f for t and all that is below it, outer elements first.
func (t *tree) each(f func(*tree)) {
	f(t)
	for _, n := range t.Nodes {
		n.each(f)
	}
}

// choice is what a name may be set to. Sets of attributes that a rule governs hold at some times and on some
// nodes only, so that there may be more than one value.
type choice struct {
	values  []string // the one that is tried first comes first
	certain bool     // the last value holds where none before it does
}

// then is c, with what holds where c sets nothing.
func (c choice) then(base choice) choice {
	if c.certain {
		return c
	}
	return choice{slices.Concat(c.values, base.values), base.certain}
}

// known is the value, unless a rule decides which it is, or whether there is one.
func (c choice) known() (value string, ok bool) {
	if !c.certain {
		return "", false
	}
	other := func(v string) bool { return v != c.values[0] }
	return c.values[0], !slices.ContainsFunc(c.values, other)
}

// choices are those of each name.
type choices map[string]choice

// over is base with what top says instead.
func (top choices) over(base choices) choices {
	out := choices{}
	for name, c := range base {
		out[name] = top[name].then(c)
	}
	for name, c := range top {
		out[name] = c.then(base[name])
	}
	return out
}

// split says what is set from what a rule decides; the names of the latter are sorted.
func (c choices) split() (set map[string]string, ruled []string) {
	set = map[string]string{}
	for name, ch := range c {
		if value, ok := ch.known(); ok {
			set[name] = value
		} else if len(ch.values) > 0 {
			ruled = append(ruled, name)
		}
	}
	slices.Sort(ruled)
	return set, ruled
}

// values joins the sets: the one with the highest score decides, then the first. Sets and pairs may be
// references to others.
func (d *document) values(sets []*tree) choices {
	sets = slices.Clone(sets)
	for i, s := range sets {
		sets[i] = d.resolve(s)
	}
	slices.SortStableFunc(sets, func(a, b *tree) int { return Score(b.attr("score")) - Score(a.attr("score")) })
	out := choices{}
	for _, s := range sets {
		ruled := len(s.all("rule")) > 0
		for _, p := range s.all("nvpair") {
			name, value := p.attr("name"), d.resolve(p).attr("value")
			name = cmp.Or(name, d.resolve(p).attr("name"))
			out[name] = out[name].then(choice{[]string{value}, !ruled})
		}
	}
	return out
}

// resolve follows an id-ref.
func (d *document) resolve(t *tree) *tree {
	if ref := d.ids[t.attr("id-ref")]; ref != nil {
		return ref
	}
	return t
}

// Infinity is the score that Pacemaker calls INFINITY: it outweighs all others.
const Infinity = 1000000

// Score reads one of Pacemaker's scores; what is none of them is 0.
func Score(text string) int {
	switch strings.ToUpper(text) {
	case "INFINITY", "+INFINITY":
		return Infinity
	case "-INFINITY":
		return -Infinity
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return max(-Infinity, min(Infinity, n))
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
