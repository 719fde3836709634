package main

import (
	"errors"
	"testing"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource"
)

func TestGradeOf(t *testing.T) {
	for _, test := range []struct {
		fate        hbplugin.Fate
		free, bound grade // of a guest that its resource pins, too
	}{
		{hbplugin.MovesLive, ok, ok},
		{hbplugin.MovesWith, ok, ok},
		{hbplugin.Restarts, warning, warning},
		{hbplugin.Stays, warning, warning},
		{hbplugin.Stops, problem, warning},
		{hbplugin.Untold, problem, problem},
		{"", problem, problem},
	} {
		if free, bound := gradeOf(test.fate, false), gradeOf(test.fate, true); free != test.free || bound != test.bound {
			t.Errorf("%q: %s, pinned %s; want %s, %s", test.fate, free, bound, test.free, test.bound)
		}
	}
}

func TestPinned(t *testing.T) {
	for _, test := range []struct {
		name   string
		meta   map[string]string
		ladder []ladder.Rung
		want   bool
	}{
		{"usual", map[string]string{"allow-migrate": "true"}, ladder.Default, false},
		{"forgotten", nil, ladder.Default, false},
		{"said", map[string]string{"allow-migrate": "False"}, ladder.Default, true},
		{"by its ladder", map[string]string{"allow-migrate": "true"}, []ladder.Rung{ladder.Shutdown}, true},
	} {
		cl := claim{meta: test.meta, env: resource.Environ{Params: resource.Params{Ladder: test.ladder}}}
		if got := cl.pinned(); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
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
		{"n2", "NODE", true}, {"n2,n3", "NODE", true}, {"n 2", "NODE", false}, {"", "NODE", false}, {"", "[NODE]", true}, {"n\x00", "[NODE]", false},
	} {
		if got := names(test.arg, test.want); got != test.fits {
			t.Errorf("%q as %s: %t", test.arg, test.want, got)
		}
	}
}

// A guest is never shown as moved live that is not.
func TestPlanCells(t *testing.T) {
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
		{hbplugin.Stays, "", "-", "stays", "-"},
		{hbplugin.Untold, "", "-", "cannot tell", "-"},
		{hbplugin.Stays, ladder.Live, "-", "by hand", "kept"},
	} {
		s := planStep{Guest: "g", Rung: test.means, Kept: true, Verdict: hbplugin.Verdict{Fate: test.fate}}
		if test.to == "n2" {
			s.To = "n2"
		}
		cells := s.cells()
		if len(cells) != 8 || cells[2] != test.to || cells[3] != test.how || cells[7] != test.last {
			t.Errorf("%s by %q: %q", test.fate, test.means, cells)
		}
	}
}

func TestDrainedLine(t *testing.T) {
	pause := 21.5
	for _, test := range []struct {
		g    drainedGuest
		want string
	}{
		{drainedGuest{Happened: hbplugin.MovesLive, AsSaid: true, Nodes: []string{"n2"}, PauseMS: &pause}, "g: moved live to n2, pause 21.5 ms"},
		{drainedGuest{Happened: hbplugin.MovesLive, Nodes: []string{"n2"}, Said: hbplugin.Verdict{Fate: hbplugin.Untold, Why: "no answer"}},
			"g: moved live to n2; said before: cannot tell: no answer"},
		{drainedGuest{Happened: hbplugin.Restarts, AsSaid: true, Nodes: []string{"n2"}, Why: "a", Said: hbplugin.Verdict{Why: "b"}},
			"g: restarted elsewhere, on n2 now: b"},
		{drainedGuest{Happened: hbplugin.Stops, Why: "a\nb", Said: hbplugin.Verdict{Fate: hbplugin.MovesLive, To: "n2"}},
			"g: stopped, no place: a; b; said before: moves live to n2"},
		{drainedGuest{Happened: hbplugin.Stays, AsSaid: true, Nodes: []string{"n1"}}, "g: stayed"},
	} {
		test.g.Guest = "g"
		if got := test.g.line(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// A guest whose migration failed is on the target by Pacemaker's word until it has been stopped there.
func TestPlaced(t *testing.T) {
	d := drainer{said: []foretold{{guest: &guest{Name: "g", Claim: &claim{}}}}}
	on2 := []string{"n2"}
	for name, c := range map[string]struct {
		p    place
		want bool
	}{
		"runs there":          {place{nodes: on2, there: &libvirt.Status{State: libvirt.Running}}, true},
		"nobody could ask":    {place{nodes: on2}, true},
		"not started yet":     {place{nodes: on2, there: &libvirt.Status{State: libvirt.ShutOff}}, false},
		"being started":       {place{nodes: on2, busy: true}, false},
		"nowhere":             {place{}, false},
		"on two":              {place{nodes: []string{"n1", "n2"}}, false},
		"the manager is mute": {place{lost: errors.New("no answer")}, false},
	} {
		if got := d.placed(map[string]place{"g": c.p}); got != c.want {
			t.Errorf("%s: placed %v", name, got)
		}
	}
}

func TestHidesProcesses(t *testing.T) {
	const other = "24 1 0:22 / /sys rw,nosuid - sysfs sysfs rw\n"
	for super, want := range map[string]bool{
		"rw": false, "rw,hidepid=2": false, "rw,gid=1234,hidepid=2": true, "rw,gid=1234,hidepid=invisible": true, "rw,gid=0,hidepid=2": false,
		"rw,gid=1234": false, "rw,gid=1234,hidepid=0": false, "rw,gid=7,hidepid=noaccess": true, "rw,hidepid=ptraceable": true, "rw,hidepid=4": true,
	} {
		if _, got := hidesProcesses(other + "22 1 0:21 / /proc rw,nosuid shared:5 - proc proc " + super + "\n"); got != want {
			t.Errorf("%s: hides %v", super, got)
		}
	}
	if _, got := hidesProcesses("22 1 0:21 / /proc rw - proc proc rw,gid=1,hidepid=2\n30 22 0:21 / /proc rw - proc proc rw\n"); got {
		t.Error("a mount that another one covers counts")
	}
}
