package styletest

import (
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// FuzzTarget is one fuzz target of the module.
type FuzzTarget struct {
	// Dir is the package's directory, relative to the module's root, with slashes.
	Dir string
	// Name is the function's name.
	Name string
}

// FuzzTargets are the module's fuzz targets in the order of files.
func FuzzTargets(files []*File) []FuzzTarget {
	var out []FuzzTarget
	for _, f := range files {
		if !f.Test() {
			continue
		}
		for _, d := range f.tree.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Fuzz") {
				out = append(out, FuzzTarget{f.Dir(), fn.Name.Name})
			}
		}
	}
	return out
}

// corpus is the directory that the go command reads a target's seeds from.
const corpus = "testdata/fuzz"

// Corpora finds fuzz targets without a committed corpus, and corpora without a target. module is the module's root.
func Corpora(targets []FuzzTarget, module fs.FS) []string {
	var out, want []string
	for _, t := range targets {
		dir := path.Join(t.Dir, corpus, t.Name)
		want = append(want, dir)
		if entries, err := fs.ReadDir(module, dir); err != nil || len(entries) == 0 {
			out = append(out, fmt.Sprintf("%s:1: %s has no corpus; put real inputs there, each in a file named by what it is", dir, t.Name))
		}
	}
	return append(out, orphans(want, module)...)
}

// orphans finds corpora that are not among those wanted, such as that of a target that was renamed.
func orphans(want []string, module fs.FS) []string {
	var out []string
	_ = fs.WalkDir(module, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || !d.IsDir():
		case p != "." && d.Name() != "testdata" && skipped(d.Name()):
			return fs.SkipDir
		case strings.HasSuffix(path.Dir(p), "/"+corpus):
			if !slices.Contains(want, p) {
				out = append(out, fmt.Sprintf("%s:1: is the corpus of no fuzz target; rename or remove it", p))
			}
			return fs.SkipDir
		}
		return nil
	})
	return out
}
