package main

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vmferry/vmferry/migrate/blackout"
	"github.com/vmferry/vmferry/migrate/blackout/breakdown"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"blackout": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"address": cmdAddress,
			"report":  cmdReport,
		},
	})
}

// cmdAddress waits until a log tells an address and sets ADDR to it. Whoever takes
// port 0 keeps it; a port that was looked up beforehand may be another's by then.
func cmdAddress(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: address LOG")
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for patience := time.After(2 * time.Minute); ; {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if addr := loggedAddress(string(text)); addr != "" {
			ts.Setenv("ADDR", addr)
			return
		}
		select {
		case <-tick.C:
		case <-patience:
			ts.Fatalf("%s tells no address: %q, %v", args[0], text, err)
		}
	}
}

// loggedAddress is what a whole line of a log says of an address, or empty.
func loggedAddress(log string) string {
	found := regexp.MustCompile(`address="([^"]+)"\n`).FindStringSubmatch(log)
	if found == nil {
		return ""
	}
	return found[1]
}

// cmdReport reads a report and checks what every good one has: it is complete,
// and each of the named protocols was answered.
func cmdReport(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: report FILE PROTO...")
	}
	r, err := blackout.ReadReport(strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	if !r.Complete || len(r.Targets) != len(args)-1 {
		ts.Fatalf("complete %v, %d targets", r.Complete, len(r.Targets))
	}
	for i, proto := range args[1:] {
		t := r.Targets[i]
		if t.Proto != proto || t.Answered == 0 || t.Instances != 1 {
			ts.Fatalf("target %d: %s, %d answers of %d instances", i, t.Proto, t.Answered, t.Instances)
		}
	}
}

// What was measured decides the exit code, and an unproven limit is not kept.
func TestVerdict(t *testing.T) {
	good := blackout.Target{Target: "udp://x", Answered: 100, WorstErrorMs: 2}
	change := func(f func(*blackout.Target)) blackout.Target {
		t := good
		f(&t)
		return t
	}
	limit := watchOptions{maxBlackout: 100e6, limited: true}
	for _, test := range []struct {
		name   string
		target blackout.Target
		opts   watchOptions
		code   int
	}{
		{"good", good, limit, exitOK},
		{"at the limit", change(func(t *blackout.Target) { t.BlackoutMs = 100 }), limit, exitOK},
		{"above it", change(func(t *blackout.Target) { t.BlackoutMs = 100.1 }), limit, exitExceeded},
		{"perhaps above it", change(func(t *blackout.Target) { t.BlackoutMs, t.ErrorMs = 98, 5 }), limit, exitExceeded},
		{"another outage perhaps above it", change(func(t *blackout.Target) {
			t.BlackoutMs, t.ErrorMs, t.Outages = 90, 1, []blackout.Outage{{Ms: 90, ErrorMs: 1}, {Ms: 80, ErrorMs: 30}}
		}), limit, exitExceeded},
		{"well below it", change(func(t *blackout.Target) {
			t.BlackoutMs, t.ErrorMs, t.Outages = 90, 5, []blackout.Outage{{Ms: 90, ErrorMs: 5}, {Ms: 80, ErrorMs: 6}}
		}), limit, exitOK},
		{"not provable", change(func(t *blackout.Target) { t.WorstErrorMs = 101 }), limit, exitExceeded},
		{"above it, but nobody asked", change(func(t *blackout.Target) { t.BlackoutMs = 100.1 }), watchOptions{},
			exitOK},
		{"not exact", change(func(t *blackout.Target) { t.Inexact = true }), watchOptions{}, exitExceeded},
		{"never answered", change(func(t *blackout.Target) { t.Answered = 0 }), watchOptions{}, exitFailed},
	} {
		err := test.opts.verdict(&blackout.Report{Targets: []blackout.Target{test.target}})
		code := exitOK
		if e, ok := err.(*exitError); ok {
			code = e.code
		} else if err != nil {
			code = exitFailed
		}
		if code != test.code {
			t.Errorf("%s: exit code %d, want %d (%v)", test.name, code, test.code, err)
		}
	}
}

// The manual names every flag, and every field of a report.
func TestManualNamesEverything(t *testing.T) {
	page, err := os.ReadFile("blackout.1")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(usage) {
		flag, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, ok := strings.CutPrefix(flag, "--")
		name = strings.TrimSuffix(name, ",")
		if ok && !strings.Contains(string(page), `.It Fl \-`+strings.ReplaceAll(name, "-", `\-`)) {
			t.Errorf("blackout.1 does not mention --%s", name)
		}
	}
	for _, part := range []any{blackout.Report{}, blackout.Fault{}, blackout.Target{}, blackout.Outage{},
		blackout.RTT{}, blackout.Series{}, breakdown.Event{}} {
		kind := reflect.TypeOf(part)
		for i := range kind.NumField() {
			name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
			if !regexp.MustCompile(`\b` + name + `\b`).Match(page) {
				t.Errorf("blackout.1 does not mention %q of a report's %s", name, kind.Name())
			}
		}
	}
}
