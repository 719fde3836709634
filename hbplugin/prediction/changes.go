package prediction

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
)

// latest is the last verdict of each guest.
type latest map[string]hbplugin.Verdict

// update replaces the verdicts, and returns those that an operator has not been told yet, by guest: a guest would not
// move live, or for another reason than before, or it would again.
func (l latest) update(verdicts []hbplugin.Verdict) []hbplugin.Verdict {
	var changed []hbplugin.Verdict
	old := maps.Clone(l)
	clear(l)
	for _, v := range verdicts {
		before, known := old[v.Resource]
		switch {
		case v.Fate.KeepsRunning() && (!known || before.Fate.KeepsRunning()):
		case v.Fate == hbplugin.Untold && before.Fate == hbplugin.Untold: // the words of an error may differ each time
		case !v.Fate.KeepsRunning() && before.Fate == v.Fate && before.Why == v.Why && before.Remedy == v.Remedy:
		default:
			changed = append(changed, v)
		}
		l[v.Resource] = v
	}
	slices.SortFunc(changed, func(a, b hbplugin.Verdict) int { return cmp.Compare(a.Resource, b.Resource) })
	return changed
}

// line is the prediction in a status line; empty where all would move live.
func (l latest) line() string {
	not, unknown := 0, 0
	for _, v := range l {
		switch {
		case v.Fate.KeepsRunning():
		case v.Fate == hbplugin.Untold:
			unknown++
		default:
			not++
		}
	}
	var parts []string
	if not > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d guests would not move live", not, len(l)))
	}
	if unknown > 0 {
		parts = append(parts, fmt.Sprintf("of %d of %d guests it cannot be told", unknown, len(l)))
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ") + ": see journalctl -u vmferryd"
}
