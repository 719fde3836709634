package heartbeat

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func text(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseHaresourcesGolden(t *testing.T) {
	got, err := json.MarshalIndent(ParseHaresources(text(t, "haresources")), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	golden := filepath.Join("testdata", "haresources.golden")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := text(t, "haresources.golden"); string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestLogicalLines(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"no end of line", "a b", "a b"},
		{"joined", "a \\\nb \\\nc\nd\n", "a b c|d"},
		{"a blank after the backslash joins nothing", "a \\ \nb\n", `a \ |b`},
		{"a comment hides the backslash", "a # c \\\nb\n", "a |b"},
		{"a joined line keeps its comment", "a \\\nb # c\n", "a b # c"},
		{"joined to the end", "a \\\n", "a "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(logicalLines(tt.text), "|"); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestOthers(t *testing.T) {
	const text = "n1 IPaddr::192.0.2.9 vmferry::web vmferry \\\n httpd\nn2 httpd vmferry::mail # x\n\nn3\n"
	if got := strings.Join(Others(text), " "); got != "IPaddr::192.0.2.9 vmferry httpd" {
		t.Errorf("%q", got)
	}
}

func TestConfigFile(t *testing.T) {
	for _, tt := range []struct{ arg, file, name string }{
		{"vm1", "/etc/libvirt/qemu/vm1.xml", "vm1"},
		{"vm1.xml", "/etc/libvirt/qemu/vm1.xml.xml", "vm1.xml"},
		{"/etc/libvirt/qemu/vm1.xml", "/etc/libvirt/qemu/vm1.xml", "vm1"},
		{"/etc/libvirt//qemu/vm1.xml", "/etc/libvirt/qemu/vm1.xml", "vm1"},
		{"/etc/libvirt/qemu/sub/vm1.xml", "/etc/libvirt/qemu/sub/vm1.xml", "/etc/libvirt/qemu/sub/vm1.xml"},
		{"/etc/libvirt/qemu/.xml", "/etc/libvirt/qemu/.xml", "/etc/libvirt/qemu/.xml"},
		{"/srv/vm1", "/srv/vm1", "/srv/vm1"},
	} {
		file, err := ConfigFile(tt.arg)
		if err != nil || file != tt.file || Name(file) != tt.name {
			t.Errorf("%q: file %q, %v, name %q; want %q, %q", tt.arg, file, err, Name(file), tt.file, tt.name)
		}
	}
	for _, arg := range []string{"", ".", "..", "../vm1", "a/b", "timeout=3", "hypervisor=qemu:///system"} {
		if file, err := ConfigFile(arg); err == nil {
			t.Errorf("%q was taken for %q", arg, file)
		}
	}
}

// FuzzParseHaresources: each guest that comes out stands in the text behind the
// script's name and is listed once; none comes out of comments.
func FuzzParseHaresources(f *testing.F) {
	f.Add(text(f, "haresources"))
	f.Add("n1 vmferry::a \\\n vmferry::b # c\n")
	f.Add("n1 vmferry::a::b=[ vmferry::(\n\\\n")
	f.Fuzz(func(t *testing.T, file string) {
		seen := make(map[string]bool)
		for _, e := range ParseHaresources(file) {
			if e.Name == "" || e.Node == "" || seen[e.Name] {
				t.Errorf("guest %+v", e)
			}
			seen[e.Name] = true
			if joined := strings.ReplaceAll(file, "\\\n", ""); !strings.Contains(joined, Script+separator) {
				t.Errorf("guest %+v out of %q", e, file)
			}
		}
		for line := range strings.Lines(file) {
			if got := ParseHaresources("#" + strings.TrimRight(line, "\\\n")); len(got) > 0 {
				t.Errorf("a comment gave %+v", got)
			}
		}
	})
}
