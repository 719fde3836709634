package styletest

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// Documented finds exported names without a doc comment: functions, types,
// constants, variables, the methods of exported types, and what an exported
// interface asks for. A comment on a group of constants or variables serves all
// of them, and so does one at the end of the line. Tests and programs are free.
func Documented(f *File) []string {
	if f.Test() || f.Main() {
		return nil
	}
	var out []string
	missing := func(name *ast.Ident, what string) {
		if name.IsExported() {
			out = append(out, f.finding(name.Pos(), "%s %s has no doc comment; say what it is for", what, name.Name))
		}
	}
	for _, d := range f.tree.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if empty(d.Doc) && exportedReceiver(d) {
				missing(d.Name, "function")
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				undocumented(d, s, missing)
			}
		}
	}
	return out
}

// empty reports whether a comment says nothing: directives alone do not count.
func empty(c *ast.CommentGroup) bool { return c == nil || strings.TrimSpace(c.Text()) == "" }

// exportedReceiver reports whether d is a function, or a method of an exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// undocumented passes the names of one specification that nothing explains.
func undocumented(d *ast.GenDecl, s ast.Spec, missing func(*ast.Ident, string)) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if empty(s.Doc) && empty(s.Comment) && empty(d.Doc) {
			missing(s.Name, "type")
		}
		if i, ok := s.Type.(*ast.InterfaceType); ok && s.Name.IsExported() {
			undocumentedMethods(i, missing)
		}
	case *ast.ValueSpec:
		if !empty(s.Doc) || !empty(s.Comment) || !empty(d.Doc) {
			return
		}
		for _, name := range s.Names {
			missing(name, d.Tok.String())
		}
	}
}

func undocumentedMethods(i *ast.InterfaceType, missing func(*ast.Ident, string)) {
	for _, m := range i.Methods.List {
		if !empty(m.Doc) || !empty(m.Comment) {
			continue
		}
		for _, name := range m.Names {
			missing(name, "method")
		}
	}
}

// Introduced finds packages without a doc.go that holds the package comment.
// Directories with nothing but tests are free.
func Introduced(files []*File) []string {
	has := map[string]bool{}
	for _, f := range files {
		if f.Test() {
			continue
		}
		has[f.Dir()] = has[f.Dir()] || path.Base(f.Path) == "doc.go" && !empty(f.tree.Doc)
	}
	var out []string
	for dir, ok := range has {
		if !ok {
			out = append(out, fmt.Sprintf("%s:1: the package has no package comment there; write one that a newcomer can start from", path.Join(dir, "doc.go")))
		}
	}
	slices.Sort(out)
	return out
}

// LongestFunction is how many lines a function may have, its first and last
// line included.
const LongestFunction = 60

// Short finds functions of more than LongestFunction lines outside of tests.
func Short(f *File) []string {
	if f.Test() {
		return nil
	}
	line := func(p token.Pos) int { return f.fset.Position(p).Line }
	var out []string
	for _, d := range f.tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := line(fn.End()) - line(fn.Pos()) + 1; n > LongestFunction {
			out = append(out, f.finding(fn.Pos(), "function %s has %d lines, at most %d are allowed; split it",
				fn.Name.Name, n, LongestFunction))
		}
	}
	return out
}
