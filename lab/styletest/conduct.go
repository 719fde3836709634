package styletest

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// shells are programs that read a command line from a text.
var shells = []string{"sh", "bash", "dash", "ash", "ksh", "zsh"}

// NoShell finds shells that are started: a shell's name as the program of an
// exec.Command, or a shell's name followed by "-c" in any list. The lab, which
// plays the operator, is free.
func NoShell(f *File) []string {
	if within(f.Dir(), "lab") {
		return nil
	}
	var out []string
	ast.Inspect(f.tree, func(n ast.Node) bool {
		var list []ast.Expr
		switch n := n.(type) {
		case *ast.CallExpr:
			list = n.Args
			if p, ok := program(f, n); ok && isShell(p) {
				out = append(out, f.finding(n.Pos(), "starts the shell %q; run the program itself by argument list", p))
				return true
			}
		case *ast.CompositeLit:
			list = n.Elts
		}
		if shellCommand(list) {
			out = append(out, f.finding(n.Pos(),
				`makes a command line for a shell with "-c"; run the program itself by argument list`))
		}
		return true
	})
	return out
}

// program is the program that a call of os/exec names in a literal.
func program(f *File, call *ast.CallExpr) (string, bool) {
	i := 0
	switch {
	case f.calls(call, "os/exec", "Command"):
	case f.calls(call, "os/exec", "CommandContext"):
		i = 1
	default:
		return "", false
	}
	if i >= len(call.Args) {
		return "", false
	}
	return literal(call.Args[i])
}

// literal is the value of a string literal.
func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

func isShell(program string) bool { return slices.Contains(shells, path.Base(program)) }

// shellCommand reports whether a list holds a shell and "-c" side by side.
func shellCommand(list []ast.Expr) bool {
	for i := range max(0, len(list)-1) {
		a, okA := literal(list[i])
		b, okB := literal(list[i+1])
		if okA && okB && isShell(a) && b == "-c" {
			return true
		}
	}
	return false
}

// NoSleep finds time.Sleep in unit tests where it takes real time. In a
// synctest bubble it takes none, so these are free: what is within a call of
// synctest.Test, a function literal in a test that has such a call (a table's
// case), and a helper in a package whose tests have one. So are the lab's tests,
// whose nodes live in real time.
func NoSleep(files []*File) []string {
	bubbles := map[string]bool{} // by package directory
	for _, f := range files {
		if f.Test() && f.bubble(f.tree) {
			bubbles[f.Dir()] = true
		}
	}
	var out []string
	for _, f := range files {
		if f.Test() && !within(f.Dir(), "lab") {
			out = append(out, f.sleeps(bubbles[f.Dir()])...)
		}
	}
	return out
}

// bubble reports whether synctest.Test is called within n.
func (f *File) bubble(n ast.Node) bool {
	found := false
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		found = found || ok && f.calls(call, "testing/synctest", "Test")
		return !found
	})
	return found
}

// sleeps finds the file's sleeps in real time; bubbles reports whether the tests
// of its package use synctest.
func (f *File) sleeps(bubbles bool) []string {
	name, imported := f.imports()["time"]
	if !imported {
		return nil
	}
	var out []string
	for _, d := range f.tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		test := ok && fn.Recv == nil && isTest(fn.Name.Name)
		if bubbles && !test {
			continue
		}
		free := test && f.bubble(d)
		ast.Inspect(d, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				return !f.calls(n, "testing/synctest", "Test")
			case *ast.FuncLit:
				return !free
			case *ast.SelectorExpr:
				if selects(n, name, "Sleep") {
					out = append(out, f.finding(n.Pos(),
						"sleeps in a unit test; use testing/synctest or an injected clock"))
				}
			}
			return true
		})
	}
	return out
}

// calendar are the methods of a time that tell one day from another.
var calendar = []string{"YearDay", "Weekday", "ISOWeek"}

// NoCalendar finds tests that do one thing today and another tomorrow: a failure that comes and goes with the date is
// looked for in the code.
func NoCalendar(f *File) []string {
	if !f.Test() {
		return nil
	}
	var out []string
	ast.Inspect(f.tree, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) > 0 {
			return true
		}
		if s, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains(calendar, s.Sel.Name) {
			out = append(out, f.finding(s.Sel.Pos(), "asks for the %s; let an argument choose what is tested",
				s.Sel.Name))
		}
		return true
	})
	return out
}

// isTest reports whether the testing package calls a function of that name.
func isTest(name string) bool {
	for _, prefix := range []string{"Test", "Fuzz", "Benchmark", "Example"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
