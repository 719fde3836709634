package setup

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/hbplugin/ring"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// Finding is one thing that check has found.
type Finding struct {
	About   string `json:"about"`   // "device", "times", "pacemaker", …
	Problem bool   `json:"problem"` // false: a warning
	What    string `json:"what"`
	Type    string `json:"type,omitempty"` // what to type, or to do
}

// findings are those of one subject.
type findings struct {
	about string
	all   []Finding
}

func (f *findings) problem(what, remedy string) { f.add(true, what, remedy) }
func (f *findings) warn(what, remedy string)    { f.add(false, what, remedy) }

func (f *findings) add(problem bool, what, remedy string) {
	f.all = append(f.all, Finding{About: f.about, Problem: problem, What: what, Type: remedy})
}

// rules are in the order of the answer.
var rules = []struct {
	about string
	judge func(o Observed, f *findings)
}{
	{"device", onThisNode},
	{"times", times},
	{"hang", hang},
	{"split", split},
	{"vmferry-guard", process},
	{"vmferry-guard", others},
	{"manager", manager},
	{"pacemaker", pacemaker},
	{"corosync", quorum},
	{"heartbeat", heartbeatOf},
	{"disks", cache},
	{"disks", backends},
}

// Check is what stands in the way of the guard's promises.
func Check(o Observed) []Finding {
	all := slices.Clone(o.Unusable)
	for _, r := range rules {
		f := findings{about: r.about}
		r.judge(o, &f)
		all = append(all, f.all...)
	}
	return all
}

// revocable reports whether this node revokes the access of others.
func (o Observed) revocable() bool { return len(o.Settings.Revoke) > 0 }

// seconds is a time in whole seconds, as the cluster managers take it.
func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int((d+time.Second-1)/time.Second)) }

// times: do the times hold, by themselves and with what Pacemaker grants?
func times(o Observed, f *findings) {
	if o.Header == nil {
		return
	}
	t := o.Header.Times
	if err := t.Check(); err != nil {
		f.problem(err.Error(), "make the lease device again with times that hold, see vmferry(8)")
	}
	if o.Pacemaker == nil {
		return
	}
	for _, d := range o.Pacemaker.Devices {
		m := o.Manager
		m.Timeout = d.Timeout
		err := t.CheckManager(m, o.Watchdog, o.revocable())
		if err == nil {
			continue
		}
		least := seconds(t.Bounds(m, o.Watchdog, o.revocable()).FenceTimeout)
		remedy := shellword.Line("crm_attribute", "--name", "stonith-timeout", "--update", least)
		if d.By != "" {
			remedy = shellword.Line("crm_resource", "--resource", d.ID, "--set-parameter", d.By, "--parameter-value",
				least)
		}
		f.problem(fmt.Sprintf("%v (%s)", err, Explain(t, m, o.Watchdog, o.revocable())[fenceBound].How),
			"type: "+remedy)
	}
}

// hang: is a node that hangs proven gone?
func hang(o Observed, f *findings) {
	if o.Header == nil {
		return
	}
	if o.Settings.Watchdog != "" && o.Process.Phase != "" && !o.Process.Feeds {
		f.problem(fmt.Sprintf("guard.toml names the watchdog %s, and the guard does not feed it", o.Settings.Watchdog),
			"type: systemctl restart vmferry-guard; journalctl --unit vmferry-guard")
	}
	switch {
	case o.revocable() || o.Watchdog > 0:
	case o.Settings.TrustExpiry:
		f.warn("a node that hangs and wakes up may write to the disks of guests that were started elsewhere: trust_expiry "+
			"accepts that", "")
	default:
		f.problem("a node that crashes or hangs is never proven gone, and its guests stay down: there is neither revoke nor "+
			"watchdog", "set revoke or watchdog in guard.toml, see guard.toml(5)")
	}
}

// split: who goes on, and does a short failure of the storage kill guests?
func split(o Observed, f *findings) {
	if o.Header == nil {
		return
	}
	if len(o.Settings.Ping) == 0 {
		f.warn("the ping list is empty: in a split the number of guests decides, then the lower number",
			"name gateways and switches as ping in guard.toml")
	}
	if len(o.Settings.Link) == 0 {
		f.warn(fmt.Sprintf("no link is set: storage that fails for %s kills all guests, on every node",
			o.Header.Times.SelfKill),
			"name the nodes' addresses as link in guard.toml")
	}
}

// process: does the guard run, and will it kill in time?
func process(o Observed, f *findings) {
	p := o.Process
	switch {
	case o.Settings.Device == "": // no guard runs without a configuration
		return
	case !p.Active:
		f.problem(fmt.Sprintf("vmferry-guard does not run on this node (%s)", p.State),
			"type: systemctl enable --now vmferry-guard; if it fails: journalctl --unit vmferry-guard")
		return
	case !p.Enabled:
		f.problem("vmferry-guard runs, and does not after the next boot", "type: systemctl enable vmferry-guard")
	}
	switch {
	case p.Silent != nil:
		f.problem("vmferry-guard does not answer: "+p.Silent.Error(), "type: systemctl status vmferry-guard")
		return
	case p.NotWell != "" && p.Phase == "out":
		f.problem(p.NotWell, "type: fence_vmferry --action on; Pacemaker does that itself when it starts")
	case p.NotWell != "":
		f.problem(p.NotWell, "type: vmferry guard status")
	}
	if !p.RealTime {
		f.warn("the guard has no real-time priority: a busy node may lose its lease",
			"type: journalctl -u vmferry-guard; a container or kernel.sched_rt_runtime_us may refuse it")
	}
	if !p.Destroys {
		f.warn("the guard cannot destroy sockets: a node whose guests have disks over the network never surrenders",
			"use a kernel with CONFIG_INET_DIAG_DESTROY, as distributions have it, and the unit of vmferry-guard as it is")
	}
	if !p.Locked {
		f.warn("the guard's memory is not locked: it may wait for swap when it has to kill",
			"set LimitMEMLOCK=infinity for vmferry-guard: systemctl edit vmferry-guard")
	}
}

// others: does every other node have a guard? This node's own is judged by what it says.
func others(o Observed, f *findings) {
	for _, n := range o.NeverRan {
		if n != o.Node {
			f.problem(fmt.Sprintf("vmferry-guard has never run on node %s: nobody kills the guests there when it has to give them up", n),
				fmt.Sprintf("on %s type: systemctl enable --now vmferry-guard", n))
		}
	}
}

// manager: is there one to guard for?
func manager(o Observed, f *findings) {
	if o.ManagerName == "" {
		f.problem("no cluster manager runs here: it cannot be checked, and nobody starts guests",
			"type: systemctl start pacemaker, or heartbeat")
	}
}

// pacemaker: does Pacemaker ask the guard, and does it run anything that the guard cannot kill?
func pacemaker(o Observed, f *findings) {
	p := o.Pacemaker
	if p == nil {
		return
	}
	if p.Off {
		f.problem("stonith-enabled is false: after a split or a crash guests run twice, whatever the guard does",
			"type: crm_attribute --name stonith-enabled --update true")
	}
	if len(p.Devices) == 0 {
		f.problem("no fence device is of fence_vmferry: Pacemaker does not ask the guard",
			"type: "+shellword.Line("cibadmin",
				"--create", "--scope", "resources", "--xml-text",
				`<primitive id="guard" class="stonith" type="fence_vmferry">`+
					`<meta_attributes id="guard-meta"><nvpair id="guard-provides" name="provides" value="unfencing"/>`+
					`</meta_attributes></primitive>`))
	}
	for _, d := range p.Devices {
		if !d.Unfencing {
			f.problem(fmt.Sprintf("fence device %s has no provides=unfencing: a node that surrendered never takes its lease again",
				d.ID), "type: "+cib.SetMeta(d.ID, "provides", "unfencing"))
		}
	}
	for _, target := range p.Without {
		id := p.Devices[0].ID
		f.problem(fmt.Sprintf("the fencing topology for %s does not name %s: Pacemaker does not ask the guard to fence it, and "+
			"before 3.0.1 its pacemaker-fenced may hang when %s unfences a node", target, id, id),
			fmt.Sprintf("add %s as a level, such as the second, for %s: pcs stonith level add 2 NODE %[1]s", id, target))
	}
	for _, r := range p.Hasty {
		f.problem(fmt.Sprintf("guest %s is started before a lost node is fenced, as its meta attribute requires says: it may run "+
			"twice", r), "type: "+cib.SetMeta(r, "requires", "fencing"))
	}
	for _, r := range p.Guests {
		f.problem(fmt.Sprintf("guest %s is of another resource agent: the guard does not know it and cannot kill it, so it may "+
			"run twice", r), "configure it with ocf:vmferry:Domain, see ocf_vmferry_Domain(7)")
	}
	unguarded(f, p.Others, "Pacemaker")
}

// unguarded names the resources that the guard cannot kill.
func unguarded(f *findings, resources []string, manager string) {
	if len(resources) > 0 {
		f.warn(fmt.Sprintf("the guard cannot kill what is no guest: a surrender ends it by the stop of %s alone: %s",
			manager,
			strings.Join(resources, ", ")), "")
	}
}

// quorum: may the node that is left go on, and does one that was cut off wait?
func quorum(o Observed, f *findings) {
	q := o.Quorum
	if q == nil {
		return
	}
	write := func(line string) string {
		return fmt.Sprintf("write %s into section quorum of %s on every node, then on one after the other type: vmferry drain && "+
			"systemctl restart corosync pacemaker", line, ring.CorosyncConf)
	}
	if h := o.Header; h != nil && !sameNames(h.Nodes, q.Nodes) {
		f.problem(fmt.Sprintf("the lease device names %s, and Corosync %s", strings.Join(h.Nodes, ", "),
			strings.Join(q.Nodes, ", ")), "make the lease device again with Corosync's names: vmferry guard init")
	}
	switch n := len(q.Nodes); {
	case n == 1:
		f.problem("Corosync has one node only: there is nobody to take the guests",
			"add the other node to "+ring.CorosyncConf)
	case n == 2 && !q.TwoNode:
		f.problem("two_node is not set: a node that is alone has no quorum and starts nothing", write("two_node: 1"))
	case n > 2 && q.TwoNode:
		f.problem(fmt.Sprintf("two_node is set with %d nodes: each of them alone has quorum", n), write("two_node: 0"))
	case n == 2 && !q.WaitForAll:
		f.problem("wait_for_all is off: a node that surrendered and starts again while it is cut off fences the other",
			write("wait_for_all: 1"))
	}
}

// sameNames reports whether both name the same nodes, in any order.
func sameNames(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// heartbeatOf: does Heartbeat ask the guard?
func heartbeatOf(o Observed, f *findings) {
	h := o.Heartbeat
	if h == nil {
		return
	}
	if !h.Plugin {
		f.problem("ha.cf has no stonith_host of "+stonithPlugin+": Heartbeat does not ask the guard",
			"write the line stonith_host * "+stonithPlugin+" into /etc/ha.d/ha.cf on every node, see vmferry-guard(8)")
	}
	unguarded(f, h.Others, "Heartbeat")
}
