package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/bench"
)

func TestHelpListsTheBenches(t *testing.T) {
	manual, err := os.ReadFile("vmferry-lab.1")
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"the help": usage, "the manual": string(manual)} {
		words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,:.\n()", r) })
		for _, name := range bench.Names() {
			if !slices.Contains(words, name) {
				t.Errorf("%s does not list the bench %q", where, name)
			}
		}
	}
}

func TestParseBench(t *testing.T) {
	o, err := parseBench([]string{"--only", "plan-10k,idle-blackout-udp,guard-split-silence-moved,mirror-round-cpu", "--out", "x"})
	if err != nil || o.n != 0 || !filepath.IsAbs(o.out) || filepath.Base(o.path()) != "report.json" {
		t.Fatalf("%+v, %v", o, err)
	}
	alone, staged := o.parts()
	if len(alone) != 1 || alone[0].Results[0] != "plan-10k" {
		t.Errorf("alone %v", alone)
	}
	for shape, want := range map[lab.Shape]string{lab.Plain: "idle-pause", lab.Guard: "guard-split-silence-moved",
		lab.Mirror: "mirror-round"} {
		if got := staged[shape]; len(got) != 1 || got[0].Results[0] != want {
			t.Errorf("%s: %v", shape, got)
		}
	}
	for _, bad := range [][]string{{"-n", "-1"}, {"-n", "x"}, {"--only", "speed"}, {"word"}} {
		if _, err := parseBench(bad); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
