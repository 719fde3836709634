package forecast

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
)

// whyStops says why a resource is stopped and started nowhere.
func (w world) whyStops(r cib.Resource, p cib.Place) cause {
	if c, found := w.fenced(); found {
		return c
	}
	if c, found := w.held(r); found {
		return c
	}
	a := w.action(p.ID)
	if a.Reason != "" && a.Reason != "node availability" {
		return w.dependent(r, a.Reason)
	}
	return w.nowhere(r, a.Resource)
}

// held says what keeps a resource from running anywhere, whichever nodes there are.
func (w world) held(r cib.Resource) (cause, bool) {
	role := strings.ToLower(r.Meta["target-role"])
	names := w.conf.Names(r)
	switch {
	case w.option("stop-all-resources"):
		return cause{"the cluster stops everything: stop-all-resources is true",
			"type: crm_attribute --name stop-all-resources --update false"}, true
	case role == "stopped":
		return cause{"target-role is Stopped" + from(r, "target-role"),
			setMeta(origin(r, "target-role"), "target-role", "Started")}, true
	case w.quorumLost():
		return cause{"this part of the cluster has no quorum", "start Pacemaker on the nodes that are down"}, true
	}
	for _, t := range w.conf.Tickets {
		if slices.Contains(names, t.Resource) {
			return cause{fmt.Sprintf("it depends on ticket %q (%s)", t.Ticket, t.ID),
				"type: " + command("crm_ticket", "--info", "--ticket", t.Ticket)}, true
		}
	}
	return cause{}, false
}

// quorumLost reports whether the scheduler itself gave that for a reason.
func (w world) quorumLost() bool {
	return slices.ContainsFunc(w.runs[0].Actions, func(a cib.Action) bool { return a.Reason == "no quorum" })
}

// dependent explains a stop by a resource that the scheduler names.
func (w world) dependent(r cib.Resource, reason string) cause {
	name, _ := about(reason)
	why := reason
	if link := w.link(r, name); link != "" {
		why += ": " + link
	}
	other, known := w.conf.Resource(name)
	if !known {
		return cause{why, "type: crm_mon -1rf"}
	}
	c, found := w.held(other)
	if !found {
		c = w.nowhere(other, w.action(other.ID).Resource)
	}
	return cause{why + ", and for " + quoted(name) + ": " + c.why, c.remedy}
}

// nowhere goes through the other hosts and says what rules out each one. instance is what the scheduler calls the
// resource. The remedy is that of the first host that has one.
func (w world) nowhere(r cib.Resource, instance string) cause {
	var whys []string
	remedy := ""
	for _, n := range w.before.Nodes {
		if !n.Host() || n.Name == w.node {
			continue
		}
		c := w.ruledOut(r, instance, n)
		whys = append(whys, n.Name+": "+c.why)
		remedy = cmp.Or(remedy, c.remedy)
	}
	if len(whys) == 0 {
		return cause{"the cluster has no other node", ""}
	}
	return cause{strings.Join(whys, "; "), remedy}
}

// ruledOut says why a resource does not run on a host.
func (w world) ruledOut(r cib.Resource, instance string, n cib.Node) cause {
	if c := w.unusable(n); c.why != "" {
		return c
	}
	rules := []func(cib.Resource, string) cause{w.located, w.failed, w.exclusive, w.optIn, w.colocated, w.grouped}
	for _, rule := range rules {
		if c := rule(r, n.Name); c.why != "" && w.forbidden(instance, n.Name) {
			return c
		}
	}
	if c := w.full(r, n.Name); c.why != "" {
		return c
	}
	if r.Clone && w.runsAfter(r.ID, n.Name) {
		return cause{"an instance runs there already", ""}
	}
	if w.forbidden(instance, n.Name) {
		return cause{"its score there is negative, and neither a constraint nor a failure says why",
			"type: crm_simulate --live-check --show-scores"}
	}
	return cause{"Pacemaker's scheduler gives no reason", "type: crm_simulate --live-check --show-scores"}
}

// forbidden reports whether the scheduler's own scores rule the node out, or may do so: a node that a resource
// must not run on can be missing from its scores, and a resource that is held anyway has none.
func (w world) forbidden(instance, node string) bool {
	score, known := w.runs[0].Scores[instance][node]
	return !known || score < 0
}

// unusable says why no resource at all is started on a host.
func (w world) unusable(n cib.Node) cause {
	m := w.conf.Member(n.Name)
	switch {
	case n.State == cib.Offline:
		return cause{"it is offline", "on " + n.Name + ", type: systemctl start pacemaker"}
	case n.State == cib.Unsure:
		return cause{"it is unclean, or still joining", "type: crm_mon -1"}
	case n.Leaving:
		return cause{"Pacemaker shuts down there", ""}
	case w.goesAlong(n.Name):
		return cause{"its connection ends when this node is in standby",
			"type: " + command("crm_resource", "--why", "--resource", n.Name)}
	case n.Standby && m.Attrs["standby"] != m.Permanent["standby"]:
		return cause{"it is in standby until it reboots", "on " + n.Name + ", type: vmferry undrain; or: " +
			command("crm_attribute", "--node", n.Name, "--name", "standby", "--lifetime", "reboot", "--delete")}
	case n.Standby:
		return cause{"it is in standby",
			"type: " + command("crm_attribute", "--node", n.Name, "--name", "standby", "--delete")}
	case n.Maintenance:
		return cause{"it is in maintenance",
			"type: " + command("crm_attribute", "--node", n.Name, "--name", "maintenance", "--delete")}
	}
	strategy := w.conf.Options["node-health-strategy"]
	if strategy == "" || strategy == "none" {
		return cause{}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Attrs)) {
		if strings.HasPrefix(name, "#health") && m.Attrs[name] == "red" {
			return cause{
				fmt.Sprintf("its health is bad: %s is %s", name, m.Attrs[name]),
				"mend it, then type: " + command("crm_attribute", "--node", n.Name, "--name", name, "--update",
					"green"),
			}
		}
	}
	return cause{}
}

// goesAlong reports whether a remote node is lost because its connection has no other node to run on.
func (w world) goesAlong(node string) bool {
	n, _ := w.after.Node(node)
	return n.Type == "remote" && n.State != cib.Online
}

// located finds a location constraint that speaks against the node: a negative sum of scores forbids it. One whose
// rule cannot be evaluated here counts where no other does.
func (w world) located(r cib.Resource, node string) cause {
	var maybe cause
	m := w.conf.Member(node)
	for _, l := range w.conf.Constraints {
		if l.Promoted || !w.conf.Applies(l, r) {
			continue
		}
		if l.Node == node && cib.Score(l.Score) < 0 {
			return cause{fmt.Sprintf("location constraint %q forbids it (%s)", l.ID, l.Score), unlocate(l, r)}
		}
		for _, rule := range l.Rules {
			score := rule.ScoreOn(m)
			if cib.Score(score) >= 0 {
				continue
			}
			c := cause{fmt.Sprintf("location constraint %q forbids it by the rule %s (%s)", l.ID, rule.Text, score),
				unlocate(l, r)}
			switch rule.Eval(m) {
			case cib.True:
				return c
			case cib.Untold:
				maybe = c
			}
		}
	}
	return maybe
}

// hard are the answers of an agent that forbid the node without a fail-count.
var hard = map[int]string{
	2: "invalid parameter", 3: "unimplemented action", 4: "insufficient privileges", 5: "not installed",
}

// failed finds a fail-count that forbids the node, or an answer of the agent's that does.
func (w world) failed(r cib.Resource, node string) cause {
	m := w.conf.Member(node)
	count := m.Failures[r.ID]
	if count >= cib.Infinity {
		return cause{"it has failed there: its fail-count is INFINITY", cleanup(r.ID, node)}
	}
	if limit := cib.Score(r.Meta["migration-threshold"]); limit > 0 && count >= limit {
		return cause{
			fmt.Sprintf("it has failed there: its fail-count is %d, and migration-threshold is %d", count, limit),
			cleanup(r.ID, node),
		}
	}
	if text := hard[m.Answers[r.ID]]; text != "" {
		return cause{fmt.Sprintf("its agent answered %d there (%s)", m.Answers[r.ID], text),
			"mend it there, then " + cleanup(r.ID, node)}
	}
	for _, m := range w.conf.Nodes {
		if m.Answers[r.ID] == 6 {
			return cause{fmt.Sprintf("its agent answered 6 (not configured) on %s, which forbids every node", m.Name),
				"correct its parameters, then " + cleanup(r.ID, m.Name)}
		}
	}
	return cause{}
}

// exclusive finds constraints that let a resource be looked for on their own nodes only.
func (w world) exclusive(r cib.Resource, node string) cause {
	var only []cib.Constraint
	for _, l := range w.conf.Constraints {
		if w.conf.Applies(l, r) && l.Discovery == "exclusive" {
			only = append(only, l)
		}
	}
	for _, l := range only {
		holds := func(rule cib.Rule) bool { return rule.Eval(w.conf.Member(node)) != cib.False }
		if l.Node == node || slices.ContainsFunc(l.Rules, holds) {
			return cause{}
		}
	}
	if len(only) == 0 {
		return cause{}
	}
	return cause{
		fmt.Sprintf("location constraint %q pins it to other nodes (resource-discovery=exclusive)", only[0].ID),
		unlocate(only[0], r),
	}
}

// optIn says that a cluster that is not symmetric needs a constraint for each node.
func (w world) optIn(r cib.Resource, node string) cause {
	if cib.Bool(w.conf.Options["symmetric-cluster"], true) {
		return cause{}
	}
	id := "allow-" + r.ID + "-on-" + node
	xml := fmt.Sprintf(`<rsc_location id="%s" rsc="%s" node="%s" score="0"/>`, id, r.ID, node)
	return cause{"no location constraint allows it there (symmetric-cluster is false)",
		"type: " + command("cibadmin", "--create", "--scope", "constraints", "--xml-text", xml)}
}

// colocated finds a resource without which this one cannot run, and which is not there; or one with which it must
// not run, and which is.
func (w world) colocated(r cib.Resource, node string) cause {
	names := w.conf.Names(r)
	for _, c := range w.conf.Colocations {
		if !slices.Contains(names, c.Resource) {
			continue
		}
		there := w.runsAfter(c.With, node)
		role := ""
		if c.Role != "" && !strings.EqualFold(c.Role, "Started") {
			role = " as " + c.Role
		}
		switch {
		case c.Score <= -cib.Infinity && there:
			return cause{fmt.Sprintf("colocation %q keeps it away from %q, which runs there", c.ID, c.With), ""}
		case c.Score >= cib.Infinity && (!there || role != ""):
			why := cause{fmt.Sprintf("colocation %q keeps it with %q, which does not run there%s", c.ID, c.With, role),
				""}
			return w.because(why, c.With, node)
		}
	}
	return cause{}
}

// grouped finds a member of the group that comes before this one and is not there.
func (w world) grouped(r cib.Resource, node string) cause {
	for _, name := range r.Group {
		if !w.runsAfter(name, node) {
			why := cause{
				fmt.Sprintf("it comes after %q in group %q, which does not run there", name, r.Within[len(r.Within)-1]),
				"",
			}
			return w.because(why, name, node)
		}
	}
	return cause{}
}

// because adds what rules out the node for the other resource, where a constraint or a failure does.
func (w world) because(c cause, name, node string) cause {
	for _, other := range w.conf.Resources {
		if !slices.Contains(w.conf.Names(other), name) {
			continue
		}
		for _, rule := range []func(cib.Resource, string) cause{w.located, w.failed, w.exclusive} {
			if found := rule(other, node); found.why != "" {
				return cause{c.why + ": " + found.why, cmp.Or(c.remedy, found.remedy)}
			}
		}
		if held, found := w.held(other); found {
			return cause{c.why + ": " + held.why, held.remedy}
		}
	}
	return c
}

// runsAfter reports whether a resource, or any that is in the group or clone of that name, is on the node at the end.
func (w world) runsAfter(name, node string) bool {
	return slices.ContainsFunc(w.after.Resources, func(p cib.Place) bool {
		named := p.ID == name || cib.Primitive(p.ID) == name || slices.Contains(p.Within, name)
		return named && slices.Contains(p.Nodes, node)
	})
}

// full finds a capacity of the node that the resource does not fit into.
func (w world) full(r cib.Resource, node string) cause {
	if strategy := w.conf.Options["placement-strategy"]; strategy == "" || strategy == "default" {
		return cause{}
	}
	run := w.runs[0]
	for _, name := range slices.Sorted(maps.Keys(r.Utilization)) {
		need, free, all := cib.Score(r.Utilization[name]), run.Remaining[node][name], run.Original[node][name]
		if need <= free {
			continue
		}
		has := fmt.Sprint(all)
		if free != all {
			has = fmt.Sprintf("%d left of %d", free, all)
		}
		more := command("crm_attribute", "--node", node, "--utilization", "--name", name, "--update",
			fmt.Sprint(all-free+need))
		return cause{fmt.Sprintf("%s %d does not fit on %s, which has %s", name, need, node, has),
			"if " + node + " really has that much, type: " + more}
	}
	return cause{}
}
