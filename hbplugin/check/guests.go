package check

import (
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// guests: what becomes of each guest of this node when the node goes into standby, by the manager's and
// the target's word?
func guests(o *Observed, f *findings) {
	for _, p := range o.Predictions {
		c, v := p.Guest.Claim, p.Verdict
		if c == nil {
			continue // said by strays
		}
		if v.Remedy == "" && p.Guest.View != nil && p.Guest.View.Stuck != "" {
			v.Remedy = unstick(c, p.Guest.View.Stuck)
		}
		*f = append(*f, Finding{About: p.Guest.Name, Grade: gradeOf(v.Fate, c.IsPinned()),
			Found: verdict.Words(v), Remedy: v.Remedy, Verdict: &v})
	}
}

// gradeOf is how a verdict is graded: a guest that ends up nowhere, or of which nobody knows, is a problem, unless
// its operator has pinned it.
func gradeOf(f hbplugin.Fate, pinned bool) Grade {
	switch {
	case f.KeepsRunning():
		return OK
	case f == hbplugin.Restarts, f == hbplugin.Stays, f == hbplugin.Stops && pinned:
		return Warning
	}
	return Problem
}

// firmware: does what a guest's firmware keeps (vTPM, UEFI's variables) follow it when it is started elsewhere?
func firmware(o *Observed, f *findings) {
	for _, l := range o.Firmware {
		f.add(l.guest, Warning, fmt.Sprintf("its %s is on this node alone: %s; a live migration takes it along",
			l.Device, l.Lost), l.Advice)
	}
}

// unstick is how a manager is brought to move a guest that it keeps.
func unstick(c *inventory.Claim, why string) string {
	switch {
	case c.Manager != config.Pacemaker:
		return "start heartbeat on the other node"
	case why == "blocked":
		return "type: " + cib.Cleanup(c.Resource, "")
	}
	return "see that maintenance-mode is off, then type: " + cib.SetMeta(c.Resource, "is-managed", "true")
}

// autostart: does libvirt start a guest that is the cluster's? Then it may run on two nodes after a boot.
func autostart(o *Observed, f *findings) {
	for _, name := range o.Autostart.value {
		if o.ClaimOf(func(c inventory.Claim) bool { return c.Guest == name }) != nil {
			f.add(name, Problem, "libvirt starts this guest at boot, and so does the cluster: it may run twice",
				"type: virsh autostart --disable "+shellword.Operands(name))
		}
	}
	switch {
	case o.Autostart.err != nil:
		f.add("", Warning, "cannot tell which guests libvirt starts: "+o.Autostart.err.Error(), "run this as root")
	case len(*f) == 0:
		f.add("", OK, "libvirt starts no guest of the cluster's", "")
	}
}

// strays: is there a guest that no manager has? It is not moved when the
// node goes down.
func strays(o *Observed, f *findings) {
	for _, g := range o.Guests {
		switch {
		case o.Unsure == nil && g.Claim == nil && g.IsHere() && !g.Incoming:
			f.add(g.Name, Warning, "runs here, and no cluster manager has it: a drain leaves it behind",
				"make it a resource, or before the node goes down type: vmferry migrate "+shellword.Operands(g.Name,
					"NODE"))
		case g.IsActive() && g.Libvirt.State == libvirt.Paused:
			f.add(g.Name, Warning, fmt.Sprintf("is paused (%s)", g.Libvirt.Reason),
				"see why, then type: virsh resume "+shellword.Operands(g.Name))
		case g.IsActive() && g.Process == 0 && o.Hidden == nil && strings.HasPrefix(g.URI, "qemu"):
			f.add(g.Name, Problem, "libvirt says that it is active, and it has no process here",
				"restart libvirt's daemon, then type: virsh domstate --reason "+shellword.Operands(g.Name))
		case g.Noted && !g.IsHere() && len(o.Unanswered) == 0:
			f.add(g.Name, Warning, "was noted as running here, and is not",
				"type: crm_mon -1, or cl_status rscstatus; the next monitor action corrects it")
		}
	}
	if o.Hidden != nil {
		f.add("", Problem, "the processes of this node cannot all be seen: "+verdict.OneLine(o.Hidden),
			"run this as root")
	}
}
