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
		{"--seed", "-1"}, {"--only", "fire"}, {"--resume", "--first", "3"}, {"word"}} {
		if _, err := parseTorture(bad); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestResumeTorture(t *testing.T) {
	dir := t.TempDir()
	read := func(args ...string) (tortureOptions, *torture.Report, error) {
		o, err := parseTorture(append(args, "--out", dir))
		if err != nil {
			t.Fatal(err)
		}
		r, err := o.report()
		return o, r, err
	}
	if _, _, err := read("--resume"); err == nil || !strings.Contains(err.Error(), "report.json") {
		t.Errorf("without a report: %v", err)
	}
	_, before, err := read("--seed", "5")
	if err != nil {
		t.Fatal(err)
	}
	before.Schema, before.Next = torture.Schema, 9
	if err := before.WriteJSON(filepath.Join(dir, "report.json")); err != nil {
		t.Fatal(err)
	}
	o, r, err := read("--resume", "--seed", "5", "--faults", "30")
	if err != nil || r.Next != 9 || o.request.First != 9 || o.request.Faults != 22 {
		t.Errorf("%+v, %+v, %v", o.request, r, err)
	}
	if _, _, err := read("--resume", "--seed", "6", "--faults", "30"); err == nil ||
		!strings.Contains(err.Error(), "its seed is 5") || strings.Contains(err.Error(), "\n") {
		t.Errorf("of another seed: %v", err)
	}
}
