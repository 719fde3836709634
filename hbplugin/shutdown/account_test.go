package shutdown

import (
	"errors"
	"strings"
	"testing"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/record"
)

// traceOf is what is known of a guest that left n1: where it is, and its records.
func traceOf(nodes string, records ...record.Record) verdict.Trace {
	return verdict.Trace{Node: "n1", Nodes: strings.Fields(nodes), Records: records}
}

func TestAccount(t *testing.T) {
	moved := record.Record{Outcome: record.Moved}
	failed := record.Record{Outcome: record.Stayed, Error: "no route to n2"}
	down := record.Record{Outcome: record.Ended, Rung: ladder.Shutdown, Error: "requested no migration"}
	said := func(f hbplugin.Fate, why string) hbplugin.Verdict { return hbplugin.Verdict{Fate: f, Why: why} }
	live := said(hbplugin.MovesLive, "")
	for _, tt := range []struct {
		name   string
		before hbplugin.Verdict // Resource is filled in
		stuck  string           // not empty: it is still here, because of that
		trace  verdict.Trace
		want   string // as a sentence
	}{
		{"as predicted", live, "", traceOf("n2", moved), "g was moved live to n2"},
		{"not predicted", hbplugin.Verdict{}, "", traceOf("n2", moved), "g was moved live to n2"},
		{"restarted as predicted", said(hbplugin.Restarts, "its ladder does not name live"), "", traceOf("n2", down),
			"g was stopped and started again on n2 (its ladder does not name live)"},
		{"restarted, against what was predicted", live, "", traceOf("n2", failed, down),
			"g was to move live, and was stopped and started again on n2 (it was shut down; requested no migration)"},
		{"without a word before", hbplugin.Verdict{}, "", traceOf("n2", down),
			"g was stopped and started again on n2 (it was shut down; requested no migration)"},
		{"nobody could tell before", said(hbplugin.Unknown, "no answer"), "", traceOf("n2", down),
			"g was stopped and started again on n2 (it was shut down; requested no migration)"},
		{"pinned", said(hbplugin.Stops, "location constraint pin-a"), "", traceOf("", down),
			"g was stopped and runs nowhere (location constraint pin-a)"},
		{"to be restarted, and not up yet", said(hbplugin.Restarts, "allow-migrate is not set"), "", traceOf("", down),
			"g was stopped and has not started elsewhere yet (allow-migrate is not set)"},
		{"another agent's", live, "", traceOf("n2"),
			"g has left in an unknown way, and runs on n2 (no record on this node says how it left)"},
		{"the manager is mute", live, "", verdict.Trace{Node: "n1", Lost: errors.New("crm_mon:\nno answer")},
			"g has an unknown fate (where it is now is not known: crm_mon:; no answer)"},
		{"the manager is mute, and a record is there", live, "",
			verdict.Trace{Node: "n1", Lost: errors.New("x"), Records: []record.Record{moved}}, "g was moved live"},
		{"still here", said(hbplugin.Restarts, "allow-migrate is not set"), "blocked", traceOf("n1"),
			"g is still here (blocked)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.before.Resource = "g"
			var left []hbplugin.Guest
			if tt.stuck != "" {
				left = []hbplugin.Guest{{Name: "g", Stuck: tt.stuck}}
			}
			got := Account([]string{"g"}, left, []hbplugin.Verdict{{Resource: "other"}, tt.before},
				map[string]verdict.Trace{"g": tt.trace})
			if len(got) != 1 || got[0].Guest+" "+got[0].String() != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	got := Account([]string{"g", "h"}, nil, nil, nil)
	if s := Summary(got); s != "g has an unknown fate (nothing is known of it), h has an unknown fate (nothing is known of it)" {
		t.Errorf("without a trace: %q", s)
	}
}

func TestSummary(t *testing.T) {
	live := Departure{Guest: "a", Fate: hbplugin.MovesLive}
	down := Departure{Guest: "d", Fate: hbplugin.Stops, Why: "fail-count"}
	for _, tt := range []struct {
		account []Departure
		want    string
	}{
		{nil, ""},
		{[]Departure{live, live}, "2 moved live"},
		{[]Departure{down}, "d was stopped and runs nowhere (fail-count)"},
		{[]Departure{down, live}, "1 moved live, d was stopped and runs nowhere (fail-count)"},
	} {
		if got := Summary(tt.account); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	many := make([]Departure, namesShown+2)
	for i := range many {
		many[i] = Departure{Guest: "g", Fate: hbplugin.Stays}
	}
	if got := Summary(many); !strings.HasSuffix(got, "g is still here, and 2 more were not moved live") ||
		strings.Count(got, "still here") != namesShown {
		t.Errorf("many: %q", got)
	}
}

func TestAdrift(t *testing.T) {
	claims := []hbplugin.Claim{{Resource: "web"}, {Resource: "many"}, {Resource: "odd:name"}}
	got := Adrift([]string{"web", "many:3", "old", "web:x", "odd:name"}, claims)
	if s := strings.Join(got, " "); s != "old web:x" {
		t.Errorf("adrift: %q", s)
	}
}
