package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/lab/torture"
)

func TestHelpListsTheFaults(t *testing.T) {
	manual, err := os.ReadFile("vmferry-lab.1")
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"the help": usage, "the manual": string(manual)} {
		words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,:.\n()", r) })
		for _, kind := range torture.Kinds() {
			if !slices.Contains(words, string(kind)) {
				t.Errorf("%s does not list the fault %q", where, kind)
			}
		}
	}
}

func TestParseTorture(t *testing.T) {
	o, err := parseTorture([]string{"--faults", "7", "--seed", "18446744073709551615", "--only", "hang,crash",
		"--guests", "3"})
	if err != nil || o.request.Faults != 7 || o.request.First != 1 || len(o.request.Only) != 2 ||
		len(o.request.Nodes) != 2 ||
		!filepath.IsAbs(o.out) {
		t.Fatalf("%+v, %v", o, err)
	}
	const want = "vmferry-lab torture --seed 18446744073709551615 --first 4 --faults 2 --only hang,crash --guests 3"
	if got := o.replay(4, 2); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	again, err := parseTorture(strings.Fields(want)[2:])
	if err != nil || again.request.First != 4 || again.request.Seed != o.request.Seed || again.guests != 3 {
		t.Errorf("the command for a replay is read as %+v, %v", again, err)
	}
	for _, bad := range [][]string{{"--faults", "0"}, {"--faults", "100001"}, {"--first", "0"}, {"--guests", "7"},
		{"--seed", "-1"}, {"--only", "fire"}, {"word"}} {
		if _, err := parseTorture(bad); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
