package inventory

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/verdict"
)

// Prediction is the verdict of a guest that is here, whether a manager has it or not.
type Prediction struct {
	Guest *Guest
	hbplugin.Verdict
}

// Predict is what becomes of each guest of this node when the node goes into standby. verdicts has, by manager, the
// verdicts of those that it has here (see [Inventory.ManagedBy]).
func (inv *Inventory) Predict(verdicts map[string][]hbplugin.Verdict) []Prediction {
	var out []Prediction
	for _, g := range inv.Guests {
		if g.IsHere() && !(g.Incoming && !g.IsActive()) {
			out = append(out, Prediction{g, inv.verdictOf(g, verdicts)})
		}
	}
	return out
}

// Subject is a guest with a claim as package verdict wants it.
func (g *Guest) Subject() verdict.Guest {
	return verdict.GuestOf(g.Claim.Claim, g.Name, g.UUID)
}

// ManagedBy are the guests that the manager has here, as far as it is known what libvirt calls them.
func (inv *Inventory) ManagedBy(m Manager) []verdict.Guest {
	var out []verdict.Guest
	for _, g := range inv.Guests {
		if g.View != nil && g.Claim != nil && g.Claim.Manager == m.String() {
			v := g.Subject()
			if g.Claim.Foreign() { // another agent may make something of what this one cannot use
				v.Problems = nil
			}
			out = append(out, v)
		}
	}
	return out
}

// verdictOf is the verdict of one guest. verdicts is by manager.
func (inv *Inventory) verdictOf(g *Guest, verdicts map[string][]hbplugin.Verdict) hbplugin.Verdict {
	switch {
	case g.Claim == nil && inv.Unsure != nil:
		why := "it is not known whether a cluster manager has it: " + verdict.OneLine(inv.Unsure)
		return hbplugin.Verdict{Fate: hbplugin.Unknown, Why: why}
	case g.Claim == nil:
		return hbplugin.Verdict{Fate: hbplugin.Stays, Why: "no cluster manager has it", Remedy: verdict.ByHand(g.Name)}
	}
	list := verdicts[g.Claim.Manager]
	i := slices.IndexFunc(list, func(v hbplugin.Verdict) bool { return v.Resource == g.Claim.Resource })
	switch {
	case i >= 0:
		return list[i]
	case g.View == nil:
		return hbplugin.Verdict{Resource: g.Claim.Resource, Fate: hbplugin.Unknown,
			Why:    "it is here, and " + g.Claim.Manager + " does not have it on this node",
			Remedy: "a move may be under way: type: vmferry status"}
	}
	why := g.Claim.Manager + " does not list it"
	return hbplugin.Verdict{Resource: g.Claim.Resource, Fate: hbplugin.Unknown, Why: why}
}

// NotLive names the guests that would not be moved live, with why; nil where there is none.
func NotLive(verdicts []Prediction) error {
	var names []string
	for _, f := range verdicts {
		if !f.Fate.KeepsRunning() {
			names = append(names, f.Guest.Name+" "+verdict.Words(f.Verdict))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %s would not be moved live: %s",
		len(names), verdict.Count(len(verdicts), "guest"), strings.Join(names, "; "))
}
