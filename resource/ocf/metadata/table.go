package metadata

import (
	"slices"
	"time"

	"github.com/vmferry/vmferry/migrate/ladder"
)

// virtualDomain are the parameters of ocf:heartbeat:VirtualDomain, with its names and meaning.
var virtualDomain = []Parameter{
	{Name: "config", Kind: Path, NoDefault: true, Restart: true, Unique: true, Short: "Guest's libvirt XML file"},
	{Name: "hypervisor", NoDefault: true, Restart: true, Short: "Hypervisor URI"},
	{Name: "force_stop", Kind: Boolean, Use: Guest, Default: "0", Short: "Always destroy on stop"},
	{Name: "migration_transport", Use: Move, Short: "Transport to the target's libvirt"},
	{Name: "migration_user", Use: Move, NoDefault: true, Short: "User on the target node"},
	{Name: "migration_downtime", Kind: Number, Unit: "milliseconds", Use: Move, Default: "0",
		Short: "Longest pause, in milliseconds"},
	{Name: "migration_speed", Kind: Number, Unit: "MiB/s", Use: Move, Default: "0", Short: "Bandwidth limit, in MiB/s"},
	{Name: "migration_network_suffix", Use: Move, Short: "Host name suffix of the migration network"},
	{Name: "migrateuri", Kind: URI, Use: Move, NoDefault: true, Short: "URI for the guest's memory"},
	{Name: "migrateport", Kind: Port, Use: Move, NoDefault: true, Short: "Port for the guest's memory"},
	{Name: "migrate_options", Use: Move, NoDefault: true, Short: "More options for live migration"},
	{Name: "remoteuri", Kind: URI, Use: Move, NoDefault: true, Short: "URI of the target's libvirt"},
	{Name: "monitor_scripts", Use: Guest, Short: "Programs that check the guest's services"},
	{Name: "autoset_utilization_cpu", Kind: Boolean, Use: Guest, NoDefault: true,
		Short: "Set the utilization attribute cpu"},
	{Name: "autoset_utilization_host_memory", Kind: Boolean, Use: Guest, NoDefault: true,
		Short: "Set the utilization attribute host_memory"},
	{Name: "autoset_utilization_hv_memory", Kind: Boolean, Use: Guest, NoDefault: true,
		Short: "Set the utilization attribute hv_memory"},
	{Name: "unset_utilization_cpu", Kind: Boolean, Use: Guest, Default: "false",
		Short: "Remove the utilization attribute cpu"},
	{Name: "unset_utilization_host_memory", Kind: Boolean, Use: Guest, Default: "false",
		Short: "Remove the utilization attribute host_memory"},
	{Name: "unset_utilization_hv_memory", Kind: Boolean, Use: Guest, Default: "false",
		Short: "Remove the utilization attribute hv_memory"},
	{Name: "save_config_on_stop", Kind: Boolean, Use: Guest, Default: "false",
		Short: "Save the guest's changed configuration"},
	{Name: "sync_config_on_stop", Kind: Boolean, Use: Guest, Default: "false",
		Short: "Copy the saved configuration to the other nodes"},
	{Name: "snapshot", Kind: Path, Use: Guest, Short: "Directory to save the guest to on stop"},
	{Name: "backingfile", Kind: Path, Use: Guest, Restart: true, Short: "Image that the guest's image is based on"},
	{Name: "stateless", Kind: Boolean, Use: Guest, Default: "false", Restart: true,
		Short: "Create the guest's image at each start"},
	{Name: "copyindirs", Kind: Paths, Use: Guest, Restart: true, Short: "Directories to copy into a new image"},
	{Name: "shutdown_mode", Use: Guest, Short: "How to shut the guest down"},
	{Name: "start_resources", Kind: Boolean, Use: Guest, Default: "false",
		Short: "Start the guest's networks and storage pools"},
}

// xen are what ocf:heartbeat:Xen has and VirtualDomain has not.
var xen = []Parameter{
	{Name: "xmfile", Kind: Path, NoDefault: true, Restart: true, Unique: true, Short: "Guest's xl configuration file"},
	{Name: "name", Restart: true, Short: "Guest's name"},
	{Name: "shutdown_timeout", Kind: Number, Unit: "seconds", Use: Guest, NoDefault: true,
		Short: "How long to wait for the guest's shutdown, in seconds"},
	{Name: "shutdown_acpi", Kind: Boolean, Use: Guest, Default: "0", Short: "Press the power button to shut down"},
	{Name: "allow_mem_management", Kind: Boolean, Use: Guest, Default: "0",
		Short: "Has no effect", Deprecated: "It has no effect: remove it."},
	{Name: "reserved_Dom0_memory", Kind: Number, Unit: "MiB", Use: Guest, Default: "512",
		Short: "Has no effect", Deprecated: "It has no effect: remove it."},
	{Name: "node_ip_attribute", Use: Move, Short: "Node attribute with the address to migrate to"},
}

// own are the parameters that no other agent has.
var own = []Parameter{
	{Name: "check_tcp", Kind: HostPorts, Use: Guest, Short: "Services that must accept a TCP connection"},
	{Name: "check_udp", Kind: HostPorts, Use: Guest, Short: "Services that must answer a UDP datagram"},
	{Name: "check_agent", Kind: Boolean, Use: Guest, Default: "false", Short: "The QEMU guest agent must answer"},
	{Name: "check_timeout", Kind: Number, Unit: "seconds", Use: Guest, Default: "5",
		Short: "Time for each check, in seconds"},
	{Name: "check_grace", Kind: Number, Unit: "seconds", Use: Guest, Default: "60",
		Short: "Time without checks after a start, in seconds"},
	{Name: "blackout_budget", Kind: Number, Unit: "milliseconds", Use: Move, Default: "100",
		Short: "Longest blackout that a move should make, in milliseconds"},
	{Name: "drain_priority", Kind: Integer, Use: Move, Default: "0", Short: "Order in which guests leave a node"},
	{Name: "ladder", Use: Move, Default: ladder.Default.Named(),
		Short: "What may be tried for a guest that will not move"},
	{Name: "save_dir", Kind: Path, Use: Guest, Short: "Directory to save a guest to that cannot be moved"},
	{Name: "watch", Use: Move, Short: "Probes for the blackout of a migration"},
	{Name: "announce", Use: Move, Default: "auto", Short: "Addresses to announce to the network"},
	{Name: "migration_tls", Kind: Boolean, Use: Move, Default: "0", Short: "Encrypt memory and copied disks"},
	{Name: "disks", Kind: Choice, Words: []string{"shared", "copy", "auto"}, Use: Move, Default: "shared",
		Short: "What to do with disks that are not shared"},
	{Name: "check_memory", Kind: Choice, Words: []string{"warn", "refuse", "no"}, Use: Move, Default: "warn",
		Short: "What a lack of memory means: warn, refuse or no"},
	{Name: "mirror", Use: Guest, Short: "Nodes between which the guest's local disks are mirrored"},
	{Name: "mirror_interval", Use: Guest, Default: "1m", Short: "How often the disks are mirrored"},
	{Name: "mirror_max_loss", Use: Guest, Short: "Longest time of writes that a failover may lose"},
	{Name: "mirror_freeze", Kind: Boolean, Use: Guest, Default: "no", Short: "Freeze the guest's file systems for each round"},
}

// Action is one action of the agent.
type Action struct {
	Name     string
	Timeout  time.Duration
	Interval time.Duration // of a recurring one, else 0
	Plain    bool          // does not look at a guest
}

// Actions are all that the agent has, with the timeouts and the intervals that it recommends.
var Actions = []Action{
	{Name: "start", Timeout: 90 * time.Second},
	{Name: "stop", Timeout: 90 * time.Second},
	{Name: "monitor", Timeout: 30 * time.Second, Interval: 10 * time.Second},
	{Name: "status", Timeout: 30 * time.Second, Interval: 10 * time.Second},
	{Name: "migrate_to", Timeout: 120 * time.Second},
	{Name: "migrate_from", Timeout: 60 * time.Second},
	{Name: "reload-agent", Timeout: 30 * time.Second},
	{Name: "validate-all", Timeout: 5 * time.Second},
	{Name: "meta-data", Timeout: 5 * time.Second, Plain: true},
}

// Timeout is an action's timeout where the caller names none; 0 for an action that the agent does not have.
func Timeout(action string) time.Duration {
	i := slices.IndexFunc(Actions, func(a Action) bool { return a.Name == action })
	if i < 0 {
		return 0
	}
	return Actions[i].Timeout
}
