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
	if c := cmp.Or(w.fenced(), w.held(r)); c.why != "" {
		return c
	}
	a := w.action(p.ID)
	if a.Reason != "" && a.Reason != "node availability" {
		return w.dependent(r, a.Reason)
	}
	return w.nowhere(r, a.Resource)
}

// held says what keeps a resource from running anywhere, whichever nodes there are.
func (w world) held(r cib.Resource) cause {
	role := strings.ToLower(r.Meta["target-role"])
	names := w.conf.Names(r)
	switch {
	case w.option("stop-all-resources"):
		return cause{"the cluster stops everything: stop-all-resources is true",
			"type: crm_attribute --name stop-all-resources --update false"}
	case role == "stopped":
		return cause{"target-role is Stopped" + from(r, "target-role"),
			setMeta(origin(r, "target-role"), "target-role", "Started")}
	case slices.ContainsFunc(w.runs[0].Actions, func(a cib.Action) bool { return a.Reason == "no quorum" }):
		return cause{"this part of the cluster has no quorum", "start Pacemaker on the nodes that are down"}
	}
	for _, t := range w.conf.Tickets {
		if slices.Contains(names, t.Resource) {
			return cause{fmt.Sprintf("it depends on ticket %q (%s)", t.Ticket, t.ID),
				"type: " + command("crm_ticket", "--info", "--ticket", t.Ticket)}
		}
	}
	return cause{}
}

// dependent explains a stop by a resource that the scheduler names.
func (w world) dependent(r cib.Resource, reason string) cause {
	name, _ := about(reason)
	why := reason + w.link(r, name)
	other, known := w.conf.Resource(name)
	if !known {
		return cause{why, showFailures}
	}
	c := cmp.Or(w.held(other), w.nowhere(other, w.action(other.ID).Resource))
	return cause{fmt.Sprintf("%s, and for %q: %s", why, name, c.why), c.remedy}
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
		c := cmp.Or(w.unusable(n), candidate{w, r, instance, n.Name}.ruledOut())
		whys = append(whys, n.Name+": "+c.why)
		remedy = cmp.Or(remedy, c.remedy)
	}
	if len(whys) == 0 {
		return cause{"the cluster has no other node", ""}
	}
	return cause{strings.Join(whys, "; "), remedy}
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
				"repair it, then type: " + command("crm_attribute", "--node", n.Name, "--name", name, "--update",
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

// runsAfter reports whether a resource, or any that is in the group or clone of that name, is on the node at the end.
func (w world) runsAfter(name, node string) bool {
	return slices.ContainsFunc(w.after.Resources, func(p cib.Place) bool {
		named := p.ID == name || cib.Primitive(p.ID) == name || slices.Contains(p.Within, name)
		return named && slices.Contains(p.Nodes, node)
	})
}
