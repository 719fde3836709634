package styletest

import (
	"go/ast"
	"slices"
	"testing"
)

// rungExecutors are the files that may name a rung of the ladder: the stop with its table of them, and what restores a
// guest that was saved.
var rungExecutors = []string{"resource/stop.go", "resource/recorder.go"}

// TestRungsAreAskedForTheirProperties finds code that names a rung. A new rung is known only to what asks package ladder
// for its properties.
func TestRungsAreAskedForTheirProperties(t *testing.T) {
	files, err := Load(root(t))
	if err != nil {
		t.Fatal(err)
	}
	var rungs []string
	for _, f := range files {
		if f.Dir() == "migrate/ladder" && !f.Test() {
			rungs = append(rungs, rungNames(f)...)
		}
	}
	if len(rungs) < 6 {
		t.Fatalf("only the rungs %v were found", rungs)
	}
	for _, f := range files {
		name, imported := f.imports()[Module+"/migrate/ladder"]
		if !imported || f.Test() || within(f.Dir(), "lab") || slices.Contains(rungExecutors, f.Path) {
			continue
		}
		ast.Inspect(f.tree, func(n ast.Node) bool {
			if e, ok := n.(*ast.SelectorExpr); ok && selects(e, name, rungs...) {
				t.Error(f.finding(e.Pos(), "names the rung %s: ask for the property that counts", e.Sel.Name))
			}
			return true
		})
	}
}

// rungNames are the constants of type Rung in a file.
func rungNames(f *File) (names []string) {
	ast.Inspect(f.tree, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if kind, ok := v.Type.(*ast.Ident); ok && kind.Name == "Rung" {
				names = append(names, v.Names[0].Name)
			}
		}
		return true
	})
	return names
}
