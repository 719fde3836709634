package cib

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

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
