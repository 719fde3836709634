package cib

import (
	"slices"
	"strings"
	"testing"
)

// conf reads a configuration with one resource, web, whose meta attributes and operations are given.
func conf(t *testing.T, inside, around string) Config {
	t.Helper()
	c, err := ParseConfig(strings.NewReader(`<configuration><resources><primitive id="web" class="ocf" provider="vmferry" type="Domain">` +
		inside + `</primitive></resources>` + around + `</configuration>`))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRuledMeta(t *testing.T) {
	set := func(attrs, rule, value string) string {
		return `<meta_attributes ` + attrs + `>` + rule + `<nvpair name="allow-migrate" value="` + value +
			`"/></meta_attributes>`
	}
	const rule = `<rule id="r" score="1"/>`
	defaults := func(text string) string { return "<rsc_defaults>" + text + "</rsc_defaults>" }
	for _, tt := range []struct {
		name, inside, around, value string
		ruled                       bool
	}{
		{"nowhere", "", "", "", false},
		{"set", set("", "", "true"), "", "true", false},
		{"by a rule alone", set("", rule, "true"), "", "", true},
		{"a rule before another value", set(`score="2"`, rule, "true") + set("", "", "false"), "", "", true},
		{"a rule before the same value", set(`score="2"`, rule, "true") + set("", "", "true"), "", "true", false},
		{"a rule that comes too late", set(`score="2"`, "", "true") + set("", rule, "false"), "", "true", false},
		{"the highest score decides", set(`score="1"`, "", "true") + set(`score="INFINITY"`, "", "false"), "",
			"false", false},
		{"the defaults", "", defaults(set("", "", "true")), "true", false},
		{"a rule in the defaults", "", defaults(set("", rule, "true")), "", true},
		{"its own value over a rule in the defaults", set("", "", "true"), defaults(set("", rule, "false")), "true",
			false},
		{"its own rule over the defaults", set("", rule, "true"), defaults(set("", "", "false")), "", true},
		{"a reference to a set", `<meta_attributes id-ref="d"/>`, defaults(set(`id="d"`, "", "true")), "true", false},
		{"a reference to a pair", `<meta_attributes id="m"><nvpair id-ref="p"/></meta_attributes>`,
			`<op_defaults><meta_attributes id="x"><nvpair id="p" name="allow-migrate" value="true"/></meta_attributes></op_defaults>`, "true", false},
		{"a reference into the void", `<meta_attributes id-ref="nothing"/>`, "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := conf(t, tt.inside, tt.around).Resources[0]
			if got := r.Meta["allow-migrate"]; got != tt.value ||
				slices.Contains(r.Ruled, "allow-migrate") != tt.ruled {
				t.Errorf("%q, ruled %v; want %q, %t", got, r.Ruled, tt.value, tt.ruled)
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	op := func(attrs, inside string) string {
		return `<operations><op name="migrate_to" ` + attrs + `>` + inside + `</op></operations>`
	}
	meta := func(rule, value string) string {
		return `<meta_attributes id="m">` + rule + `<nvpair name="timeout" value="` + value + `"/></meta_attributes>`
	}
	defaults := func(text string) string { return "<op_defaults>" + text + "</op_defaults>" }
	const rule = `<rule id="r" score="1"><op_expression name="monitor"/></rule>`
	for _, tt := range []struct {
		name, inside, around, want string
		ruled                      bool
	}{
		{"nowhere", op("", ""), "", "", false},
		{"its own", op(`timeout="5s"`, ""), defaults(meta("", "9s")), "5s", false},
		{"its meta attributes", op("", meta("", "6s")), defaults(meta("", "9s")), "6s", false},
		{"its own before its meta attributes", op(`timeout="5s"`, meta("", "6s")), "", "5s", false},
		{"the defaults", op("", ""), defaults(meta("", "9s")), "9s", false},
		{"the defaults, no operation", "", defaults(meta("", "9s")), "9s", false},
		{"a rule in the defaults", op("", ""), defaults(meta(rule, "9s")), "", true},
		{"its own over a rule", op(`timeout="5s"`, ""), defaults(meta(rule, "9s")), "5s", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := conf(t, tt.inside, tt.around).Resources[0]
			if got := r.Timeouts["migrate_to"]; got != tt.want || slices.Contains(r.Ruled, "migrate_to") != tt.ruled {
				t.Errorf("%q, ruled %v; want %q, %t", got, r.Ruled, tt.want, tt.ruled)
			}
		})
	}
}

func TestScore(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "x": 0, "5": 5, "-5": -5, "INFINITY": Infinity, "+INFINITY": Infinity, "-infinity": -Infinity,
		"2000000": Infinity, "-2000000": -Infinity,
	} {
		if got := Score(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestRules(t *testing.T) {
	m := Member{Name: "n1", Attrs: map[string]string{"site": "x", "load": "9", "empty": ""}}
	e := func(attribute, operation, more string) string {
		return `<expression attribute="` + attribute + `" operation="` + operation + `" ` + more + `/>`
	}
	for _, tt := range []struct {
		text string
		want Truth
	}{
		{`<rule>` + e("site", "eq", `value="x"`) + `</rule>`, True},
		{`<rule>` + e("site", "ne", `value="x"`) + `</rule>`, False},
		{`<rule>` + e("none", "ne", `value="x"`) + `</rule>`, True},
		{`<rule>` + e("none", "eq", `value="x"`) + `</rule>`, False},
		{`<rule>` + e("empty", "defined", "") + `</rule>`, True},
		{`<rule>` + e("none", "not_defined", "") + `</rule>`, True},
		{`<rule>` + e("#uname", "eq", `value="n1"`) + `</rule>`, True},
		{`<rule>` + e("#kind", "eq", `value="cluster"`) + `</rule>`, Unknown},
		{`<rule>` + e("load", "lt", `value="10" type="number"`) + `</rule>`, True},
		{`<rule>` + e("load", "lt", `value="10"`) + `</rule>`, True},
		{`<rule>` + e("load", "lt", `value="10" type="string"`) + `</rule>`, False},
		{`<rule>` + e("load", "lt", `value="1.2.3" type="version"`) + `</rule>`, Unknown},
		{`<rule>` + e("site", "lt", `value="10" type="number"`) + `</rule>`, Unknown},
		{`<rule>` + e("site", "eq", `value="p" value-source="param"`) + `</rule>`, Unknown},
		{`<rule><date_expression operation="lt" end="2026-01-01"/></rule>`, Unknown},
		{`<rule><date_expression operation="lt" end="2026-01-01"/>` + e("site", "eq", `value="y"`) + `</rule>`, False},
		{`<rule boolean-op="or"><date_expression operation="lt" end="2026-01-01"/>` + e("site", "eq", `value="x"`) +
			`</rule>`, True},
		{`<rule boolean-op="or"><rule>` + e("site", "eq", `value="y"`) + `</rule><rule>` +
			e("load", "gte", `value="9"`) + `</rule></rule>`, True},
	} {
		doc, err := parse(strings.NewReader(tt.text), "rule")
		if err != nil {
			t.Fatal(err)
		}
		if got := (Rule{tree: doc}).Eval(m); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.text, got, tt.want)
		}
	}
}

func TestApplies(t *testing.T) {
	c, err := ParseConfig(strings.NewReader(`<configuration><resources><group id="g"><primitive id="web1" template="vm"/></group></resources>
 <tags><tag id="t"><obj_ref id="g"/></tag></tags></configuration>`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		l    Constraint
		want bool
	}{
		{Constraint{Resources: []string{"web1"}}, true},
		{Constraint{Resources: []string{"g"}}, true},
		{Constraint{Resources: []string{"vm"}}, true},
		{Constraint{Resources: []string{"t"}}, true},
		{Constraint{Resources: []string{"web"}}, false},
		{Constraint{Pattern: "^web[0-9]$"}, true},
		{Constraint{Pattern: "!^web[0-9]$"}, false},
		{Constraint{Pattern: "!^db"}, true},
		{Constraint{Pattern: "("}, false},
		{Constraint{}, false},
	} {
		if got := c.Applies(tt.l, c.Resources[0]); got != tt.want {
			t.Errorf("%+v: %t", tt.l, got)
		}
	}
}
