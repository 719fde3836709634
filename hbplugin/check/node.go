package check

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/hbplugin/shutdown"
	"github.com/vmferry/vmferry/hbplugin/verdict"
)

// daemon: does vmferryd run, and will it after a boot?
func daemon(o *Observed, f *findings) {
	a := o.Units[daemonUnit]
	switch u := a.value; {
	case a.err != nil:
		f.add("", Problem, "cannot tell: "+verdict.OneLine(a.err), "type: systemctl status vmferryd")
	case !u.Loaded:
		f.add("", Problem, "is not installed: a shutdown waits for no guest",
			"install vmferry, then type: systemctl enable --now vmferryd")
	case !u.Active:
		found := "does not run: a shutdown waits for no guest (" + u.State + ")"
		if u.Status != "" {
			found += ": " + u.Status
		}
		f.add("", Problem, found, "type: systemctl enable --now vmferryd; if it fails: vmferryd --check-config")
	case !u.Enabled:
		f.add("", Problem, "runs, and does not after the next boot", "type: systemctl enable vmferryd")
	default:
		hidden(u, o.Mountinfo, f)
	}
}

// hidden: does vmferryd, which has no CAP_SYS_PTRACE, see the processes of this node?
func hidden(daemon logind.Unit, mountinfo answer[string], f *findings) {
	options, hides := hidesProcesses(mountinfo.value)
	if mountinfo.err != nil || !hides || daemon.Bounding&(1<<unix.CAP_SYS_PTRACE) != 0 {
		f.add("", OK, daemon.Status, "")
		return
	}
	f.add("", Problem, "sees no processes of others, as /proc is mounted with "+options+
		": it cannot tell whether a cluster manager or a guest runs",
		`type: mkdir -p /etc/systemd/system/vmferryd.service.d; printf '[Service]\nCapabilityBoundingSet=CAP_SYS_PTRACE\n' >/etc/systemd/system/vmferryd.service.d/hidepid.conf; `+
			"systemctl daemon-reload; systemctl restart vmferryd")
}

// hidesProcesses reports whether /proc hides processes of others from a root without capabilities, by
// /proc/PID/mountinfo (proc_pid_mountinfo(5)): hidepid does, but for members of the group gid, which is root's unless
// set, and hidepid=ptraceable for them, too (has_pid_permissions of the kernel's fs/proc/base.c).
func hidesProcesses(mountinfo string) (options string, hides bool) {
	for line := range strings.Lines(mountinfo) {
		mount, super, _ := strings.Cut(line, " - ")
		at, what := strings.Fields(mount), strings.Fields(super)
		if len(at) < 5 || at[4] != "/proc" || len(what) < 3 || what[0] != "proc" {
			continue
		}
		hides, options = false, what[2]
		isHiding, isRoots := false, true
		for option := range strings.SplitSeq(what[2], ",") {
			key, value, _ := strings.Cut(option, "=")
			isHiding = isHiding || key == "hidepid" && value != "0" && value != "off"
			isRoots = isRoots && (key != "gid" || value == "0")
			hides = hides || key == "hidepid" && (value == "4" || value == "ptraceable")
		}
		hides = hides || isHiding && !isRoots
	}
	return options, hides
}

// window: will logind wait as long as a drain may take?
func window(o *Observed, f *findings) {
	limit, err := o.DelayMax.value, o.DelayMax.err
	if err != nil {
		f.add("logind", Problem, "cannot tell: "+verdict.OneLine(err), "type: systemctl status systemd-logind dbus")
		return
	}
	if advice := shutdown.Advice(o.Window, limit); advice != "" {
		found, remedy, _ := strings.Cut(advice, ": ")
		f.add("logind", Problem, found, remedy)
		return
	}
	f.add("logind", OK, fmt.Sprintf("a shutdown waits up to %s for the guests", shutdown.Window(o.Window, limit)), "")
}

// outlives are the units that guests need until they have left. A unit that is
// not installed orders nothing, and is listed all the same.
var outlives = []string{
	"libvirtd.service", "libvirtd.socket", "virtqemud.service", "virtqemud.socket",
	"virt-guest-shutdown.target", "systemd-machined.service", "network-online.target", "remote-fs.target",
}

// order: does the cluster manager stop before what its guests need, and
// vmferryd before the cluster manager? The drop-ins see to that.
func order(o *Observed, f *findings) {
	var stops []string
	for _, m := range o.Managers {
		unit := o.unitOf(m)
		stops = append(stops, unit)
		o.ordered(f, unit, outlives,
			"install vmferry's drop-in "+unit+".d/10-vmferry.conf, then type: systemctl daemon-reload")
	}
	o.ordered(f, daemonUnit, slices.Concat(stops, outlives),
		"install vmferry's unit file again, then type: systemctl daemon-reload")
}

func (o *Observed) ordered(f *findings, name string, after []string, remedy string) {
	a := o.Units[name]
	missing := slices.DeleteFunc(slices.Clone(after), func(u string) bool { return slices.Contains(a.value.After, u) })
	switch {
	case a.err != nil:
		f.add(name, Problem, "cannot tell: "+verdict.OneLine(a.err), "type: systemctl show -p After "+name)
	case !a.value.Loaded: // said elsewhere, or not systemd's
	case a.value.Stale:
		f.add(name, Warning, "its files have changed since systemd read them", "type: systemctl daemon-reload")
	case len(missing) > 0:
		f.add(name, Problem, "may be stopped after "+strings.Join(missing, ", ")+", which its guests need", remedy)
	default:
		f.add(name, OK, "stops before all that guests need", "")
	}
}

// unitOf is the unit that runs the manager on this node.
func (o *Observed) unitOf(m inventory.Manager) string {
	unit := m.String() + ".service"
	member, remote := o.Units[unit], o.Units[remoteUnit]
	if m.Pacemaker() == nil || member.err != nil || member.value.Active || remote.err != nil || !remote.value.Active {
		return unit
	}
	return remoteUnit
}
