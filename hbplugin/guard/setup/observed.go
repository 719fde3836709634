package setup

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/settings"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
	"github.com/vmferry/vmferry/hbplugin/heartbeat"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/hbplugin/ring"
)

// Observed is what Check looks at.
type Observed struct {
	Node       string
	Settings   settings.Settings
	Header     *lease.Header // of the lease device; nil where it cannot be read
	Watchdog   time.Duration // the longest that a slot declares; 0: there is none
	OnThisNode bool          // the lease device is a file that this node alone has
	NeverRan   []string      // nodes of Header whose guards have never run since it was written
	Unusable   []Finding     // why some of this is missing
	Process    Process

	Manager     timing.Manager // Detect is 0 where it does not answer
	ManagerName string         // empty: none runs here
	Pacemaker   *Pacemaker     // nil: it does not run here
	Quorum      *ring.Quorum   // nil: Corosync does not run here
	Heartbeat   *Heartbeat     // nil: it does not run here
	Cached      []CachedDisk   // of the manager's guests
	Backends    []Backend      // of the same
}

// Process is vmferry-guard on this node.
type Process struct {
	Active, Enabled bool
	State           string // in systemd's word, such as "failed"
	Silent          error  // why it does not answer
	Phase           string
	NotWell         string // by its own word; empty: it is well
	Feeds           bool   // it feeds a hardware watchdog
	control.Prepared
}

// Pacemaker is how Pacemaker is configured.
type Pacemaker struct {
	Off     bool          // stonith-enabled is false
	Devices []FenceDevice // of fence_vmferry
	Guests  []string      // guests that another agent runs
	Hasty   []string      // guests that start before a lost node is fenced
	Others  []string      // other resources
	Without []string      // whose fencing topology names none of Devices; nil where there is none
}

// FenceDevice is a fence device of fence_vmferry.
type FenceDevice struct {
	ID        string
	Unfencing bool
	Timeout   time.Duration // what Pacemaker grants one fence call
	By        string        // the parameter of the device that says so; empty: stonith-timeout
}

// Heartbeat is how Heartbeat is configured.
type Heartbeat struct {
	Plugin bool     // ha.cf has a stonith_host of external/vmferry
	Others []string // resources that are no guests
}

const (
	agent         = "stonith:fence_vmferry"
	fenceTimeout  = 60 * time.Second // Pacemaker's stonith-timeout where none is set
	stonithPlugin = "external/vmferry"
)

// FromCIB reads Pacemaker's configuration. agents are the resource agents whose resources are guests.
func FromCIB(conf cib.Config, agents []string) *Pacemaker {
	p := &Pacemaker{Off: !cib.Bool(option(conf, "enabled"), true)}
	for _, r := range conf.Resources {
		requires := r.Meta["requires"]
		switch {
		case r.Agent == agent:
			p.Devices = append(p.Devices, fenceDevice(conf, r))
		case strings.HasPrefix(r.Agent, "stonith:"):
		case r.Agent == hbplugin.OwnAgent:
			if requires == "nothing" || requires == "quorum" {
				p.Hasty = append(p.Hasty, r.ID)
			}
		case slices.Contains(agents, r.Agent):
			p.Guests = append(p.Guests, r.ID)
		default:
			p.Others = append(p.Others, r.ID)
		}
	}
	p.Without = without(conf.Levels, p.Devices)
	return p
}

// without are the targets of a fencing topology that names no fence device of the guard, where there is one.
func without(levels []cib.Level, devices []FenceDevice) (targets []string) {
	if len(devices) == 0 {
		return nil
	}
	named := map[string]bool{}
	for _, l := range levels {
		named[l.Target] = named[l.Target] || slices.ContainsFunc(devices, func(d FenceDevice) bool {
			return slices.Contains(l.Devices, d.ID)
		})
	}
	for _, target := range slices.Sorted(maps.Keys(named)) {
		if !named[target] {
			targets = append(targets, target)
		}
	}
	return targets
}

// option is a cluster option of fencing, which has two names from Pacemaker 3.0.2 on.
func option(conf cib.Config, name string) string {
	if v, set := conf.Options["fencing-"+name]; set {
		return v
	}
	return conf.Options["stonith-"+name]
}

func fenceDevice(conf cib.Config, r cib.Resource) FenceDevice {
	d := FenceDevice{ID: r.ID, Unfencing: slices.Contains(strings.Fields(r.Meta["provides"]), "unfencing"),
		Timeout: fenceTimeout}
	if t, ok := cib.Span(option(conf, "timeout")); ok {
		d.Timeout = t
	}
	by := "pcmk_reboot_timeout"
	if action := option(conf, "action"); action == "off" || action == "poweroff" {
		by = "pcmk_off_timeout"
	}
	if t, ok := cib.Span(r.Params[by]); ok {
		d.Timeout, d.By = t, by
	}
	return d
}

// fromHaCf reads the texts of ha.cf and haresources.
func fromHaCf(haCf, haresources string) *Heartbeat {
	h := &Heartbeat{Others: heartbeat.Others(haresources)}
	for line := range strings.Lines(haCf) {
		words := strings.Fields(line)
		h.Plugin = h.Plugin || len(words) > 2 && words[0] == "stonith_host" && slices.Contains(words, stonithPlugin)
	}
	return h
}
