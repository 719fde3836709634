package param

import (
	"cmp"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/preflight"
	"github.com/vmferry/vmferry/resource/utilization"
)

// Params are the resource's parameters, named and meant as those of
// ocf:heartbeat:VirtualDomain and ocf:heartbeat:Xen, and a few of our own.
// Package metadata documents each.
type Params struct {
	Config       string        // config: path of the domain XML
	Hypervisor   string        // hypervisor: URI of this node's libvirt, never empty
	ForceStop    bool          // force_stop, or shutdown_timeout=0
	Transport    string        // migration_transport
	User         string        // migration_user
	Downtime     time.Duration // migration_downtime, the longest pause; 0 for no such bound
	Speed        uint64        // migration_speed in MiB/s; 0 leaves libvirt's default
	Suffix       string        // migration_network_suffix
	MigrateURI   string        // migrateuri, with %n in it
	MigratePort  uint16        // migrateport; 0 lets libvirt choose
	RemoteURI    string        // remoteuri, with %n in it
	Options      Options       // migrate_options
	TLS          bool          // migration_tls; see [Params.UsesTLS]
	ShutdownMode string        // shutdown_mode: empty, or a comma list of libvirt's words

	Scripts        []string      // monitor_scripts: programs, in their order
	Checks         Checks        // check_*
	Utilization    []Utilization // autoset_utilization_*, unset_utilization_*: those that ask for something
	SaveConfig     bool          // save_config_on_stop, or sync_config_on_stop
	SyncConfig     bool          // sync_config_on_stop
	Snapshot       string        // snapshot: a directory
	Overlay        Overlay       // backingfile, stateless, copyindirs
	StartResources bool          // start_resources

	Xen // what the Xen agent has and VirtualDomain has not

	BlackoutBudget time.Duration        // blackout_budget; 0 for convergence.DefaultBudget
	DrainPriority  int                  // drain_priority: higher goes first
	Ladder         ladder.Rungs         // ladder: what may be tried, always with shutdown and destroy at the end
	SaveDir        string               // save_dir: a directory that the nodes share
	Watch          []string             // watch: targets of package blackout
	Announce       string               // announce, as announce.ParseSetting takes it
	Disks          preflight.DiskMode   // disks, never empty
	Memory         preflight.MemoryMode // check_memory, never empty

	Mirror Mirror // mirror, mirror_*
}

// Xen are the Xen agent's own parameters.
type Xen struct {
	XMFile          string        // xmfile: path of the xl configuration, in place of Config
	Name            string        // name: the guest's, where the file does not say it
	ShutdownTimeout time.Duration // shutdown_timeout; 0 when it is not set
	NodeIPAttribute string        // node_ip_attribute
	MemManagement   bool          // allow_mem_management: accepted, and without effect
}

// Overlay says how a guest's copy-on-write image is made before a start.
type Overlay struct {
	Backing   string   // backingfile: an image's path; without one there is no overlay
	Stateless bool     // stateless: a new image at each start
	CopyIn    []string // copyindirs: directories and files to copy to / of a new image
}

// Options is what migrate_options says, word by word.
type Options struct {
	libvirt.MigrateOptions
	MigrateURI string        // --migrateuri, with %n in it
	Bandwidth  uint64        // --bandwidth in MiB/s, 0 when not given
	Unsafe     bool          // --unsafe
	Timeout    time.Duration // --timeout: then the guest may pause for as long as its last copy takes
}

func parseParams(vars map[string]string) (Params, []Problem) {
	r := reader{vars: vars}
	p := Params{
		Config:         r.get("config"),
		Hypervisor:     cmp.Or(r.get("hypervisor"), defaultHypervisor(vars)),
		ForceStop:      r.boolean("force_stop"),
		Transport:      r.get("migration_transport"),
		User:           r.get("migration_user"),
		Downtime:       r.milliseconds("migration_downtime"),
		Speed:          r.number("migration_speed"),
		Suffix:         r.get("migration_network_suffix"),
		MigrateURI:     r.get("migrateuri"),
		MigratePort:    r.port("migrateport"),
		RemoteURI:      r.get("remoteuri"),
		Options:        r.options("migrate_options"),
		TLS:            r.boolean("migration_tls"),
		ShutdownMode:   r.get("shutdown_mode"),
		Scripts:        strings.Fields(r.get("monitor_scripts")),
		Checks:         readChecks(&r),
		Utilization:    readUtilization(&r),
		SyncConfig:     r.boolean("sync_config_on_stop"),
		SaveConfig:     r.boolean("save_config_on_stop"),
		Snapshot:       r.get("snapshot"),
		StartResources: r.boolean("start_resources"),
		Overlay: Overlay{Backing: r.get("backingfile"), Stateless: r.boolean("stateless"),
			CopyIn: strings.Fields(r.get("copyindirs"))},
		BlackoutBudget: r.milliseconds("blackout_budget"),
		DrainPriority:  r.integer("drain_priority"),
		Ladder:         r.ladder("ladder"),
		SaveDir:        r.get("save_dir"),
		Watch:          r.list("watch"),
		Announce:       r.announce("announce"),
		Disks:          preflight.DiskMode(r.choice("disks")),
		Memory:         preflight.MemoryMode(r.choice("check_memory")),
	}
	p.SaveConfig = p.SaveConfig || p.SyncConfig
	readXen(&r, &p)
	readMirror(&r, &p)
	checker{&r, p}.all()
	return p, r.problems
}

// File is the path of the file that describes the guest.
func (p Params) File() string { return cmp.Or(p.Config, p.XMFile) }

// SavesTo is the directory that the guest is saved to and restored from, "" for none.
func (p Params) SavesTo() string { return cmp.Or(p.Snapshot, p.SaveDir) }

// Checks are questions to a guest's services that a monitor asks.
type Checks struct {
	TCP     []string      // check_tcp: HOST:PORT that must accept a connection
	UDP     []string      // check_udp: HOST:PORT that must answer a datagram
	Agent   bool          // check_agent: the QEMU guest agent must answer
	Timeout time.Duration // check_timeout: of each
	Grace   time.Duration // check_grace: how long a guest is not checked after its start or its arrival
}

// Any reports whether a check is set.
func (c Checks) Any() bool { return len(c.TCP) > 0 || len(c.UDP) > 0 || c.Agent }

func readChecks(r *reader) Checks {
	return Checks{
		TCP: r.hostPorts("check_tcp"), UDP: r.hostPorts("check_udp"), Agent: r.boolean("check_agent"),
		Timeout: r.secondsFrom("check_timeout", time.Second), Grace: r.secondsFrom("check_grace", 0),
	}
}

// Utilization is what a monitor does about one utilization attribute of the resource.
type Utilization = utilization.Attribute

// readUtilization reads autoset_… and unset_… for each attribute. Unset, VirtualDomain sets all of
// them, and the Xen agent none. As there, autoset_… goes before, but only one that somebody has set.
func readUtilization(r *reader) []Utilization {
	auto := r.get("xmfile") == ""
	var all []Utilization
	for _, name := range []string{"cpu", "host_memory", "hv_memory"} {
		remove := r.boolean("unset_utilization_" + name)
		set := r.boolean("autoset_utilization_"+name) || r.get("autoset_utilization_"+name) == "" && auto && !remove
		if set || remove {
			all = append(all, Utilization{Name: name, Remove: !set})
		}
	}
	return all
}

// defaultXMFile is the Xen agent's, for a guest of Xen's of which no file is named.
const defaultXMFile = "/etc/xen/vm/MyDomU"

// readXen reads what only the Xen agent has, into p, which holds all the rest.
func readXen(r *reader, p *Params) {
	p.XMFile, p.Name = r.get("xmfile"), r.get("name")
	p.NodeIPAttribute = r.get("node_ip_attribute")
	p.MemManagement = r.boolean("allow_mem_management")
	_ = r.number("reserved_Dom0_memory") // it bounds what allow_mem_management would do
	if acpi := r.boolean("shutdown_acpi"); acpi && p.ShutdownMode == "" {
		p.ShutdownMode = "acpi"
	}
	p.ShutdownTimeout = r.seconds("shutdown_timeout")
	p.ForceStop = p.ForceStop || r.get("shutdown_timeout") == "0"
	if p.File() == "" && r.get("hypervisor") != "" && p.IsXen() {
		p.XMFile = defaultXMFile
	}
}

// ShutdownTime is how long a stop waits for the guest, at most limit. shutdown_timeout says it;
// the Xen agent takes two thirds of the timeout without one.
func (p Params) ShutdownTime(limit, timeout time.Duration) time.Duration {
	switch {
	case p.ShutdownTimeout > 0:
		return min(limit, p.ShutdownTimeout)
	case p.XMFile != "":
		return min(limit, timeout*2/3)
	}
	return limit
}
