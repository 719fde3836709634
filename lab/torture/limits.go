package torture

import (
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/timing"
)

// Limits are what a recovery may take at most.
type Limits struct {
	Guard   timing.Bounds // from the fault to the end of the first guest's start elsewhere
	Boot    time.Duration // from the first guest's start to the answers of all, as measured on this lab
	Blip    time.Duration // the silence of a guest that is moved live
	Restart time.Duration // until the manager has seen a guest in an unknown state, stopped it and begun its start
	Return  time.Duration // until a node that was crashed, hung or cut off is a member again, after that is over
}

// Of is how long after the begin of a fault all guests must answer again.
func (l Limits) Of(f Fault) time.Duration {
	switch f.Kind.trait().outage {
	case restarted:
		return l.Restart + l.Boot
	case crashed:
		return l.Guard.Crash + l.Boot
	case split:
		bound := l.Guard.Split + l.Boot
		if f.Kind == Flapping { // each time that it is up begins another split
			bound += f.Lasts
		}
		return bound
	case either:
		return max(l.Guard.Crash, l.Guard.Split) + l.Boot
	case untilHeal:
		return f.Lasts + l.Guard.Crash + l.Boot
	}
	return l.Blip
}

// Within is the same for an episode, from the begin of its first fault. A second fault may undo all that was reached:
// at another node, it may even take the last node that is well, and then one of them has to come back first.
func (l Limits) Within(episode []Fault) time.Duration {
	total := l.Of(episode[0])
	for i, f := range episode[1:] {
		total = max(total, f.Rest) + l.Of(f)
		if f.Node != episode[i].Node && f.severe() && episode[i].severe() {
			total += max(f.Lasts, episode[i].Lasts) + l.Return
		}
	}
	return total
}

// severe reports whether the node may be unable to run guests.
func (f Fault) severe() bool { return f.Kind.trait().outage != moved || f.Kind.trait().ends }
