package styletest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of the module that the rules are for.
const Module = "github.com/vmferry/vmferry"

// File is one parsed Go file.
type File struct {
	// Path is relative to the module's root, with slashes.
	Path string
	// Text is the file as it is on disk.
	Text []byte

	fset *token.FileSet
	tree *ast.File
}

// Parse reads the text of a Go file. The error names the path and the line.
func Parse(name string, text []byte) (*File, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, text, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	return &File{name, text, fset, tree}, nil
}

// Load parses every Go file below root, but for testdata, build and directories
// that begin with a dot or an underscore. Files come in the order of their paths.
func Load(root string) ([]*File, error) {
	var files []*File
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != root && skipped(d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := load(root, p)
		files = append(files, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load the module at %q: %w", root, err)
	}
	return files, nil
}

// skipped reports whether a directory holds no code of the module.
func skipped(name string) bool {
	return name == "testdata" || name == "build" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

func load(root, p string) (*File, error) {
	text, err := os.ReadFile(p)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(root, p)
	if err != nil {
		return nil, err
	}
	return Parse(filepath.ToSlash(rel), text)
}

// Dir is the package's directory, "." for the root.
func (f *File) Dir() string { return path.Dir(f.Path) }

// Test reports whether the file belongs to tests only.
func (f *File) Test() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Main reports whether the file belongs to a program.
func (f *File) Main() bool { return f.tree.Name.Name == "main" }

// imports are the paths that the file imports, with the name of each.
func (f *File) imports() map[string]string {
	out := map[string]string{}
	for _, spec := range f.tree.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has taken it, so it cannot be
		}
		out[p] = path.Base(p)
		if spec.Name != nil {
			out[p] = spec.Name.Name
		}
	}
	return out
}

// finding is a sentence about a place in the file.
func (f *File) finding(at token.Pos, text string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", f.Path, f.fset.Position(at).Line, fmt.Sprintf(text, args...))
}

// calls reports whether call is one of pkg's functions, by the name that the
// file imports pkg under.
func (f *File) calls(call *ast.CallExpr, pkg string, functions ...string) bool {
	name, imported := f.imports()[pkg]
	return imported && selects(call.Fun, name, functions...)
}

// selects reports whether e is pkg.name for one of the names.
func selects(e ast.Expr, pkg string, names ...string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg && slices.Contains(names, sel.Sel.Name)
}

// Formatted finds a file that gofmt would change.
func Formatted(f *File) []string {
	want, err := format.Source(f.Text)
	if err != nil || !bytes.Equal(want, f.Text) {
		return []string{fmt.Sprintf("%s:1: is not formatted; run gofmt -w on it", f.Path)}
	}
	return nil
}
