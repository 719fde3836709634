package forecast

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
)

// candidate is a host to which a resource could go. instance is what the scheduler calls the resource.
type candidate struct {
	world
	r        cib.Resource
	instance string
	host     string
}

// ruledOut says why the resource does not run on the host, which takes others.
func (c candidate) ruledOut() cause {
	var forbidden, running cause
	gaveNone := cause{"Pacemaker's scheduler gives no reason", showScores}
	if c.isForbidden() {
		forbidden = cmp.Or(c.located(), c.failed(), c.exclusive(), c.optIn(), c.colocated(), c.grouped())
		gaveNone.why = "its score there is negative, and neither a constraint nor a failure says why"
	}
	if c.r.Clone && c.runsAfter(c.r.ID, c.host) {
		running = cause{"an instance runs there already", ""}
	}
	return cmp.Or(forbidden, c.full(), running, gaveNone)
}

// isForbidden reports whether the scheduler's own scores rule the host out, or may do so: a node that a resource
// must not run on can be missing from its scores, and a resource that is held anyway has none.
func (c candidate) isForbidden() bool {
	score, known := c.runs[0].Scores[c.instance][c.host]
	return !known || score < 0
}

// located finds a location constraint that speaks against the host: a negative sum of scores forbids it. One whose
// rule cannot be evaluated here counts where no other does.
func (c candidate) located() (maybe cause) {
	m := c.conf.Member(c.host)
	for _, l := range c.conf.Constraints {
		if l.Promoted || !c.conf.Applies(l, c.r) {
			continue
		}
		if l.Node == c.host && cib.Score(l.Score) < 0 {
			return cause{fmt.Sprintf("location constraint %q forbids it (%s)", l.ID, l.Score), unlocate(l, c.r)}
		}
		for _, rule := range l.Rules {
			score := rule.ScoreOn(m)
			if cib.Score(score) >= 0 {
				continue
			}
			found := cause{fmt.Sprintf("location constraint %q forbids it by the rule %s (%s)", l.ID, rule.Text, score),
				unlocate(l, c.r)}
			switch rule.Eval(m) {
			case cib.True:
				return found
			case cib.Unknown:
				maybe = found
			}
		}
	}
	return maybe
}

// hard are the answers of an agent that forbid the node without a fail-count.
var hard = map[int]string{
	2: "invalid parameter", 3: "unimplemented action", 4: "insufficient privileges", 5: "not installed",
}

// failed finds a fail-count that forbids the host, or an answer of the agent's that does.
func (c candidate) failed() cause {
	id, m := c.r.ID, c.conf.Member(c.host)
	count, limit := m.Failures[id], cib.Score(c.r.Meta["migration-threshold"])
	switch text := hard[m.Answers[id]]; {
	case count >= cib.Infinity:
		return cause{"it has failed there: its fail-count is INFINITY", cleanup(id, c.host)}
	case limit > 0 && count >= limit:
		return cause{fmt.Sprintf("it has failed there: its fail-count is %d, and migration-threshold is %d", count,
			limit), cleanup(id, c.host)}
	case text != "":
		return cause{fmt.Sprintf("its agent answered %d there (%s)", m.Answers[id], text),
			"repair it there, then " + cleanup(id, c.host)}
	}
	for _, m := range c.conf.Nodes {
		if m.Answers[id] == 6 {
			return cause{fmt.Sprintf("its agent answered 6 (not configured) on %s, which forbids every node", m.Name),
				"correct its parameters, then " + cleanup(id, m.Name)}
		}
	}
	return cause{}
}

// exclusive finds constraints that let the resource be looked for on their own nodes only.
func (c candidate) exclusive() (found cause) {
	holds := func(rule cib.Rule) bool { return rule.Eval(c.conf.Member(c.host)) != cib.False }
	for _, l := range c.conf.Constraints {
		if l.Discovery != "exclusive" || !c.conf.Applies(l, c.r) {
			continue
		}
		if l.Node == c.host || slices.ContainsFunc(l.Rules, holds) {
			return cause{}
		}
		found = cmp.Or(found, cause{fmt.Sprintf("location constraint %q pins it to other nodes "+
			"(resource-discovery=exclusive)", l.ID), unlocate(l, c.r)})
	}
	return found
}

// optIn says that a cluster that is not symmetric needs a constraint for each node.
func (c candidate) optIn() cause {
	if cib.Bool(c.conf.Options["symmetric-cluster"], true) {
		return cause{}
	}
	xml := fmt.Sprintf(`<rsc_location id="allow-%[1]s-on-%[2]s" rsc="%[1]s" node="%[2]s" score="0"/>`, c.r.ID, c.host)
	return cause{"no location constraint allows it there (symmetric-cluster is false)",
		"type: " + command("cibadmin", "--create", "--scope", "constraints", "--xml-text", xml)}
}

// colocated finds a resource without which this one cannot run, and which is not there; or one with which it must
// not run, and which is.
func (c candidate) colocated() cause {
	names := c.conf.Names(c.r)
	for _, l := range c.conf.Colocations {
		if !slices.Contains(names, l.Resource) {
			continue
		}
		there, role := c.runsAfter(l.With, c.host), ""
		if l.Role != "" && !strings.EqualFold(l.Role, "Started") {
			role = " as " + l.Role
		}
		switch {
		case l.Score <= -cib.Infinity && there:
			return cause{fmt.Sprintf("colocation %q keeps it away from %q, which runs there", l.ID, l.With), ""}
		case l.Score >= cib.Infinity && (!there || role != ""):
			return c.because(fmt.Sprintf("colocation %q keeps it with %q, which does not run there%s", l.ID, l.With,
				role), l.With)
		}
	}
	return cause{}
}

// grouped finds a member of the group that comes before this one and is not there.
func (c candidate) grouped() cause {
	for _, name := range c.r.Group {
		if !c.runsAfter(name, c.host) {
			group := c.r.Within[len(c.r.Within)-1]
			return c.because(fmt.Sprintf("it comes after %q in group %q, which does not run there", name, group), name)
		}
	}
	return cause{}
}

// because adds what rules out the host for the other resource, where a constraint or a failure does.
func (c candidate) because(why, name string) cause {
	for _, r := range c.conf.Resources {
		if slices.Contains(c.conf.Names(r), name) {
			other := candidate{world: c.world, r: r, host: c.host}
			if found := cmp.Or(other.located(), other.failed(), other.exclusive(), c.held(r)); found.why != "" {
				return cause{why + ": " + found.why, found.remedy}
			}
		}
	}
	return cause{why, ""}
}

// full finds a capacity of the host that the resource does not fit into.
func (c candidate) full() cause {
	if strategy := c.conf.Options["placement-strategy"]; strategy == "" || strategy == "default" {
		return cause{}
	}
	for _, name := range slices.Sorted(maps.Keys(c.r.Utilization)) {
		need := cib.Score(c.r.Utilization[name])
		free, all := c.runs[0].Remaining[c.host][name], c.runs[0].Original[c.host][name]
		if need <= free {
			continue
		}
		has := fmt.Sprint(all)
		if free != all {
			has = fmt.Sprintf("%d left of %d", free, all)
		}
		return cause{fmt.Sprintf("%s %d does not fit on %s, which has %s", name, need, c.host, has),
			"if " + c.host + " really has that much, type: " + command("crm_attribute", "--node", c.host,
				"--utilization", "--name", name, "--update", fmt.Sprint(all-free+need))}
	}
	return cause{}
}
