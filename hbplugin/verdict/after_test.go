package verdict

import (
	"errors"
	"testing"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
)

func TestBecame(t *testing.T) {
	moved := record.Record{Outcome: record.Moved}
	refused := record.Record{Outcome: record.Stayed, Error: "the link broke"}
	down := record.Record{Outcome: record.Ended, Rung: ladder.Shutdown, Error: "no place"}
	restored := record.Record{Outcome: record.Restored, Rung: ladder.Save}
	running := func(reason string) *libvirt.Status { return &libvirt.Status{State: libvirt.Running, Reason: reason} }
	for _, test := range []struct {
		name string
		t    Trace
		fate hbplugin.Fate
		why  string
	}{
		{"moved, by both", Trace{Nodes: []string{"n2"}, Records: []record.Record{moved}, There: running("migrated")},
			hbplugin.MovesLive, ""},
		{"moved by another agent", Trace{Nodes: []string{"n2"}, There: running("migrated")}, hbplugin.MovesLive, ""},
		{"moved, and its libvirt does not answer", Trace{Nodes: []string{"n2"}, Records: []record.Record{moved}},
			hbplugin.MovesLive, ""},
		{"moved, and restarted there after that",
			Trace{Nodes: []string{"n2"}, Records: []record.Record{moved}, There: running("booted")},
			hbplugin.Restarts, ""},
		{"moved, and resumed by somebody", Trace{Nodes: []string{"n2"}, Records: []record.Record{moved},
			There: running("unpaused")}, hbplugin.MovesLive, ""},
		{"refused, and moved in the second try",
			Trace{Nodes: []string{"n2"}, Records: []record.Record{refused, moved}}, hbplugin.MovesLive, ""},
		{"the record of the move is lost", Trace{Nodes: []string{"n2"}, Records: []record.Record{refused},
			There: running("migrated")}, hbplugin.MovesLive, ""},
		{"refused and restarted", Trace{Nodes: []string{"n2"}, Records: []record.Record{refused},
			There: running("booted")}, hbplugin.Restarts, "the link broke"},
		{"shut down and started there", Trace{Nodes: []string{"n2"}, Records: []record.Record{down}},
			hbplugin.Restarts, "it was shut down; no place"},
		{"saved, and restored there", Trace{Nodes: []string{"n2"}, There: running("restored")}, hbplugin.Restarts, ""},
		{"restored here before it moved", Trace{Nodes: []string{"n2"}, Records: []record.Record{moved, restored}},
			hbplugin.MovesLive, ""},
		{"no word of how", Trace{Nodes: []string{"n2"}, There: running("unpaused")}, hbplugin.Unknown,
			"no record on this node says how it left"},
		{"its start there has failed", Trace{Nodes: []string{"n2"}, Records: []record.Record{down},
			There: &libvirt.Status{State: libvirt.ShutOff}},
			hbplugin.Stops, "it was shut down; no place; the cluster manager has it on n2, and libvirt there says shut off"},
		{"it is still started there", Trace{Nodes: []string{"n2"}, Busy: true,
			There: &libvirt.Status{State: libvirt.ShutOff}},
			hbplugin.Unknown, "the cluster manager has it on n2, and libvirt there says shut off"},
		{"two nodes, and the first says no",
			Trace{Nodes: []string{"n2", "n3"}, There: &libvirt.Status{State: libvirt.ShutOff}},
			hbplugin.Unknown, "the cluster manager has it on n2, and libvirt there says shut off"},
		{"nowhere", Trace{Records: []record.Record{refused, down}}, hbplugin.Stops, "it was shut down; no place"},
		{"nowhere without a record", Trace{}, hbplugin.Stops, ""},
		{"moved, and lost there", Trace{Records: []record.Record{moved}}, hbplugin.Stops, ""},
		{"here", Trace{Nodes: []string{"n1"}}, hbplugin.Stays, ""},
		{"here and there", Trace{Nodes: []string{"n2", "n1"}}, hbplugin.Stays, ""},
		{"mute manager, moved", Trace{Lost: errors.New("no answer"), Records: []record.Record{moved}},
			hbplugin.MovesLive, ""},
		{"mute manager, shut down", Trace{Lost: errors.New("no answer"), Records: []record.Record{down}},
			hbplugin.Unknown,
			"where it is now is not known: no answer; it was shut down; no place"},
		{"mute manager", Trace{Lost: errors.New("no answer")}, hbplugin.Unknown,
			"where it is now is not known: no answer"},
	} {
		test.t.Node = "n1"
		if fate, why := Became(test.t); fate != test.fate || why != test.why {
			t.Errorf("%s: %s because %q, want %s because %q", test.name, fate, why, test.fate, test.why)
		}
	}
}

func TestAgrees(t *testing.T) {
	fates := []hbplugin.Fate{hbplugin.MovesLive, hbplugin.MovesWith, hbplugin.Restarts, hbplugin.Stops,
		hbplugin.Stays, hbplugin.Unknown}
	for i, said := range fates {
		for j, happened := range fates {
			want := i == j && i != 5 || i < 2 && j < 2
			if got := Agrees(said, happened); got != want {
				t.Errorf("said %q, happened %q: %t", said, happened, got)
			}
		}
	}
}

func TestWords(t *testing.T) {
	for _, test := range []struct {
		v    hbplugin.Verdict
		want string
	}{
		{hbplugin.Verdict{Fate: hbplugin.MovesLive, To: "n2"}, "moves live to n2"},
		{hbplugin.Verdict{Fate: hbplugin.MovesWith, To: "n2",
			With: []string{"disk vda (3 GiB) is copied", "the ISO is ejected"}},
			"moves to n2 with: disk vda (3 GiB) is copied; the ISO is ejected"},
		{hbplugin.Verdict{Fate: hbplugin.Restarts, To: "n2", Why: "allow-migrate is not set"},
			"is restarted on n2 because allow-migrate is not set"},
		{hbplugin.Verdict{Fate: hbplugin.Restarts, To: "n2", With: []string{"its memory is saved"}, Why: "a\nb"},
			"is restarted on n2 with: its memory is saved because a; b"},
		{hbplugin.Verdict{Fate: hbplugin.Restarts}, "is restarted elsewhere"},
		{hbplugin.Verdict{Fate: hbplugin.Stops, Why: "fail-count"}, "is stopped and has no place because fail-count"},
		{hbplugin.Verdict{Fate: hbplugin.Stays, Why: "it is blocked"}, "stays because it is blocked"},
		{hbplugin.Verdict{Fate: hbplugin.Unknown, Why: "n2 was not examined"}, "cannot tell: n2 was not examined"},
		{hbplugin.Verdict{}, "cannot tell"},
	} {
		if got := Words(test.v); got != test.want {
			t.Errorf("%+v: %q, want %q", test.v, got, test.want)
		}
	}
}
