package check

import (
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/hbplugin/ring"
	"github.com/vmferry/vmferry/hbplugin/verdict"
)

// clusterManagers: is there one cluster manager, and does it answer?
func clusterManagers(o *Observed, f *findings) {
	switch len(o.Managers) {
	case 0:
		f.add("", Problem, "no cluster manager runs here: nobody moves guests when this node goes down",
			"type: systemctl enable --now pacemaker, or heartbeat")
		return
	case 1:
	default:
		f.add("", Warning, "pacemaker and heartbeat both run",
			"stop one of them, or name one as manager in "+o.ConfigPath)
	}
	for _, m := range o.Managers {
		switch {
		case m.Err != nil:
			f.add(m.String(), Problem, "does not answer: "+verdict.OneLine(m.Err),
				"type: systemctl status "+o.unitOf(m))
		case m.Seen.Standby && m.Pacemaker() != nil:
			f.add(m.String(), Warning, "this node is in standby (requested by "+o.StandbyBy+"): it takes no guest",
				"type: vmferry undrain")
		default:
			f.add(m.String(), OK, fmt.Sprintf("runs, and has %s here", verdict.Count(len(m.Seen.Guests), "guest")), "")
		}
	}
	if o.Unsure != nil {
		f.add("", Problem, verdict.OneLine(o.Unsure), "run this as root")
	}
}

// fencing: can a node that crashed be proven dead? Without that its guests
// stay down, or run twice.
func fencing(o *Observed, f *findings) {
	for _, m := range o.Managers {
		switch {
		case m.Err != nil:
		case m.Pacemaker() != nil:
			pacemakerFencing(o.CIB, f)
		default:
			heartbeatFencing(o.HaCf, f)
		}
	}
}

func pacemakerFencing(conf *cib.Config, f *findings) {
	if conf == nil {
		return // said by clusterManagers
	}
	enabled := conf.Options["stonith-enabled"]
	if v, set := conf.Options["fencing-enabled"]; set { // its name from Pacemaker 3.0.2 on
		enabled = v
	}
	devices := len(conf.FenceDevices())
	const how = "configure a fence device, then type: crm_attribute --type crm_config --name stonith-enabled " +
		"--update true"
	switch on := cib.Bool(enabled, true); {
	case on && devices > 0:
		f.add(config.Pacemaker, OK, "on, with "+verdict.Count(devices, "device"), "")
	case on:
		f.add(config.Pacemaker, Problem, "on, and there is no fence device: Pacemaker starts nothing", how)
	default:
		f.add(config.Pacemaker, Warning, "off: after a crash a guest may run twice", how)
	}
}

func heartbeatFencing(conf answer[string], f *findings) {
	if conf.err != nil {
		f.add(config.Heartbeat, Warning, "cannot tell: "+conf.err.Error(), "run this as root")
		return
	}
	if heartbeat.Fences(conf.value) {
		f.add(config.Heartbeat, OK, "on", "")
		return
	}
	f.add(config.Heartbeat, Warning, "ha.cf has no stonith_host: after a crash a guest may run twice",
		"add a line stonith_host to "+haCf+" on both nodes")
}

// detection: how long does it take until a peer that crashed is noticed? All that time its guests are away.
func detection(o *Observed, f *findings) {
	if o.Cmap == nil {
		return // on a remote node there is no Corosync, and one that does not answer is said by clusterManagers
	}
	d, err := ring.ParseDetection(*o.Cmap)
	if err != nil {
		f.add("corosync", Warning, "cannot tell: "+verdict.OneLine(err), "type: corosync-cmapctl")
		return
	}
	found := fmt.Sprintf("a node that crashes is noticed after %s (token %s, consensus %s)", d.After(), d.Token,
		d.Consensus)
	if short, shorter := d.ShortConsensus(); shorter {
		found += fmt.Sprintf("; with two nodes a consensus below the token is safe (corosync.conf(5)) and would "+
			"make it %s, "+
			"which is also how long a node may stall without being fenced: "+
			"write consensus: %d into section totem of %s on both nodes, then type: corosync-cfgtool -R",
			d.Token+short, short.Milliseconds(), ring.CorosyncConf)
	}
	if o.CIB != nil {
		if waits := fenceWaits(*o.CIB); len(waits) > 0 {
			found += "; before it is fenced, Pacemaker waits as " + strings.Join(waits, ", ") + " says"
		}
	}
	f.add("corosync", OK, found, "")
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
	for _, r := range conf.FenceDevices() {
		note(" of "+r.ID, r.Params, "pcmk_delay_base", "pcmk_delay_max")
	}
	return waits
}

// peers: is there a node that can take the guests?
func peers(o *Observed, f *findings) {
	for i, m := range o.Managers {
		a := o.Peers[i]
		switch {
		case m.Err != nil:
			continue
		case a.err != nil:
			f.add("", Problem, "cannot tell which nodes there are: "+verdict.OneLine(a.err),
				"type: systemctl status "+m.String())
			continue
		}
		up := hbplugin.Up(a.value)
		for _, node := range up {
			f.add(node, OK, "is up", "")
		}
		if len(up) == 0 {
			f.add("", Problem, fmt.Sprintf("none of the %s is up: there is nowhere to go",
				verdict.Count(len(a.value), "other node")),
				"on another node, type: systemctl start "+m.String())
		}
	}
}
