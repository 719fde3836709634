package verdict

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/resource/param"
)

// Answer is what one node answered about one guest.
type Answer struct {
	migrate.Examination
	Err error // why the node could not be examined
}

// notStarted are the checks of the pre-flight that a guest fails at a node which could not start it either: a move that
// is refused for one of them does not end in a restart there. A start obeys the same rule about memory as a move.
var notStarted = []string{preflight.CheckHypervisor, preflight.CheckDuplicate, preflight.CheckMemory,
	preflight.CheckDisk,
	preflight.CheckNetwork, preflight.CheckFirmware}

// Decide is the whole rule: what the cluster manager said of a guest, made true by what the nodes answered. answers
// holds the node that the manager chose, and the other nodes that may start the guest where that one could not.
func Decide(said hbplugin.Verdict, g Guest, answers map[string]Answer) hbplugin.Verdict {
	v := said
	// To a start with such a parameter the agent answers "not configured", which forbids all nodes.
	if why, remedy := g.flaw(param.Problem.KeepsFromStarting); why != "" && v.To != "" {
		v.Fate, v.To, v.Why, v.Remedy = hbplugin.Stops, "", join(v.Why, "the agent starts it nowhere: "+why),
			join(v.Remedy, remedy)
		return v
	}
	switch said.Fate {
	case hbplugin.MovesLive, hbplugin.MovesWith:
		if i := slices.IndexFunc(g.Ruled, decides); i >= 0 {
			v.Fate, v.Why = hbplugin.Unknown,
				"a rule decides its parameter "+g.Ruled[i]+", and rules are not evaluated here"
			return v
		}
		if why, remedy := g.stays(); why != "" {
			v.Fate, v.Why, v.Remedy = hbplugin.Restarts, why, remedy
			return restart(v, answers)
		}
		return move(v, g, answers)
	case hbplugin.Restarts:
		return restart(v, answers)
	}
	return v
}

// stays is why the agent does not migrate the guest, whatever the nodes say.
func (g Guest) stays() (why, remedy string) {
	if !g.Params.Ladder.MovesLive() {
		return "its ladder does not name live", "add live to the parameter ladder of resource " + g.Resource
	}
	return g.flaw(func(param.Problem) bool { return true })
}

// flaw is the first of the problems of the parameters that count.
func (g Guest) flaw(counts func(param.Problem) bool) (why, remedy string) {
	for _, p := range g.Problems {
		if counts(p) && !slices.Contains(g.Ruled, p.Param) { // else the rule may set it right
			return p.Err.Error(), "correct the parameter " + p.Param + " of resource " + g.Resource
		}
	}
	return "", ""
}

// decides reports whether a parameter decides whether, and by which way, the guest moves.
func decides(param string) bool {
	return slices.Contains([]string{"config", "xmfile", "name", "hypervisor", "migration_transport", "migration_user",
		"migration_network_suffix", "migrate_options", "migration_tls", "migrateuri", "migrateport", "remoteuri",
		"node_ip_attribute", "ladder",
		"disks", "check_memory"}, param)
}

func move(v hbplugin.Verdict, g Guest, answers map[string]Answer) hbplugin.Verdict {
	there, asked := answers[v.To]
	switch {
	case !asked || there.Err != nil:
		v.Fate = hbplugin.Unknown
		v.Why = fmt.Sprintf("node %s was not examined: %v", v.To, cmp.Or(there.Err, errNotAsked))
	case len(there.Refusals) > 0:
		v.Fate = hbplugin.Restarts
		v.Why, v.Remedy = words(there.Refusals)
		if g.saves() {
			v.With = append(v.With, "its memory is saved to shared storage and restored there")
		}
		return restart(v, answers)
	case len(there.With) > 0:
		v.Fate, v.With = hbplugin.MovesWith, slices.Concat(v.With, there.With)
	}
	return v
}

// restart finds out where a guest can be started that is stopped here: on the node that the manager chose, or on
// another after the start there has failed.
func restart(v hbplugin.Verdict, answers map[string]Answer) hbplugin.Verdict {
	why, remedy := hindrance(answers[v.To])
	if v.To == "" || why == "" {
		return v
	}
	for _, node := range slices.Sorted(maps.Keys(answers)) {
		other, _ := hindrance(answers[node])
		if node != v.To && other == "" && answers[node].Err == nil {
			v.To = node
			return v
		}
	}
	v.Fate = hbplugin.Stops
	if strings.Contains(v.Why, why) {
		v.Why = join(v.Why, "for that it cannot be started on "+v.To+" either")
	} else {
		v.Why = join(v.Why, "it cannot be started on "+v.To+": "+why)
	}
	if !strings.Contains(v.Remedy, remedy) {
		v.Remedy = join(v.Remedy, remedy)
	}
	v.To = ""
	return v
}

// hindrance is why a guest cannot be started on a node, as far as the node answered.
func hindrance(a Answer) (why, remedy string) {
	var found []*preflight.Refusal
	for _, r := range a.Refusals {
		if slices.Contains(notStarted, r.Check) {
			found = append(found, r)
		}
	}
	why, remedy = words(found)
	for _, lack := range a.Lacks {
		why = join(why, lack)
	}
	return why, remedy
}

// words joins the reasons and the hints, each once.
func words(refusals []*preflight.Refusal) (why, remedy string) {
	for _, r := range refusals {
		text := r.Reason
		if r.Err != nil {
			text += ": " + r.Err.Error()
		}
		why = join(why, text)
		if !strings.Contains(remedy, r.Hint) {
			remedy = join(remedy, r.Hint)
		}
	}
	return why, remedy
}

func join(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "" || strings.Contains(a, b):
		return a
	}
	return a + "; " + b
}

var errNotAsked = errors.New("it was not asked")
