package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/plan"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/migrate/record"
)

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct{ text, want string }{
		{"", "0001-01-01T00:00:00Z"},
		{"24h", "2026-11-20T12:00:00Z"},
		{"90m", "2026-11-21T10:30:00Z"},
		{"7d", "2026-11-14T12:00:00Z"},
		{"2026-11-20", "2026-11-20T00:00:00Z"},
		{"2026-11-20 18:30", "2026-11-20T18:30:00Z"},
		{"2026-11-20T18:30:00+02:00", "2026-11-20T16:30:00Z"},
		{"-1h", ""}, {"d", ""}, {"-2d", ""}, {"yesterday", ""}, {"99999999d", ""},
	} {
		got, err := parseSince(test.text, now)
		if err != nil && test.want != "" || err == nil && got.UTC().Format(time.RFC3339) != test.want {
			t.Errorf("%q: %v, %v; want %s", test.text, got, err, test.want)
		}
	}
}

// What became of a move decides the exit code.
func TestExitOf(t *testing.T) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	refused := &preflight.Refusal{Check: preflight.CheckTarget, Reason: "it is deaf"}
	for _, test := range []struct {
		name string
		ctx  context.Context
		err  error
		code int
	}{
		{"moved", context.Background(), nil, exitOK},
		{"refused", context.Background(), refused, exitFailed},
		{"out of time", late, migrate.ErrOutOfTime, exitFailed},
		{"interrupted", gone, context.Canceled, exitInterrupted},
		{"nobody knows", context.Background(), fmt.Errorf("verify: %w", migrate.ErrUnknown), exitUnknown},
		{"nobody knows, after an interrupt", gone, migrate.ErrUnknown, exitUnknown},
	} {
		err := exitOf(test.ctx, test.err)
		code := exitOK
		if f := (*failure)(nil); errors.As(err, &f) {
			code = f.code
		} else if err != nil {
			code = exitFailed
		}
		if code != test.code {
			t.Errorf("%s: exit code %d, want %d (%v)", test.name, code, test.code, err)
		}
	}
}

func TestWhereIs(t *testing.T) {
	for _, test := range []struct {
		record record.Record
		want   string
	}{
		{record.Record{Outcome: record.Moved}, "on n2"},
		{record.Record{Outcome: record.Stayed}, "on n1"},
		{record.Record{Outcome: record.Unknown}, "cannot tell"},
		{record.Record{Outcome: record.Unknown,
			Verified: record.Verification{Source: "no answer", Target: "paused (migration)"}},
			`cannot tell: n1 says "no answer", n2 says "paused (migration)"`},
	} {
		if got := whereIs(test.record, "n1", "n2"); got != test.want {
			t.Errorf("%s: %q, want %q", test.record.Outcome, got, test.want)
		}
	}
}

// Elsewhere than on a terminal there is a line for each phase, and now and then one between.
func TestMeterWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	m := &meter{w: &out, every: 5 * time.Second}
	start := time.Unix(0, 0)
	for i, phase := range []string{"pre-flight", "migrating", "migrating", "migrating", "migrating", "verifying"} {
		m.show(start.Add(time.Duration(i)*2*time.Second), phase, phase+" "+string(rune('0'+i)))
	}
	m.end()
	if want := "pre-flight 0\nmigrating 1\nmigrating 4\nverifying 5\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// On one, a shorter text leaves nothing of the longer one before it.
func TestMeterOnATerminal(t *testing.T) {
	var out bytes.Buffer
	m := &meter{w: &out, tty: true}
	m.show(time.Time{}, "a", "a long line")
	m.show(time.Time{}, "a", "short")
	m.show(time.Time{}, "a", strings.Repeat("ü", 100))
	m.end()
	if want := "\ra long line\rshort      \r" + strings.Repeat("ü", 79) + "\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

func TestDescribe(t *testing.T) {
	p := migrate.Progress{Phase: "migrating", Total: 1 << 30, Remaining: 256 << 20, RateMiBs: 112.4, Iteration: 2,
		DowntimeLimit: 30 * time.Millisecond, Throttle: 20}
	want := "migrating [###############.....]  75 %, 112 MiB/s, 256 MiB left, pass 2, limit 30 ms, guest slowed by 20 %"
	if got := describe(p); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if got := describe(migrate.Progress{Phase: "pre-flight"}); got != "pre-flight" {
		t.Errorf("without numbers: %q", got)
	}
	p = migrate.Progress{Phase: migrate.PhaseDisks, DiskTotal: 4 << 30, DiskRemaining: 1 << 30, RateMiBs: 112.4}
	if got, want := describe(p), "copying disks [###############.....]  75 %, 112 MiB/s, 1024 MiB left"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if got := describe(migrate.Progress{Phase: "migrating", Total: 1, Remaining: 9}); !strings.Contains(got,
		"[....................]   0 %") {
		t.Errorf("more left than there is: %q", got)
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		arg, want string
		fits      bool
	}{
		{"web", "GUEST", true}, {"Night Watch 1", "GUEST", true}, {" web", "GUEST", true}, {"a\tb", "GUEST", true},
		{"сервер", "GUEST", true}, {"-web1", "GUEST", true}, {"a\u00a0b", "GUEST", true},
		{"", "GUEST", false}, {"a\nb", "GUEST", false}, {"a\x1b[0m", "GUEST", false}, {"a\u0085", "GUEST", false},
		{"n2", "NODE", true}, {"n2,n3", "NODE", true}, {"n 2", "NODE", false}, {"", "NODE", false},
		{"", "[NODE]", true}, {"n\x00", "[NODE]", false},
	} {
		if got := names(test.arg, test.want); got != test.fits {
			t.Errorf("%q as %s: %t", test.arg, test.want, got)
		}
	}
}

// A guest is never shown as moved live that is not.
func TestPlanCells(t *testing.T) {
	usual := ladder.Specs
	t.Cleanup(func() { ladder.Specs = usual })
	ladder.Specs = append(slices.Clone(usual), ladder.Spec{Name: "nudge", Live: true}, ladder.Spec{Name: "hibernate"})
	for _, test := range []struct {
		fate    hbplugin.Fate
		means   ladder.Rung
		to, how string
		last    string
	}{
		{hbplugin.MovesLive, ladder.Live, "n2", "live", "kept"},
		{hbplugin.MovesWith, ladder.Converge, "n2", "converge", "kept"},
		{hbplugin.Restarts, ladder.Shutdown, "n2", "shutdown", "broken"},
		{hbplugin.Restarts, ladder.Save, "n2", "save", "broken"},
		{hbplugin.Stops, ladder.Shutdown, "nowhere", "shutdown", "broken"},
		{hbplugin.MovesLive, "nudge", "n2", "nudge", "kept"}, // of a new rung, by its spec
		{hbplugin.Restarts, "hibernate", "n2", "hibernate", "broken"},
		{hbplugin.Stays, "", "-", "stays", "-"},
		{hbplugin.Unknown, "", "-", "cannot tell", "-"},
		{hbplugin.Stays, ladder.Live, "-", "by hand", "kept"},
	} {
		s := plan.Step{Guest: "g", Rung: test.means, Kept: true, Verdict: hbplugin.Verdict{Fate: test.fate}}
		if test.to == "n2" {
			s.To = "n2"
		}
		cells := planCells(s)
		if len(cells) != 8 || cells[2] != test.to || cells[3] != test.how || cells[7] != test.last {
			t.Errorf("%s by %q: %q", test.fate, test.means, cells)
		}
	}
}
