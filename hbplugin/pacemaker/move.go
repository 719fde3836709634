package pacemaker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// Move asks for a resource on a node, with a constraint that ends by itself (crm_resource --move).
func (c *Client) Move(ctx context.Context, resource, node string, lifetime time.Duration) error {
	_, err := c.run(ctx, "crm_resource", "--resource", resource, "--move", "--node", node,
		"--lifetime", fmt.Sprintf("PT%dS", int(lifetime.Seconds())))
	return err
}

// ClearMove takes back what Move has requested.
func (c *Client) ClearMove(ctx context.Context, resource, node string) error {
	_, err := c.run(ctx, "crm_resource", clearMove(resource, node)...)
	return err
}

func clearMove(resource, node string) []string {
	return []string{"--resource", resource, "--clear", "--node", node}
}

// ClearMoveLine is what to type for ClearMove.
func ClearMoveLine(resource, node string) string {
	return shellword.Line(append([]string{"crm_resource"}, clearMove(resource, node)...)...)
}

// Wait returns once Pacemaker has nothing more to do, by its scheduler's word on the live configuration; it is an error
// where that is not so within limit.
func (c *Client) Wait(ctx context.Context, limit time.Duration) error {
	_, err := c.run(ctx, "crm_resource", "--wait", fmt.Sprintf("--timeout=%.0f", limit.Seconds()))
	return err
}

// CheckMove refuses a move that Pacemaker would not make, or would make by a restart. agent is the one that moves the
// guest.
func CheckMove(status cib.Status, conf cib.Config, claim hbplugin.Claim, node string, now time.Time) (agent string,
	err error) {
	id := claim.Resource
	place := status.Places[id]
	_, known := status.Online[node]
	switch {
	case !cib.Bool(claim.Meta["allow-migrate"], false):
		return "", fmt.Errorf("pacemaker would stop %q and start it on %s, not move it: type %s", id, node,
			cib.SetMeta(id, "allow-migrate", "true"))
	case !known:
		return "", fmt.Errorf("node %q is not in the cluster: its nodes are %s", node,
			strings.Join(slices.Sorted(maps.Keys(status.Online)), ", "))
	case !status.Online[node]:
		return "", fmt.Errorf("node %q is not online: type crm_mon -1", node)
	case status.Standby[node]:
		return "", fmt.Errorf("node %q is in standby, and takes no guest: on it, type vmferry undrain", node)
	case !place.Managed || place.Blocked:
		return "", fmt.Errorf("pacemaker does not touch %q (unmanaged or blocked): type %s, or manage it again", id,
			cib.Cleanup(id, ""))
	case place.Pending != "":
		return "", fmt.Errorf("pacemaker is at work on %q (%s): try again when it is done", id, place.Pending)
	}
	r, _ := conf.Resource(id)
	return r.Agent, contradiction(conf.Constraints, id, node, now)
}

// contradiction refuses to undo what somebody has decided permanently. A move with a
// lifetime, such as ours, makes way for the next one, as crm_resource has it.
func contradiction(constraints []cib.Constraint, id, node string, now time.Time) error {
	for _, l := range constraints {
		move := l.ID == "cli-prefer-"+id && l.Until.IsZero()
		ban := l.ID == "cli-ban-"+id+"-on-"+node && l.Holds(now)
		if move || ban {
			return fmt.Errorf("an earlier move or ban of %q is still in effect (%s): type %s", id, l.ID,
				shellword.Line("crm_resource", "--resource", id, "--clear"))
		}
	}
	return nil
}

// CheckRunnable refuses a node that a location constraint forbids.
func (c *Client) CheckRunnable(ctx context.Context, resource, node string) error {
	nodes, err := c.Runnable(ctx, resource)
	if err != nil || slices.Contains(nodes, node) {
		return err
	}
	return fmt.Errorf("pacemaker does not run %q on %s, by a location constraint: to see it, type %s", resource, node,
		shellword.Line("crm_resource", "--resource", resource, "--constraints"))
}

// ErrNotMoved says that Pacemaker has nothing to do, and the resource is not where the request wants it.
var ErrNotMoved = errors.New("pacemaker has decided otherwise")

// Arrival follows a resource that Pacemaker moves to Node.
type Arrival struct {
	Node string
	seen int // looks in a row that found it there
}

// Look takes in where the resource is now. idle reports that Pacemaker had nothing more to do before that look. The
// move is done when the resource is on the node, and on no other, in two looks: once may be the moment between two
// actions.
func (a *Arrival) Look(p cib.Place, idle bool) (done bool, err error) {
	switch {
	case p.Pending != "":
		a.seen = 0
	case slices.Equal(p.Nodes, []string{a.Node}):
		a.seen++
	default:
		a.seen = 0
		if idle {
			return true, ErrNotMoved
		}
	}
	return a.seen == 2, nil
}
