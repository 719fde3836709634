package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/hbplugin/ring"
	"github.com/vmferry/vmferry/hbplugin/shutdown"
)

// checkManager: is there one cluster manager, and does it answer?
func checkManager(ctx context.Context, k *checker) {
	switch len(k.inv.managers) {
	case 0:
		k.add("manager", "", problem, "no cluster manager runs here: nobody moves guests when this node goes down",
			"type: systemctl enable --now pacemaker, or heartbeat")
		return
	case 1:
	default:
		k.add("manager", "", warning, "pacemaker and heartbeat both run", "stop one of them, or name one as manager in "+k.configPath)
	}
	for _, m := range k.inv.managers {
		switch {
		case m.err != nil:
			k.add("manager", m.String(), problem, "does not answer: "+oneLine(m.err), "type: systemctl status "+k.unitOf(ctx, m))
		case m.view.Standby && m.pacemaker():
			k.add("manager", m.String(), warning, "this node is in standby (asked for by "+k.whose()+"): it takes no guest", "type: vmferry undrain")
		default:
			k.add("manager", m.String(), ok, fmt.Sprintf("runs, and has %s here", plural(len(m.view.Guests), "guest")), "")
		}
	}
	if k.inv.unsure != nil {
		k.add("manager", "", problem, oneLine(k.inv.unsure), "run this as root")
	}
}

// checkFencing: can a node that crashed be proven dead? Without that its guests
// stay down, or run twice.
func checkFencing(ctx context.Context, k *checker) {
	for _, m := range k.inv.managers {
		switch {
		case m.err != nil:
		case m.pacemaker():
			k.pacemakerFencing(ctx)
		default:
			k.heartbeatFencing()
		}
	}
}

func (k *checker) pacemakerFencing(ctx context.Context) {
	conf, err := k.configuration(ctx)
	if err != nil {
		return // said by checkManager
	}
	enabled := conf.Options["stonith-enabled"]
	if v, set := conf.Options["fencing-enabled"]; set { // its name from Pacemaker 3.0.2 on
		enabled = v
	}
	devices := 0
	for _, r := range conf.Resources {
		if strings.HasPrefix(r.Agent, "stonith:") {
			devices++
		}
	}
	const how = "configure a fence device, then type: crm_attribute --type crm_config --name stonith-enabled --update true"
	switch on := cib.Bool(enabled, true); {
	case on && devices > 0:
		k.add("fencing", config.Pacemaker, ok, "on, with "+plural(devices, "device"), "")
	case on:
		k.add("fencing", config.Pacemaker, problem, "on, and there is no fence device: Pacemaker starts nothing", how)
	default:
		k.add("fencing", config.Pacemaker, warning, "off: after a crash a guest may run twice", how)
	}
}

// checkDetection: how long does it take until a peer that crashed is noticed? All that time its guests are away.
func checkDetection(ctx context.Context, k *checker) {
	if !slices.ContainsFunc(k.inv.managers, func(m managed) bool { return m.pacemaker() && m.err == nil }) {
		return
	}
	out, err := k.query(ctx, "corosync-cmapctl")
	if err != nil {
		return // on a remote node there is no Corosync, and one that does not answer is said by checkManager
	}
	d, err := ring.ParseDetection(string(out))
	if err != nil {
		k.add("detection", "corosync", warning, "cannot tell: "+oneLine(err), "type: corosync-cmapctl")
		return
	}
	found := fmt.Sprintf("a node that crashes is noticed after %s (token %s, consensus %s)", d.After(), d.Token, d.Consensus)
	if short, shorter := d.ShortConsensus(); shorter {
		found += fmt.Sprintf("; with two nodes a consensus below the token is safe (corosync.conf(5)) and would make it %s, "+
			"which is also how long a node may stall without being fenced: "+
			"write consensus: %d into section totem of %s on both nodes, then type: corosync-cfgtool -R",
			d.Token+short, short.Milliseconds(), ring.CorosyncConf)
	}
	if conf, err := k.configuration(ctx); err == nil {
		if waits := fenceWaits(conf); len(waits) > 0 {
			found += "; before it is fenced, Pacemaker waits as " + strings.Join(waits, ", ") + " says"
		}
	}
	k.add("detection", "corosync", ok, found, "")
}

// fenceWaits are the settings by which fencing a node that crashed takes longer than the device does: the cluster
// options of pacemaker-schedulerd(7), and the parameters of pacemaker-fenced(7) that every device has.
func fenceWaits(conf cib.Config) []string {
	var waits []string
	note := func(of string, values map[string]string, names ...string) {
		for _, name := range names {
			if value := values[name]; strings.Trim(value, "0") != "" && value != "0s" && value != "0ms" {
				waits = append(waits, name+"="+value+of)
			}
		}
	}
	note("", conf.Options, "stonith-watchdog-timeout", "priority-fencing-delay")
	for _, r := range conf.Resources {
		if strings.HasPrefix(r.Agent, "stonith:") {
			note(" of "+r.ID, r.Params, "pcmk_delay_base", "pcmk_delay_max")
		}
	}
	return waits
}

const haCf = "/etc/ha.d/ha.cf"

func (k *checker) heartbeatFencing() {
	text, err := os.ReadFile(k.path(haCf))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.add("fencing", config.Heartbeat, warning, "cannot tell: "+err.Error(), "run this as root")
		return
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && (f[0] == "stonith" || f[0] == "stonith_host") {
			k.add("fencing", config.Heartbeat, ok, "on", "")
			return
		}
	}
	k.add("fencing", config.Heartbeat, warning, "ha.cf has no stonith_host: after a crash a guest may run twice", "add a line stonith_host to "+haCf+" on both nodes")
}

const daemonUnit = "vmferryd.service"

// checkDaemon: does vmferryd run, and will it after a boot?
func checkDaemon(ctx context.Context, k *checker) {
	u, err := k.units.Unit(ctx, daemonUnit)
	switch {
	case err != nil:
		k.add("vmferryd", "", problem, "cannot tell: "+oneLine(err), "type: systemctl status vmferryd")
	case !u.Loaded:
		k.add("vmferryd", "", problem, "is not installed: a shutdown waits for no guest", "install vmferry, then type: systemctl enable --now vmferryd")
	case !u.Active:
		found := "does not run: a shutdown waits for no guest (" + u.State + ")"
		if u.Status != "" {
			found += ": " + u.Status
		}
		k.add("vmferryd", "", problem, found, "type: systemctl enable --now vmferryd; if it fails: vmferryd --check-config")
	case !u.Enabled:
		k.add("vmferryd", "", problem, "runs, and does not after the next boot", "type: systemctl enable vmferryd")
	default:
		k.checkHidden(u)
	}
}

// checkHidden: does vmferryd, which has no CAP_SYS_PTRACE, see the processes of this node?
func (k *checker) checkHidden(daemon unit) {
	text, err := os.ReadFile(k.path("/proc/self/mountinfo"))
	options, hides := hidesProcesses(string(text))
	if err != nil || !hides || daemon.Bounding&(1<<unix.CAP_SYS_PTRACE) != 0 {
		k.add("vmferryd", "", ok, daemon.Status, "")
		return
	}
	k.add("vmferryd", "", problem, "sees no processes of others, as /proc is mounted with "+options+": it cannot tell whether a cluster manager or a guest runs",
		`type: mkdir -p /etc/systemd/system/vmferryd.service.d; printf '[Service]\nCapabilityBoundingSet=CAP_SYS_PTRACE\n' >/etc/systemd/system/vmferryd.service.d/hidepid.conf; `+
			"systemctl daemon-reload; systemctl restart vmferryd")
}

// hidesProcesses tells whether /proc hides processes of others from a root without capabilities, by
// /proc/PID/mountinfo (proc_pid_mountinfo(5)): hidepid does, but for members of the group gid, which is root's unless set, and
// hidepid=ptraceable for them, too (has_pid_permissions of the kernel's fs/proc/base.c).
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

// checkWindow: will logind wait as long as a drain may take?
func checkWindow(ctx context.Context, k *checker) {
	limit, err := k.delayMax(ctx)
	if err != nil {
		k.add("window", "logind", problem, "cannot tell: "+oneLine(err), "type: systemctl status systemd-logind dbus")
		return
	}
	window := shutdown.Window(k.config.Window, limit)
	if advice := shutdown.Advice(k.config.Window, limit); advice != "" {
		found, remedy, _ := strings.Cut(advice, ": ")
		k.add("window", "logind", problem, found, remedy)
		return
	}
	k.add("window", "logind", ok, fmt.Sprintf("a shutdown waits up to %s for the guests", window), "")
}

// outlives are the units that guests need until they have left. A unit that is
// not installed orders nothing, and is listed all the same.
var outlives = []string{
	"libvirtd.service", "libvirtd.socket", "virtqemud.service", "virtqemud.socket",
	"virt-guest-shutdown.target", "systemd-machined.service", "network-online.target", "remote-fs.target",
}

// checkOrder: does the cluster manager stop before what its guests need, and
// vmferryd before the cluster manager? The drop-ins see to that.
func checkOrder(ctx context.Context, k *checker) {
	var stops []string
	for _, m := range k.inv.managers {
		unit := k.unitOf(ctx, m)
		stops = append(stops, unit)
		k.ordered(ctx, unit, outlives, "install vmferry's drop-in "+unit+".d/10-vmferry.conf, then type: systemctl daemon-reload")
	}
	k.ordered(ctx, daemonUnit, slices.Concat(stops, outlives), "install vmferry's unit file again, then type: systemctl daemon-reload")
}

// remoteUnit is what runs Pacemaker on a node that is no member of the cluster (pacemaker_remote).
const remoteUnit = "pacemaker_remote.service"

// unitOf is the unit that runs the manager on this node.
func (k *checker) unitOf(ctx context.Context, m managed) string {
	unit := m.String() + ".service"
	if !m.pacemaker() {
		return unit
	}
	member, err := k.units.Unit(ctx, unit)
	if err != nil || member.Active {
		return unit
	}
	if remote, err := k.units.Unit(ctx, remoteUnit); err == nil && remote.Active {
		return remoteUnit
	}
	return unit
}

func (k *checker) ordered(ctx context.Context, name string, after []string, remedy string) {
	u, err := k.units.Unit(ctx, name)
	if err != nil {
		k.add("order", name, problem, "cannot tell: "+oneLine(err), "type: systemctl show -p After "+name)
		return
	}
	if !u.Loaded {
		return // said elsewhere, or not systemd's
	}
	missing := slices.DeleteFunc(slices.Clone(after), func(a string) bool { return slices.Contains(u.After, a) })
	switch {
	case u.Stale:
		k.add("order", name, warning, "its files have changed since systemd read them", "type: systemctl daemon-reload")
	case len(missing) > 0:
		k.add("order", name, problem, "may be stopped after "+strings.Join(missing, ", ")+", which its guests need", remedy)
	default:
		k.add("order", name, ok, "stops before all that guests need", "")
	}
}
