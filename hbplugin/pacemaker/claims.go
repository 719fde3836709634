package pacemaker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
)

// Claims implements hbplugin.Cluster: the resources of our agents in the configuration, with what they inherit
// from templates, groups, clones and defaults. Of what a rule decides nothing is told but its name; see
// [hbplugin.Claim].
func (c *Client) Claims(ctx context.Context) ([]hbplugin.Claim, error) {
	conf, err := c.Configuration(ctx)
	if err != nil {
		return nil, err
	}
	var out []hbplugin.Claim
	for _, r := range conf.Resources {
		if slices.Contains(c.Agents, r.Agent) {
			out = append(out, hbplugin.Claim{
				Resource: r.ID, Agent: r.Agent, Environ: hbplugin.EnvironOf(r.ID, r.Params),
				Meta: r.Meta, Timeouts: r.Timeouts, Ruled: r.Ruled,
			})
		}
	}
	return out, nil
}

// Resources implements hbplugin.Cluster: whoever has one of vmferry's notes may call the agent by a name that is not
// configured here, so those of all agents count.
func (c *Client) Resources(ctx context.Context) ([]hbplugin.Claim, error) {
	conf, err := c.Configuration(ctx)
	if err != nil {
		return nil, err
	}
	claims := make([]hbplugin.Claim, 0, len(conf.Resources))
	for _, r := range conf.Resources {
		claims = append(claims, hbplugin.Claim{Resource: r.ID})
	}
	return claims, nil
}

// Configuration reads the configuration section of the CIB.
func (c *Client) Configuration(ctx context.Context) (cib.Config, error) {
	return c.query(ctx, "--scope=configuration")
}

func (c *Client) query(ctx context.Context, scope ...string) (cib.Config, error) {
	out, err := c.run(ctx, "cibadmin", append([]string{"--query"}, scope...)...)
	if err != nil {
		return cib.Config{}, err
	}
	return cib.ParseConfig(strings.NewReader(out))
}

// Runnable lists the nodes, this one included, that may run a resource as far as the configuration says for certain:
// all but those that a lasting location constraint forbids (score -INFINITY by the node's name), that no
// constraint names where resource-discovery is "exclusive", or that none names in a cluster that is not symmetric.
//
// Neither standby nor a failure takes a node out, nor resource-discovery "never" by itself, nor a ban that
// crm_resource wrote: such a ban is how a resource is moved away from where it may still be. Rules, colocations and
// utilization are not evaluated: what they decide leaves the node in. It costs one question to the CIB, some
// hundredths of a second. An unknown resource is an error.
func (c *Client) Runnable(ctx context.Context, resource string) ([]string, error) {
	conf, err := c.query(ctx)
	if err != nil {
		return nil, err
	}
	r, known := conf.Resource(resource)
	if !known {
		return nil, fmt.Errorf("find the nodes that may run %q: the CIB has no such resource", resource)
	}
	return runnable(conf, r), nil
}

// runnable is the rule of Runnable.
func runnable(conf cib.Config, r cib.Resource) []string {
	var about []cib.Constraint
	for _, l := range conf.Constraints {
		if conf.Applies(l, r) {
			about = append(about, l)
		}
	}
	exclusive := slices.ContainsFunc(about, func(l cib.Constraint) bool { return l.Discovery == "exclusive" })
	optIn := !cib.Bool(conf.Options["symmetric-cluster"], true)
	var out []string
	for _, m := range conf.Nodes {
		banned := func(l cib.Constraint) bool { return l.Node == m.Name && bans(l) }
		// A rule may name any node.
		named := func(l cib.Constraint) bool { return l.Node == m.Name || l.Node == "" }
		chosen := func(l cib.Constraint) bool { return named(l) && l.Discovery == "exclusive" }
		switch {
		case slices.ContainsFunc(about, banned):
		case exclusive && !slices.ContainsFunc(about, chosen):
		case optIn && !slices.ContainsFunc(about, named):
		default:
			out = append(out, m.Name)
		}
	}
	return out
}

func bans(l cib.Constraint) bool {
	lasting := !strings.HasPrefix(l.ID, "cli-ban-") && l.Until.IsZero()
	return lasting && !l.Promoted && cib.Score(l.Score) <= -cib.Infinity
}
