package resource

import (
	"time"

	"github.com/vmferry/vmferry/resource/param"
)

// What the cluster manager says of a call, under the names that this package speaks of it by; see package param.
type (
	// Environ is one call of the agent as the cluster manager describes it.
	Environ = param.Environ
	// Params are the resource's parameters.
	Params = param.Params
	// Problem is a parameter whose value cannot be used.
	Problem = param.Problem
	// Utilization is what a monitor does about one utilization attribute.
	Utilization = param.Utilization
	// Route is the way to a node.
	Route = param.Route
	// Move is a live migration to make.
	Move = param.Move
)

// ParseEnviron reads a list of NAME=VALUE as os.Environ gives it; see [param.ParseEnviron].
func ParseEnviron(environ []string) Environ { return param.ParseEnviron(environ) }

// within shortens a stop's patience to what the parameters say. What follows it keeps its time.
func (b budget) within(p Params, timeout time.Duration) budget {
	b.graceful = p.ShutdownTime(b.graceful, timeout)
	b.save = b.graceful * 2 / 3
	return b
}
