package metadata

import (
	"slices"
	"time"
)

// Action is one action of the agent.
type Action struct {
	Name     string
	Timeout  time.Duration
	Interval time.Duration // of a recurring one, else 0
	Plain    bool          // does not look at a guest
}

// Actions are all that the agent has, with the timeouts and the intervals that it recommends.
var Actions = []Action{
	{Name: "start", Timeout: 90 * time.Second},
	{Name: "stop", Timeout: 90 * time.Second},
	{Name: "monitor", Timeout: 30 * time.Second, Interval: 10 * time.Second},
	{Name: "status", Timeout: 30 * time.Second, Interval: 10 * time.Second},
	{Name: "migrate_to", Timeout: 120 * time.Second},
	{Name: "migrate_from", Timeout: 60 * time.Second},
	{Name: "reload-agent", Timeout: 30 * time.Second},
	{Name: "validate-all", Timeout: 5 * time.Second},
	{Name: "meta-data", Timeout: 5 * time.Second, Plain: true},
}

// Timeout is an action's timeout where the caller names none; 0 for an action that the agent does not have.
func Timeout(action string) time.Duration {
	i := slices.IndexFunc(Actions, func(a Action) bool { return a.Name == action })
	if i < 0 {
		return 0
	}
	return Actions[i].Timeout
}
