package resource

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/param"
	"github.com/vmferry/vmferry/resource/timely"
)

// attributeTime bounds a question to Pacemaker about a node's attribute.
const attributeTime = 5 * time.Second

// AddressOf is [route.Config.Address], by the parameters p. It returns within five seconds, and within half of the time
// of ctx.
func AddressOf(ctx context.Context, p param.Params, run command.Runner, node string) (string, error) {
	ctx, cancel := timely.Within(ctx, attributeTime)
	defer cancel()
	return p.Routes().Address(ctx, run, node)
}

// RouteTo is [Params.Route] with the address that [AddressOf] finds by run. A node of which Pacemaker has none
// is reached by its name, as the agent does it.
func RouteTo(ctx context.Context, p param.Params, run command.Runner, node string) (param.Route, error) {
	address, err := AddressOf(ctx, p, run, node)
	if err != nil {
		address = ""
	}
	return p.Route(node, address)
}
