package resource

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vmferry/vmferry/resource/param"
)

// attributeTime bounds a question to Pacemaker about a node's attribute.
const attributeTime = 5 * time.Second

var errNoAddress = errors.New("the node has no such attribute")

// AddressOf asks Pacemaker, by run, for what the node attribute that node_ip_attribute names has for the node: an
// address or a host name. It is empty, and nothing is asked, where that parameter is unset. An error says why the node
// has no address; its name is used then. It returns within five seconds, and within half of the time of ctx.
func AddressOf(ctx context.Context, p Params, run Command, node string) (string, error) {
	if p.NodeIPAttribute == "" {
		return "", nil
	}
	ctx, cancel := within(ctx, attributeTime)
	defer cancel()
	out, err := run(ctx, "crm_attribute", "--type", "nodes", "--node", node, "--name", p.NodeIPAttribute,
		"--query", "--quiet")
	address := strings.TrimSpace(out)
	switch {
	case err != nil:
		err = explain(out, err)
	case address == "" || address == "(null)":
		err = errNoAddress
	case !param.IsHost(address):
		err = fmt.Errorf("%q is neither an address nor a host name", address)
	default:
		return address, nil
	}
	return "", fmt.Errorf("read attribute %q of node %q: %w", p.NodeIPAttribute, node, err)
}

// RouteTo is [Params.Route] with the address that [AddressOf] finds by run. A node of which Pacemaker has none
// is reached by its name, as the agent does it.
func RouteTo(ctx context.Context, p Params, run Command, node string) (Route, error) {
	address, err := AddressOf(ctx, p, run, node)
	if err != nil {
		address = ""
	}
	return p.Route(node, address)
}

// routes are the ways to nodes that an action has looked up: Pacemaker is asked once about each node.
type routes struct {
	mu    sync.Mutex
	known map[string]Route
}

// route is the way to a node. Where Pacemaker has no address for it, its name stands for it.
func (a *run) route(ctx context.Context, node string) (Route, error) {
	a.routes.mu.Lock()
	r, ok := a.routes.known[node]
	a.routes.mu.Unlock()
	if ok {
		return r, nil
	}
	address, err := AddressOf(ctx, a.Params, a.command, node)
	switch {
	case err != nil:
		a.Log.WithError(err).Warnf("node %s has no address to reach it by: using its name", node)
	case address != "":
		a.Log.Infof("node %s has the address %s", node, address)
	}
	if r, err = a.Params.Route(node, address); err != nil {
		return Route{}, err
	}
	a.routes.mu.Lock()
	defer a.routes.mu.Unlock()
	if a.routes.known == nil {
		a.routes.known = make(map[string]Route)
	}
	a.routes.known[node] = r
	return r, nil
}
