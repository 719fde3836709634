package styletest

import (
	"fmt"
	"slices"
	"strings"
)

// layers are the module's folders from the lowest to the highest. A package may
// import its own folder and those below it.
var layers = []string{"migrate", "resource", "hbplugin", "cmd", "lab"}

// labProgram is the one program that may import the lab.
const labProgram = "cmd/vmferry-lab"

// owner is a foreign package that one of ours alone may import.
type owner struct{ path, by string }

var owners = []owner{
	{"libvirt.org/go/libvirt", "migrate/libvirt/client"},
	{"github.com/digitalocean/go-qemu", "migrate/qmp"},
}

// forbidden may be imported by nobody, together with all below it.
var forbidden = []string{"github.com/digitalocean/go-qemu/qmp/raw"}

// Arrows finds imports that go the wrong way: cmd → hbplugin → resource →
// migrate, and lab above all. Tests count too.
func Arrows(f *File) []string {
	var out []string
	for _, spec := range f.tree.Imports {
		if why := wrong(f.Dir(), strings.Trim(spec.Path.Value, "`\"")); why != "" {
			out = append(out, f.finding(spec.Pos(), "%s", why))
		}
	}
	return out
}

// wrong says why the package in dir may not import target, "" when it may.
func wrong(dir, target string) string {
	for _, bad := range forbidden {
		if within(target, bad) {
			return fmt.Sprintf("imports %s, which nobody may", target)
		}
	}
	for _, o := range owners {
		if within(target, o.path) && !within(dir, o.by) {
			return fmt.Sprintf("imports %s, which only %s may; use that", target, o.by)
		}
	}
	ours, inside := strings.CutPrefix(target, Module+"/")
	switch {
	case !inside:
		return ""
	case within(ours, "lab") && !within(dir, "lab") && !within(dir, labProgram):
		return fmt.Sprintf("imports %s, which only lab and %s may", ours, labProgram)
	case within(dir, labProgram) && within(ours, "lab"):
		return ""
	case layer(ours) > layer(dir):
		return fmt.Sprintf("imports %s, which is above it; arrows go cmd → hbplugin → resource → migrate", ours)
	}
	return ""
}

// within reports whether p is parent or lies below it.
func within(p, parent string) bool { return p == parent || strings.HasPrefix(p, parent+"/") }

// layer is the place of a directory in layers, -1 for one that is in none.
func layer(dir string) int {
	top, _, _ := strings.Cut(dir, "/")
	return slices.Index(layers, top)
}

// top is what may be at the repository's top level besides dot-files.
var top = []string{"migrate", "resource", "hbplugin", "cmd", "lab", "go.mod", "go.sum", "Makefile", "LICENSE",
	"README.md", "build"}

// TopLevel finds names that have no place at the repository's top level.
func TopLevel(names []string) []string {
	var out []string
	for _, n := range names {
		if !strings.HasPrefix(n, ".") && !slices.Contains(top, n) {
			out = append(out, fmt.Sprintf("%s: has no place at the top level; move it into one of %s", n,
				strings.Join(layers, ", ")))
		}
	}
	return out
}
