package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shipped are the programs that run as root on a node.
var shipped = []string{"vmferryd", "vmferry", "vmferry-agent", "vmferry-agent-full", "vmferry-guard", "vmferry-mirror", "fence_vmferry"}

// TestShippedPrograms: the Makefile's rules say how the programs are built that run as root, and one is built so.
func TestShippedPrograms(t *testing.T) {
	makefile := read(t, "../../Makefile")
	for _, name := range shipped {
		rule := regexp.MustCompile(`(?m)^\$\(BIN\)/` + name + `: FORCE\n\t(.*)$`).FindStringSubmatch(makefile)
		if rule == nil {
			t.Fatalf("the Makefile has no rule for %s", name)
		}
		if !strings.Contains(rule[1], " $(PIE) ") {
			t.Errorf("%s is not built with $(PIE): %s", name, rule[1])
		}
		if withC := !strings.Contains(rule[1], "CGO_ENABLED=0"); withC != strings.Contains(rule[1], " $(HARDEN)") {
			t.Errorf("%s: $(HARDEN) is for programs with C: %s", name, rule[1])
		}
	}
	flag := regexp.MustCompile(`(?m)^PIE +:= (.*)$`).FindStringSubmatch(makefile)
	if flag == nil {
		t.Fatal("the Makefile does not say what PIE is")
	}
	program := filepath.Join(t.TempDir(), "front")
	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", flag[1], "-o", program,
		"../vmferry-agent/front")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	checkPIE(t, program)
}

// TestBuiltPrograms looks at what "make build" has left, where it has.
func TestBuiltPrograms(t *testing.T) {
	for _, name := range shipped {
		program := filepath.Join("../../build/bin", name)
		if _, err := os.Stat(program); err != nil {
			t.Skipf("type make build first: %v", err)
		}
		checkPIE(t, program)
	}
}

func checkPIE(t *testing.T, program string) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if flags, err := f.DynValue(elf.DT_FLAGS_1); f.Type != elf.ET_DYN || err != nil || len(flags) == 0 ||
		elf.DynFlag1(flags[0])&elf.DF_1_PIE == 0 {
		t.Errorf("%s is not position-independent: type %s, flags %x, %v", program, f.Type, flags, err)
	}
}
