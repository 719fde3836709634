package resource

import "slices"

// steps are the points of each action between which it changes something or is about to, in
// the order in which they are passed; not every call passes all of them. Whatever is killed
// at one of them, the action can be run again.
var steps = map[string][]string{
	"start":        {"begin", "proven", "restoring", "created", "end"},
	"stop":         {"begin", "saving", "asked", "destroying", "killing", "end"},
	"monitor":      {"begin", "end"},
	"migrate_to":   {"begin", "intended", "moved", "end"},
	"migrate_from": {"begin", "intended", "end"},
}

// Steps lists the points of an action at which [Agent.Step] is called, in their order; none
// for an action that changes nothing.
func Steps(action string) []string { return slices.Clone(steps[action]) }

// step reports that a point was reached.
func (a *run) step(name string) {
	a.Log.WithField("step", name).Debug("reached")
	if a.Step != nil {
		a.Step(name)
	}
}
