package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The program is packaged alone: it is static, and has no part of what moves guests.
func TestItStandsAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blackout")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program is not static")
		}
	}
	list, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/vmferry/vmferry/"
	for pkg := range strings.Lines(string(list)) {
		pkg = strings.TrimSpace(pkg)
		own, ours := strings.CutPrefix(pkg, module)
		known := strings.HasPrefix(own, "migrate/blackout") || slices.Contains([]string{"migrate/plaintext",
			"migrate/atomicfile", "migrate/wait", "migrate/htmlpage", "migrate/version", "cmd/blackout",
			"cmd/completion"}, own)
		if ours && !known || strings.Contains(pkg, "libvirt") {
			t.Errorf("the program needs %s", pkg)
		}
	}
}

// The unit starts the program in the place where it is installed, with flags that
// it takes and without privileges.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("blackout.service")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for _, want := range []string{"DynamicUser=yes", "CapabilityBoundingSet=", "NoNewPrivileges=yes",
		"Documentation=man:blackout(1)", "WantedBy=multi-user.target"} {
		if !slices.Contains(lines, want) {
			t.Errorf("the unit lacks %q", want)
		}
	}
	i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "ExecStart=") })
	if i < 0 {
		t.Fatal("the unit starts nothing")
	}
	words := strings.Fields(strings.TrimPrefix(lines[i], "ExecStart="))
	if len(words) < 2 || words[0] != "/usr/bin/blackout" || words[1] != "serve" {
		t.Fatalf("the unit starts %q", words)
	}
	if _, err := serveFlags(words[2:]); err != nil {
		t.Error(err)
	}
}
