package shutdown

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/verdict"
)

// Departure is what a drain has made of one guest.
type Departure struct {
	Guest string           // the manager's name of it
	Said  hbplugin.Verdict // beforehand; its Fate is empty where nobody could say anything
	Fate  hbplugin.Fate    // as the guest met it
	To    string           // where the manager has it now; empty where that is nowhere, or not known
	Why   string           // why it was not moved live, as far as that is known
}

// Account says what became of the guests that were here in a drain, in the order of here. left are those that are here
// still, said is what was predicted, and traces is what is known of each guest by its name.
func Account(
	here []string, left []hbplugin.Guest, said []hbplugin.Verdict, traces map[string]verdict.Trace,
) []Departure {
	out := make([]Departure, 0, len(here))
	for _, name := range here {
		d := Departure{Guest: name}
		if i := slices.IndexFunc(said, func(v hbplugin.Verdict) bool { return v.Resource == name }); i >= 0 {
			d.Said = said[i]
		}
		trace, traced := traces[name]
		i := slices.IndexFunc(left, func(g hbplugin.Guest) bool { return g.Name == name })
		switch {
		case i >= 0:
			d.Fate, d.Why = hbplugin.Stays, left[i].Stuck
		case !traced:
			d.Fate, d.Why = hbplugin.Unknown, "nothing is known of it"
		default:
			d.Fate, d.Why = verdict.Became(trace)
			d.To = otherNode(trace)
		}
		if ended(d.Fate) && ended(d.Said.Fate) && d.Said.Why != "" {
			d.Why = d.Said.Why // says more than that the manager has stopped it
		}
		out = append(out, d)
	}
	return out
}

// ended reports whether a guest with this fate is stopped on its node.
func ended(f hbplugin.Fate) bool { return f == hbplugin.Restarts || f == hbplugin.Stops }

// otherNode is where the manager has a guest that has left.
func otherNode(t verdict.Trace) string {
	for _, n := range t.Nodes {
		if n != t.Node {
			return n
		}
	}
	return ""
}

// String is the departure in words that follow the guest's name.
func (d Departure) String() string {
	at := func(text, word string) string {
		if d.To == "" {
			return text
		}
		return text + word + d.To
	}
	switch {
	case d.Fate.KeepsRunning():
		return at("was moved live", " to ")
	case d.Fate == hbplugin.Restarts:
		return d.because(at("was stopped and started again", " on "))
	case d.Fate == hbplugin.Stops && d.Said.Fate == hbplugin.Restarts:
		return d.because("was stopped and has not started elsewhere yet")
	case d.Fate == hbplugin.Stops:
		return d.because("was stopped and runs nowhere")
	case d.Fate == hbplugin.Stays:
		return d.because("is still here")
	case d.To != "":
		return d.because("has left in an unknown way, and runs on " + d.To)
	}
	return d.because("has an unknown fate")
}

func (d Departure) because(text string) string {
	if d.Said.Fate.KeepsRunning() && d.Fate != hbplugin.Unknown {
		text = "was to move live, and " + text
	}
	if d.Why == "" {
		return text
	}
	return text + " (" + verdict.Line(d.Why) + ")"
}

// Summary is an account in one line: how many guests were moved live, and what became of each other one.
func Summary(account []Departure) string {
	var parts []string
	live := 0
	for _, d := range account {
		if d.Fate.KeepsRunning() {
			live++
			continue
		}
		parts = append(parts, d.Guest+" "+d.String())
	}
	if more := len(parts) - namesShown; more > 0 {
		parts = append(parts[:namesShown], fmt.Sprintf("and %d more were not moved live", more))
	}
	if live > 0 {
		parts = slices.Insert(parts, 0, fmt.Sprintf("%d moved live", live))
	}
	return strings.Join(parts, ", ")
}
