package metadata

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestParametersAreComplete(t *testing.T) {
	var names []string
	for _, p := range Parameters() {
		names = append(names, p.Name)
		if lines := strings.Count(p.Long(), "\n") + 1; p.Short == "" || p.Long() == "" || lines > 8 {
			t.Errorf("%s: short text %q, long text of %d lines, want one to eight", p.Name, p.Short, lines)
		}
		if (p.Kind == Number) != (p.Unit != "") || (p.Kind == Choice) != (len(p.Words) > 0) || p.NoDefault && p.Default != "" {
			t.Errorf("%s: kind, unit, words and default do not fit together: %+v", p.Name, p)
		}
		if p.Kind == Choice && !slices.Contains(p.Words, p.Default) {
			t.Errorf("%s: the default %q is none of %v", p.Name, p.Default, p.Words)
		}
		if found, ok := Lookup(p.Name); !ok || found.Short != p.Short {
			t.Errorf("%s: found %+v", p.Name, found)
		}
	}
	var described []string
	for _, m := range regexp.MustCompile(`(?m)^\[(\w+)\]$`).FindAllStringSubmatch(texts, -1) {
		described = append(described, m[1])
	}
	if !slices.Equal(described, names) {
		t.Errorf("parameters.txt describes, in its order,\n%v\nand the table has\n%v", described, names)
	}
	slices.Sort(names)
	if unique := slices.Compact(slices.Clone(names)); len(unique) != len(names) {
		t.Errorf("a parameter is there twice: %v", names)
	}
	if p, ok := Lookup("no_such"); ok {
		t.Errorf("found %+v", p)
	}
}

func TestIsNeeded(t *testing.T) {
	for action, want := range map[string][]bool{
		"stop": {true, false, false}, "monitor": {true, false, false}, "status": {true, false, false},
		"start": {true, true, false}, "migrate_from": {true, true, false}, "reload-agent": {true, true, false},
		"migrate_to": {true, true, true}, "validate-all": {true, true, true},
	} {
		for i, use := range []Use{Always, Guest, Move} {
			if got := use.IsNeeded(action); got != want[i] {
				t.Errorf("%s needs use %d: %t", action, use, got)
			}
		}
	}
}

func TestTimeout(t *testing.T) {
	for _, a := range Actions {
		if got := Timeout(a.Name); got != a.Timeout || got <= 0 {
			t.Errorf("%s has the timeout %v", a.Name, got)
		}
	}
	if got := Timeout("promote"); got != 0 {
		t.Errorf("no action has the timeout %v", got)
	}
}
