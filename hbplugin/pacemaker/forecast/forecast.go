package forecast

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
)

// Verdicts returns a verdict for each resource of the agents that is active on the node, in the order of the CIB,
// and for each that an operation under way takes off it. conf is the cluster's CIB as it is; runs are the transitions
// that follow from it once the node is in standby and what is under way has succeeded, each from where the one before
// it ended, and at least one.
func Verdicts(conf cib.Config, runs []cib.Simulation, node string, agents []string) []hbplugin.Verdict {
	w := world{conf, runs, node, agents, runs[0].Before, runs[len(runs)-1].After}
	var out []hbplugin.Verdict
	known := func(id string) bool {
		return slices.ContainsFunc(out, func(v hbplugin.Verdict) bool { return v.Resource == id })
	}
	for _, p := range w.before.Resources {
		if slices.Contains(agents, p.Agent) && slices.Contains(p.Nodes, node) && !known(p.ID) {
			out = append(out, w.verdict(p))
		}
	}
	for _, op := range conf.Underway {
		r, _ := conf.Resource(op.Resource)
		if slices.Contains(agents, r.Agent) && (op.Node == node || op.Source == node) && !known(op.Resource) {
			out = appendLeaving(out, w, op)
		}
	}
	return out
}

// appendLeaving adds the verdict for a resource that is no longer here once the operation under way has succeeded.
// One that was not here before, such as one whose probe is under way, gets none.
func appendLeaving(out []hbplugin.Verdict, w world, op cib.Pending) []hbplugin.Verdict {
	v := hbplugin.Verdict{Resource: op.Resource}
	after := w.after.Places[op.Resource].Nodes
	switch {
	case strings.HasPrefix(op.Operation, "migrate_") && op.Source == w.node && slices.Contains(after, op.Target):
		v.Fate, v.To = hbplugin.MovesLive, op.Target
	case op.Operation != "stop" || op.Node != w.node:
		return out
	case len(after) > 0:
		v.Fate, v.To, v.Why = hbplugin.Restarts, after[0], "its stop is under way"
	default:
		v.Fate, v.Why = hbplugin.Stops, "its stop is under way"
	}
	return append(out, v)
}

// What to type to see what Pacemaker knows of failures, and how it scores the nodes.
const (
	showFailures = "type: crm_mon -1rf"
	showScores   = "type: crm_simulate --live-check --show-scores"
)

// world is all that is known.
type world struct {
	conf          cib.Config
	runs          []cib.Simulation
	node          string
	agents        []string
	before, after cib.Status
}

// cause is why something is so, and what to type or to do about it.
type cause struct{ why, remedy string }

func (w world) verdict(p cib.Place) hbplugin.Verdict {
	v := hbplugin.Verdict{Resource: p.ID}
	v.Fate, v.To = w.fate(p)
	r, _ := w.conf.Resource(p.ID)
	var c cause
	switch v.Fate {
	case hbplugin.Stays:
		c = w.whyStays(r, p)
	case hbplugin.Restarts:
		c = w.whyRestarts(r, p)
	case hbplugin.Stops:
		c = w.whyStops(r, p)
	}
	v.Why, v.Remedy = c.why, c.remedy
	v.Others = w.others(r, w.action(p.ID).Resource, v.To)
	if v.With = w.displaced(v.To); v.Fate == hbplugin.MovesLive && len(v.With) > 0 {
		v.Fate = hbplugin.MovesWith
	}
	return v
}

// others are the hosts that are left for a resource where its start on the node to has failed. instance is what the
// scheduler calls the resource.
func (w world) others(r cib.Resource, instance, to string) (out []string) {
	for _, n := range w.before.Nodes {
		score, known := w.runs[0].Scores[instance][n.Name]
		free := n.Host() && n.Name != w.node && n.Name != to && w.unusable(n).why == ""
		if to != "" && free && known && score >= 0 && (candidate{w, r, instance, n.Name}).full().why == "" {
			out = append(out, n.Name)
		}
	}
	return out
}

// displaced are the guests that a node gives up in favour of those that come.
func (w world) displaced(node string) []string {
	var out []string
	there := w
	there.node = node
	for _, p := range w.before.Resources {
		if !slices.Contains(w.agents, p.Agent) || !slices.Contains(p.Nodes, node) || slices.Contains(p.Nodes, w.node) {
			continue
		}
		if fate, to := there.fate(p); fate != hbplugin.Stays {
			out = append(out, strings.TrimSpace(fmt.Sprintf("guest %q on %s: %s %s", p.ID, node, fate, to)))
		}
	}
	return out
}

// fate compares where the resource is at first and at last. An instance of a clone has gone to another node where
// the clone has one more node than before.
func (w world) fate(p cib.Place) (fate hbplugin.Fate, to string) {
	before, after := w.before.Places[p.ID].Nodes, w.after.Places[p.ID].Nodes
	if slices.Contains(after, w.node) {
		return hbplugin.Stays, ""
	}
	gained := slices.DeleteFunc(slices.Clone(after), func(n string) bool { return slices.Contains(before, n) })
	r, _ := w.conf.Resource(p.ID)
	if !r.Clone {
		gained = append(gained, after...)
	}
	if len(gained) == 0 {
		return hbplugin.Stops, ""
	}
	to = gained[0]
	if w.ran("migrate_from", p.ID, to) && !w.ran("start", p.ID, to) {
		return hbplugin.MovesLive, to
	}
	return hbplugin.Restarts, to
}

func (w world) ran(operation, resource, node string) bool {
	return slices.ContainsFunc(w.runs, func(s cib.Simulation) bool { return s.Ran(operation, resource, node) })
}

// action is the first that Pacemaker plans to take the resource off this node.
func (w world) action(resource string) cib.Action {
	for _, run := range w.runs {
		for _, a := range run.Of(resource) {
			if a.From == w.node {
				return a
			}
		}
	}
	return cib.Action{Resource: resource}
}

// option is one of the cluster's properties that end or hold all resources alike.
func (w world) option(name string) bool { return cib.Bool(w.conf.Options[name], false) }

func (w world) whyStays(r cib.Resource, p cib.Place) cause {
	own, _ := w.before.Node(w.node)
	a := w.action(p.ID)
	switch {
	case w.option("maintenance-mode"):
		return cause{"the cluster is in maintenance mode",
			"type: crm_attribute --name maintenance-mode --update false"}
	case own.Maintenance:
		return cause{"this node is in maintenance",
			"type: " + command("crm_attribute", "--node", w.node, "--name", "maintenance", "--delete")}
	case len(w.before.Places[p.ID].Nodes) > 1 && !r.Clone:
		return w.several(p)
	case p.Blocked && p.Failed:
		return cause{"its stop has failed here, and Pacemaker touches it no more", cleanup(r.ID, "")}
	case p.Maintenance:
		return cause{"maintenance is set" + from(r, "maintenance"),
			setMeta(origin(r, "maintenance"), "maintenance", "false")}
	case !p.Managed:
		return cause{"it is not managed: is-managed is false" + from(r, "is-managed"),
			setMeta(origin(r, "is-managed"), "is-managed", "true")}
	case p.Blocked:
		return cause{"Pacemaker has blocked it", cleanup(r.ID, "")}
	case a.Blocked:
		return cause{"Pacemaker wants to " + a.Kind + " it and cannot: " + cmp.Or(a.Reason, "its stop is blocked"),
			showFailures}
	}
	if cib.Bool(w.conf.Options["stonith-enabled"], true) && len(w.conf.FenceDevices()) == 0 {
		return cause{
			"fencing is enabled (stonith-enabled) and no fence device is configured: Pacemaker starts and moves " +
				"nothing",
			"configure a fence device; where guests may be lost, type: crm_attribute --name stonith-enabled " +
				"--update false",
		}
	}
	return cause{"Pacemaker's scheduler leaves it here and gives no reason", showScores}
}

func (w world) whyRestarts(r cib.Resource, p cib.Place) cause {
	reason := w.action(p.ID).Reason
	switch c := cmp.Or(w.fenced(), w.underway(p.ID), cannotMigrate(r)); {
	case c.why != "":
		return c
	case p.Failed:
		return cause{"it has failed here: Pacemaker recovers a failed resource by a restart", cleanup(r.ID, w.node)}
	case len(w.before.Places[p.ID].Nodes) > 1 && !r.Clone:
		return w.several(p)
	}
	if name, task := about(reason); name != "" {
		return w.follows(r, name, task, reason)
	}
	if reason == "" && slices.Contains(r.Ruled, "allow-migrate") {
		return cause{"a rule decides allow-migrate, and does not set it here now",
			setMeta(r.ID, "allow-migrate", "true")}
	}
	return cause{cmp.Or(reason, "Pacemaker's scheduler moves it by a restart and gives no reason"), ""}
}

// several explains what Pacemaker does with a resource that it finds on more than one node.
func (w world) several(p cib.Place) cause {
	nodes := strings.Join(w.before.Places[p.ID].Nodes, ", ")
	return cause{"it is active on more than one node: " + nodes, "see that it runs once, then " + cleanup(p.ID, "")}
}

// underway finds an operation of the resource that has begun and not ended, other than a look at it.
func (w world) underway(resource string) cause {
	for _, op := range w.conf.Underway {
		if op.Resource == resource && op.Operation != "monitor" {
			return cause{"a " + op.Operation + " of it is under way on " + op.Node,
				"wait until that is done; type: crm_resource --wait"}
		}
	}
	return cause{}
}

// fenced says that this node itself is fenced first.
func (w world) fenced() cause {
	for _, run := range w.runs {
		if reason, ok := run.Fences[w.node]; ok {
			return cause{"Pacemaker fences this node first: " + cmp.Or(reason, "it is unclean"), showFailures}
		}
	}
	return cause{}
}

// cannotMigrate says why the configuration does not let a resource be moved live.
func cannotMigrate(r cib.Resource) cause {
	value, set := r.Meta["allow-migrate"]
	remedy := setMeta(r.ID, "allow-migrate", "true")
	switch {
	case cib.Bool(value, false), !set && slices.Contains(r.Ruled, "allow-migrate"): // a rule may allow it
		return cause{}
	case set:
		return cause{"allow-migrate is " + value + from(r, "allow-migrate"), remedy}
	}
	return cause{"allow-migrate is not set", remedy}
}

// about reads the scheduler's reasons that name another resource (pe__action2reason): "unmigrateable NAME TASK", which
// is "unrunnable NAME TASK" before Pacemaker 2.1.6, "required NAME TASK", and "colocation with NAME".
func about(reason string) (name, task string) {
	f := strings.Fields(reason)
	switch {
	case len(f) != 3:
		return "", ""
	case f[0] == "colocation" && f[1] == "with":
		return f[2], ""
	case slices.Contains([]string{"unmigrateable", "unrunnable", "required"}, f[0]):
		return f[1], f[2]
	}
	return "", ""
}

// follows explains a restart by a resource that must be started before and stopped after this one.
func (w world) follows(r cib.Resource, name, task, reason string) cause {
	other, known := w.conf.Resource(name)
	remedy := fmt.Sprintf("run %q on all nodes as a clone with interleave=true, or, if its agent can, move it live too",
		name)
	why := reason + w.link(r, name)
	if task == "demote" || task == "promote" {
		return cause{why, "move the promoted role at a time when the guest may stop"}
	}
	if c := cannotMigrate(other); known && c.why != "" {
		if slices.Contains(w.agents, other.Agent) {
			remedy = c.remedy
		}
		why += fmt.Sprintf(", and %q is moved by a restart (%s)", name, c.why)
	}
	return cause{why, remedy}
}

// link names what ties two resources: an order, or a group. It follows a reason; empty where none is found.
func (w world) link(r cib.Resource, name string) string {
	if slices.Contains(r.Group, name) {
		return fmt.Sprintf(": it comes after %q in group %q", name, r.Within[len(r.Within)-1])
	}
	mine, theirs := w.conf.Names(r), []string{name}
	if other, ok := w.conf.Resource(name); ok {
		theirs = w.conf.Names(other)
	}
	for _, o := range w.conf.Orders {
		if slices.Contains(mine, o.Then) && slices.Contains(theirs, o.First) {
			return fmt.Sprintf(": order %q starts it after %q", o.ID, o.First)
		}
	}
	return ""
}
