package outcome

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/record"
)

// Guest is what became of one guest of the node, beside what was predicted.
type Guest struct {
	Resource string           `json:"resource,omitempty"` // empty: no cluster manager has it
	Guest    string           `json:"guest"`
	Said     hbplugin.Verdict `json:"verdict"`            // the prediction
	Happened hbplugin.Fate    `json:"happened"`           // in the verdicts' words
	AsSaid   bool             `json:"as_said"`            // both are the same
	Nodes    []string         `json:"nodes"`              // where it is now; empty: nowhere, or nobody knows
	State    string           `json:"state,omitempty"`    // libvirt's word on the first of them
	PauseMS  *float64         `json:"pause_ms,omitempty"` // of a live migration that is on record
	Why      string           `json:"why,omitempty"`      // why it was not moved live
}

// Place is where a guest is now.
type Place struct {
	Nodes  []string
	There  *libvirt.Status // by libvirt on the first of the nodes; nil where nobody asked it
	IsBusy bool            // the manager is at work on it
	Err    error           // why Nodes is not known
}

// allPlaced reports whether each guest that the manager has is on another node, and at rest. A guest that libvirt there
// does not have is still to be started: after a migrate_to that failed, Pacemaker has it on the target until it has
// been stopped there.
func allPlaced(predictions []inventory.Prediction, places map[string]Place) bool {
	return !slices.ContainsFunc(predictions, func(f inventory.Prediction) bool {
		p := places[f.Guest.Name]
		isAbsent := p.There != nil && !p.There.State.Active()
		return f.Guest.Claim != nil && (p.Err != nil || p.IsBusy || len(p.Nodes) != 1 || isAbsent)
	})
}

// Of judges one guest of the node: by where it is now, and by the records that were written since the drain began.
func Of(node string, f inventory.Prediction, p Place, records []record.Record) Guest {
	t := verdict.Trace{Node: node, Nodes: p.Nodes, Busy: p.IsBusy, Lost: p.Err, There: p.There}
	for _, r := range records {
		if r.Guest == f.Guest.Name && (r.UUID == "" || f.Guest.UUID == "" || strings.EqualFold(r.UUID, f.Guest.UUID)) {
			t.Records = append(t.Records, r)
		}
	}
	g := Guest{Resource: f.Resource, Guest: f.Guest.Name, Said: f.Verdict, Nodes: append([]string{}, p.Nodes...)}
	g.Happened, g.Why = verdict.Became(t)
	g.AsSaid = verdict.Agrees(f.Fate, g.Happened)
	if t.There != nil {
		g.State = fmt.Sprintf("%s (%s)", t.There.State, cmp.Or(t.There.Reason, "unknown"))
	}
	if i := len(t.Records) - 1; i >= 0 && g.Happened.KeepsRunning() {
		g.PauseMS = t.Records[i].PauseMS
	}
	return g
}

// Line is the guest's fate in one line.
func (g Guest) Line() string {
	text := g.Guest + ": " + verdict.Past(g.Happened)
	switch on := strings.Join(g.Nodes, " and "); {
	case on == "":
	case g.Happened.KeepsRunning():
		text += " to " + on
	case g.Happened == hbplugin.Restarts:
		text += ", on " + on + " now"
	}
	if g.PauseMS != nil {
		text += fmt.Sprintf(", pause %.1f ms", *g.PauseMS)
	}
	why := g.Why
	if g.AsSaid { // the record of a stop that nobody asked to migrate knows less
		why = cmp.Or(g.Said.Why, g.Why)
	}
	if why != "" && !g.Happened.KeepsRunning() {
		text += ": " + verdict.Line(why)
	}
	if !g.AsSaid {
		text += "; predicted: " + verdict.Words(g.Said)
	}
	return text
}

// NotLive names the guests that were not moved live; nil where there is none.
func NotLive(guests []Guest) error {
	var lines []string
	for _, g := range guests {
		if !g.Happened.KeepsRunning() {
			lines = append(lines, fmt.Sprintf("%s (%s)", g.Guest, verdict.Past(g.Happened)))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	verb := "were"
	if len(lines) == 1 {
		verb = "was"
	}
	all := verdict.Count(len(guests), "guest")
	return fmt.Errorf("%d of %s %s not moved live: %s", len(lines), all, verb, strings.Join(lines, ", "))
}
