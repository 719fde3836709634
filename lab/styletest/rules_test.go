package styletest

import (
	"fmt"
	"strings"
	"testing"
)

// example is a text and what a rule must say about it: nothing, or one finding
// that holds want.
type example struct{ name, path, text, want string }

// try holds a rule against texts that keep it and texts that break it.
func try(t *testing.T, rule func(*File) []string, examples []example) {
	t.Helper()
	for _, e := range examples {
		t.Run(e.name, func(t *testing.T) {
			f, err := Parse(e.path, []byte(e.text))
			if err != nil {
				t.Fatal(err)
			}
			judge(t, rule(f), e.want)
		})
	}
}

func judge(t *testing.T, got []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(got) == 0:
	case want != "" && len(got) == 1 && strings.Contains(got[0], want):
	default:
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDocumented(t *testing.T) {
	try(t, Documented, []example{
		{"all said", "migrate/a.go", "package a\n\n// F does.\nfunc F() {}\n\n// T is.\ntype T int\n\n// M does.\nfunc (T) M() {}\n", ""},
		{"function", "migrate/a.go", "package a\n\nfunc F() {}\n", "migrate/a.go:3: function F has no doc comment"},
		{"a directive says nothing", "migrate/a.go", "package a\n\n//go:noinline\nfunc F() {}\n", "function F"},
		{"unexported", "migrate/a.go", "package a\n\nfunc f() {}\n", ""},
		{"type", "migrate/a.go", "package a\n\ntype T int\n", "type T"},
		{"method", "migrate/a.go", "package a\n\n// T is.\ntype T[P any] int\n\nfunc (*T[P]) M() {}\n", "function M"},
		{"method of an unexported type", "migrate/a.go", "package a\n\ntype t int\n\nfunc (t) M() {}\n", ""},
		{"constant", "migrate/a.go", "package a\n\nconst C = 1\n", "const C"},
		{"variable in a group", "migrate/a.go", "package a\n\nvar (\n\t// A is.\n\tA = 1\n\tB = 2\n)\n",
			"migrate/a.go:6: var B"},
		{"group", "migrate/a.go", "package a\n\n// These are.\nconst (\n\tA = 1\n\tB = 2\n)\n", ""},
		{"end of the line", "migrate/a.go", "package a\n\nconst (\n\tA = 1 // A is.\n)\n", ""},
		{"interface", "migrate/a.go", "package a\n\n// I is.\ntype I interface {\n\tM()\n}\n", "method M"},
		{"interface, said", "migrate/a.go", "package a\n\n// I is.\ntype I interface {\n\t// M does.\n\tM()\n}\n", ""},
		{"test", "migrate/a_test.go", "package a\n\nfunc TestF() {}\n", ""},
		{"program", "cmd/x/a.go", "package main\n\nfunc F() {}\n", ""},
	})
}

func TestIntroduced(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"doc.go", map[string]string{"migrate/doc.go": "// Package migrate is.\npackage migrate\n",
			"migrate/a.go": "package migrate\n"}, ""},
		{"comment elsewhere", map[string]string{"migrate/a.go": "// Package migrate is.\npackage migrate\n"},
			"migrate/doc.go:1: the package has no"},
		{"doc.go says nothing", map[string]string{"cmd/x/doc.go": "package main\n"}, "cmd/x/doc.go:1:"},
		{"tests alone", map[string]string{"lab/x_test.go": "package lab\n"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var files []*File
			for p, text := range tt.files {
				f, err := Parse(p, []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
			}
			judge(t, Introduced(files), tt.want)
		})
	}
}

func TestShort(t *testing.T) {
	function := func(lines int) string { // of that many lines in all
		return "package a\n\nfunc f() {\n" + strings.Repeat("\tf()\n", lines-2) + "}\n"
	}
	try(t, Short, []example{
		{"as long as can be", "migrate/a.go", function(LongestFunction), ""},
		{"too long", "migrate/a.go", function(LongestFunction + 1),
			fmt.Sprintf("function f has %d lines", LongestFunction+1)},
		{"test", "migrate/a_test.go", function(LongestFunction + 1), ""},
	})
}

func TestFormatted(t *testing.T) {
	try(t, Formatted, []example{
		{"formatted", "a.go", "package a\n\nvar x = 1\n", ""},
		{"blanks", "a.go", "package a\n\nvar x  = 1\n", "run gofmt"},
		{"end of line", "a.go", "package a\n\nvar x = 1", "run gofmt"},
	})
}

func TestArrows(t *testing.T) {
	imports := func(p string) string { return "package a\n\nimport _ \"" + p + "\"\n" }
	ours := func(p string) string { return imports(Module + "/" + p) }
	try(t, Arrows, []example{
		{"standard library", "migrate/a.go", imports("os"), ""},
		{"down", "resource/a.go", ours("migrate/drain"), ""},
		{"up", "migrate/a.go", ours("resource"), "imports resource, which is above it"},
		{"up two", "migrate/drain/a.go", ours("cmd/vmferry/x"), "is above"},
		{"level", "hbplugin/guard/a.go", ours("hbplugin/pacemaker"), ""},
		{"down, far", "cmd/vmferry/a.go", ours("migrate"), ""},
		{"resource must not know the manager", "resource/a.go", ours("hbplugin"), "is above"},
		{"tests count", "migrate/a_test.go", ours("resource"), "is above"},
		{"lab imports all", "lab/demo/a.go", ours("cmd/vmferry/x"), ""},
		{"lab's program", "cmd/vmferry-lab/a.go", ours("lab/demo"), ""},
		{"nothing imports lab", "cmd/vmferry/a.go", ours("lab/report"), "only lab and cmd/vmferry-lab may"},
		{"a name that begins alike", "cmd/vmferry-lab2/a.go", ours("lab"), "only lab"},
		{"libvirt's owner", "migrate/libvirt/client/a.go", imports("libvirt.org/go/libvirt"), ""},
		{"libvirt elsewhere", "resource/a.go", imports("libvirt.org/go/libvirt"), "only migrate/libvirt/client may"},
		{"libvirt's XML is free", "resource/a.go", imports("libvirt.org/go/libvirtxml"), ""},
		{"qmp's owner", "migrate/qmp/a.go", imports("github.com/digitalocean/go-qemu/qmp"), ""},
		{"qmp elsewhere", "lab/a.go", imports("github.com/digitalocean/go-qemu/qmp"), "only migrate/qmp may"},
		{"qmp/raw", "migrate/qmp/a.go", imports("github.com/digitalocean/go-qemu/qmp/raw"), "nobody may"},
	})
}

func TestTopLevel(t *testing.T) {
	judge(t, TopLevel([]string{".git", ".ci", "migrate", "go.mod", "README.md", "build"}), "")
	judge(t, TopLevel([]string{"pkg", "cmd"}), "pkg: has no place")
	judge(t, TopLevel([]string{"notes.md"}), "notes.md: has no place")
}

func TestNoShell(t *testing.T) {
	body := func(s string) string {
		return "package a\n\nimport \"os/exec\"\n\nvar x = []any{" + s + "}\n\nvar _ = exec.ErrDot\n"
	}
	try(t, NoShell, []example{
		{"a program", "migrate/a.go", body(`exec.Command("qemu-img", "info")`), ""},
		{"sh", "migrate/a.go", body(`exec.Command("sh", "x")`), `starts the shell "sh"`},
		{"with a context and a path", "cmd/x/a.go", body(`exec.CommandContext(nil, "/bin/bash", "-c", "x")`),
			`starts the shell "/bin/bash"`},
		{"through a wrapper", "migrate/a.go", body(`run("ssh", "sh", "-c", "x")`), `with "-c"`},
		{"in a list", "migrate/a_test.go", body(`[]string{"dash", "-c", "x"}`), `with "-c"`},
		{"-c of another", "migrate/a.go", body(`[]string{"tar", "-c", "sh"}`), ""},
		{"another package's Command", "migrate/a.go", "package a\n\nvar x = exec.Command(\"sh\")\n", ""},
		{"by another name", "migrate/a.go", "package a\n\nimport run \"os/exec\"\n\nvar x = run.Command(\"sh\")\n",
			"starts the shell"},
		{"lab", "lab/node/a.go", body(`exec.Command("sh", "-c", "x")`), ""},
		{"label is not lab", "label/a.go", body(`exec.Command("sh", "-c", "x")`), "starts the shell"},
	})
}

func TestNoSleep(t *testing.T) {
	body := func(s string) string {
		return "package a\n\nimport (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\nfunc TestF() {\n\t" + s + "\n}\n"
	}
	try(t, func(f *File) []string { return NoSleep([]*File{f}) }, []example{
		{"sleep", "migrate/a_test.go", body("time.Sleep(1)"), "migrate/a_test.go:9: sleeps"},
		{"as a value", "migrate/a_test.go", body("g(time.Sleep)"), "sleeps"},
		{"in a bubble", "migrate/a_test.go", body("synctest.Test(t, func() { time.Sleep(1) })"), ""},
		{"beside a bubble", "migrate/a_test.go", body("synctest.Test(t, g); time.Sleep(1)"), "sleeps"},
		{"a table's case beside a bubble", "migrate/a_test.go",
			body("g := func() { time.Sleep(1) }; synctest.Test(t, g)"), ""},
		{"a table's case without one", "migrate/a_test.go", body("g(func() { time.Sleep(1) })"), "sleeps"},
		{"a helper without a bubble", "migrate/a_test.go",
			"package a\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n", "sleeps"},
		{"a helper where bubbles are used", "migrate/a_test.go",
			body("synctest.Test(t, f)") + "\nfunc f() { time.Sleep(1) }\n", ""},
		{"not a test", "migrate/a.go", body("time.Sleep(1)"), ""},
		{"lab", "lab/a_test.go", body("time.Sleep(1)"), ""},
		{"another's Sleep", "migrate/a_test.go", body("clock.Sleep(1)"), ""},
		{"by another name", "migrate/a_test.go", "package a\n\nimport tm \"time\"\n\nvar x = tm.Sleep\n", "sleeps"},
	})
}

func TestNoCalendar(t *testing.T) {
	body := func(s string) string { return "package a\n\nimport \"time\"\n\nvar x = " + s + "\n" }
	try(t, NoCalendar, []example{
		{"the day of the year", "lab/a_test.go", body("time.Now().UTC().YearDay() % 6"),
			"a_test.go:5: asks for the YearDay"},
		{"the day of the week", "migrate/a_test.go", body("now().Weekday()"), "asks for the Weekday"},
		{"not a test", "cmd/x/a.go", body("time.Now().YearDay()"), ""},
		{"a fixed date", "migrate/a_test.go", body("time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)"), ""},
		{"the time", "migrate/a_test.go", body("time.Now().Add(time.Hour)"), ""},
	})
}
