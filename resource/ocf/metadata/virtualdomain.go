package metadata

// virtualDomain are the parameters of ocf:heartbeat:VirtualDomain, with its names and meaning.
var virtualDomain = []Parameter{
	{
		Name: "config", Kind: Path, Use: Always, NoDefault: true, Restart: true, Unique: true,
		Short: "Guest's libvirt XML file",
		Long: `Absolute path of the guest's libvirt XML file. The file must be the same on every node, and writable by
root alone: it decides which programs libvirt runs as root. The guest has the name and the UUID that libvirt reads
from it, byte for byte. A guest with an emulated TPM needs a UUID there. Either this or xmfile is required.`,
	},
	{
		Name: "hypervisor", Kind: Text, Use: Always, NoDefault: true, Restart: true,
		Short: "Hypervisor URI",
		Long: `URI of this node's libvirt, such as qemu:///system. The default is that of virsh: the variables
VIRSH_DEFAULT_CONNECT_URI and LIBVIRT_DEFAULT_URI, uri_default in /etc/libvirt/libvirt.conf, and then qemu:///system.
With xmfile it is xen:///system.`,
	},
	{
		Name: "force_stop", Kind: Boolean, Use: Guest, Default: "0",
		Short: "Always destroy on stop",
		Long: `Destroy the guest on stop without asking it to shut down. By default it is destroyed only when it has
not shut down in time. It cannot be used with snapshot.`,
	},
	{
		Name: "migration_transport", Kind: Text, Use: Move,
		Short: "Transport to the target's libvirt",
		Long: `Transport between the libvirts of the nodes for a migration: ssh, tcp, tls, libssh or libssh2. When
unset, libvirt uses its default. All but tcp encrypt libvirt's own connection, and nothing else: the guest's memory,
and disks that are copied, use connections of their own, which are unencrypted unless migration_tls is set. ext, which
runs a program, is refused.`,
	},
	{
		Name: "migration_user", Kind: Text, Use: Move, NoDefault: true,
		Short: "User on the target node",
		Long: `User name to connect to the target's libvirt with. It is put into the URI before the node name, and into
migrateuri where that has %n. It has no effect with remoteuri.`,
	},
	{
		Name: "migration_downtime", Kind: Number, Unit: "milliseconds", Use: Move, Default: "0",
		Short: "Longest pause, in milliseconds",
		Long: `Longest pause of the guest that a live migration may make, in milliseconds, as QEMU predicts it. It
holds near the deadline and after --timeout too: a guest that writes so fast that its last copy takes longer is not
moved live. Shorter pauses are tried first. 0 sets no such bound: blackout_budget and the deadline decide alone.`,
	},
	{
		Name: "migration_speed", Kind: Number, Unit: "MiB/s", Use: Move, Default: "0",
		Short: "Bandwidth limit, in MiB/s",
		Long: `Limit of the bandwidth of a live migration, in MiB/s. 0 leaves the default. A guest that was switched to
post-copy gets what is missing without the limit.`,
	},
	{
		Name: "migration_network_suffix", Kind: Text, Use: Move,
		Short: "Host name suffix of the migration network",
		Long: `Migrate over a separate network: the suffix is appended to the target's node name, before the first dot
where it has one, both for the connection to libvirt and for the memory: with -mig, node2.example is reached as
node2-mig.example. The resulting host name must resolve on every node.`,
	},
	{
		Name: "migrateuri", Kind: URI, Use: Move, NoDefault: true,
		Short: "URI for the guest's memory",
		Long: `URI that the guest's memory is sent to, such as tcp://%n. %n stands for the target's name as it is used
to connect to its libvirt, and for the plain node name with remoteuri. When set, migration_network_suffix and
migrateport make no such URI, and --migrateuri in migrate_options has no effect.`,
	},
	{
		Name: "migrateport", Kind: Port, Use: Move, NoDefault: true,
		Short: "Port for the guest's memory",
		Long: `Port of the URI that the guest's memory is sent to, where migrateuri does not give one. When unset,
libvirt chooses a free port of the target; VirtualDomain draws one, which may be taken, and uses it with
migration_network_suffix only.`,
	},
	{
		Name: "migrate_options", Kind: Text, Use: Move, NoDefault: true,
		Short: "More options for live migration",
		Long: `Options of virsh migrate, separated by spaces, such as --bandwidth 500 --parallel. Known are
--bandwidth, --compressed, --comp-methods, --comp-xbzrle-cache, --copy-storage-all, --copy-storage-inc,
--copy-storage-synchronous-writes, --migrate-disks, --disks-port, --disks-uri, --auto-converge-initial,
--auto-converge-increment, --parallel, --parallel-connections, --zerocopy, --tls, --tls-destination, --tunnelled,
--listen-address, --graphicsuri, --persistent, --undefinesource, --unsafe, --postcopy (which only allows the switch),
--timeout and --migrateuri. --live, --p2p, --auto-converge, --abort-on-error, --change-protection, --timeout-suspend
and --verbose are accepted and change nothing. Any other word is an error. After --timeout seconds the guest may be
paused for as long as the last copy takes.`,
	},
	{
		Name: "remoteuri", Kind: URI, Use: Move, NoDefault: true,
		Short: "URI of the target's libvirt",
		Long: `URI of the target's libvirt, such as qemu+tcp://%n/system, in place of the one that is made from
hypervisor, migration_transport, migration_user and migration_network_suffix. %n stands for the target's node name.`,
	},
	{
		Name: "monitor_scripts", Kind: Text, Use: Guest,
		Short: "Programs that check the guest's services",
		Long: `Programs to run at each monitor of a guest that runs, separated by spaces: full paths, or names of
programs in PATH; for example /usr/local/bin/check-web. They get no arguments, and the agent's environment. They run
one after the other, in the time that is left of the monitor; the first that does not exit with 0 makes the monitor
fail, with its last line of output as the reason. start and migrate_from wait until all of them succeed, so make their
timeouts long enough. They are not run by a probe, nor for a guest that somebody has paused.`,
	},
	{
		Name: "autoset_utilization_cpu", Kind: Boolean, Use: Guest, NoDefault: true,
		Short: "Set the utilization attribute cpu",
		Long: `Put the guest's number of virtual processors into the utilization attribute cpu of the resource, at a
monitor, when the value has changed and the guest has been here for half a minute. A value that does not fit on the
guest's node, by what Pacemaker reckons with there, is not set, as Pacemaker would stop the guest; a warning says so.
This needs Pacemaker, and waits for it for five seconds at most. The default is true with config, and false with
xmfile or unset_utilization_cpu.`,
	},
	{
		Name: "autoset_utilization_host_memory", Kind: Boolean, Use: Guest, NoDefault: true,
		Short: "Set the utilization attribute host_memory",
		Long: `Put the guest's largest memory in MiB into the utilization attribute host_memory of the resource, as
autoset_utilization_cpu does for the processors. The default is true with config, and false with xmfile or
unset_utilization_host_memory.`,
	},
	{
		Name: "autoset_utilization_hv_memory", Kind: Boolean, Use: Guest, NoDefault: true,
		Short: "Set the utilization attribute hv_memory",
		Long: `Put the guest's largest memory in MiB (with xmfile, the memory that it has) into the utilization
attribute hv_memory of the resource, as autoset_utilization_cpu does for the processors. The default is true with
config, and false with xmfile or unset_utilization_hv_memory.`,
	},
	{
		Name: "unset_utilization_cpu", Kind: Boolean, Use: Guest, Default: "false",
		Short: "Remove the utilization attribute cpu",
		Long: `Remove the utilization attribute cpu of the resource: at the next monitor of a guest that runs, at its
stop, and at a probe of one that does not (crm_resource --refresh). It has no effect where autoset_utilization_cpu is
set to true.`,
	},
	{
		Name: "unset_utilization_host_memory", Kind: Boolean, Use: Guest, Default: "false",
		Short: "Remove the utilization attribute host_memory",
		Long: `Remove the utilization attribute host_memory of the resource, as unset_utilization_cpu does for cpu. It
has no effect where autoset_utilization_host_memory is set to true.`,
	},
	{
		Name: "unset_utilization_hv_memory", Kind: Boolean, Use: Guest, Default: "false",
		Short: "Remove the utilization attribute hv_memory",
		Long: `Remove the utilization attribute hv_memory of the resource, as unset_utilization_cpu does for cpu. It
has no effect where autoset_utilization_hv_memory is set to true.`,
	},
	{
		Name: "save_config_on_stop", Kind: Boolean, Use: Guest, Default: "false",
		Short: "Save the guest's changed configuration",
		Long: `Save the running guest's configuration to the file of config, in which changes made meanwhile would be
lost: at a stop, before and after a migration, and at each monitor. A file that was written by hand is kept beside it
as FILE.orig first. The file is replaced in one step, with its owner and mode; one that may hold a secret, such as the
password of a VNC display, is root's alone (0600). One that was edited after the guest was started is left alone. Not
for xmfile.`,
	},
	{
		Name: "sync_config_on_stop", Kind: Boolean, Use: Guest, Default: "false",
		Short: "Copy the saved configuration to the other nodes",
		Long: `After save_config_on_stop, which it turns on, has changed the file, copy it to the other nodes with
csync2 -x FILE, for ten seconds at most. A failure is logged, and fails nothing. csync2 must be set up.`,
	},
	{
		Name: "snapshot", Kind: Path, Use: Guest,
		Short: "Directory to save the guest to on stop",
		Long: `Directory in which stop saves the guest's memory and state, as GUEST.state, in place of shutting it
down. A start restores the guest from it, once. A guest that is not saved in two thirds of the time for its shutdown
is shut down. A file that is incomplete, older than the last write to one of the guest's disks, of another guest, or
from which an interrupted start may have run the guest, is renamed GUEST.state.stale, and the guest is booted. The
directory and all above it must belong to root or to QEMU's user (on Xen: to root), and must not be writable by others
or by a group other than root's, unless they have the sticky bit; use mode 0700. Otherwise nothing is saved, and a
start that finds the guest's saved state there fails. The guest is restored as the file of config describes it, or as
the saved file does where libvirt refuses that and only root can have written it. Not with force_stop.`,
	},
	{
		Name: "backingfile", Kind: Path, Use: Guest, Restart: true,
		Short: "Image that the guest's image is based on",
		Long: `Absolute path of a disk image. Before a start, a copy-on-write image (qcow2) based on it is created
where there is none; the image is never written to. The new one is named like the file of config, with .qcow2 in place
of all from the first dot on, and config must name it as a disk. Nothing is defined in libvirt.`,
	},
	{
		Name: "stateless", Kind: Boolean, Use: Guest, Default: "false", Restart: true,
		Short: "Create the guest's image at each start",
		Long: `Create the image of backingfile again at each start, so that the guest forgets all it wrote. It needs
backingfile. An image that is there and is based on no other is never overwritten: the start fails.`,
	},
	{
		Name: "copyindirs", Kind: Paths, Use: Guest, Restart: true,
		Short: "Directories to copy into a new image",
		Long: `Directories and files, by absolute paths with spaces between, such as /srv/seed/etc /srv/seed/home, that
virt-copy-in copies to / of an image that backingfile has just created, before the guest boots.`,
	},
	{
		Name: "shutdown_mode", Kind: Text, Use: Guest,
		Short: "How to shut the guest down",
		Long: `How stop asks the guest to shut down: acpi presses the power button, agent asks the QEMU guest agent;
initctl, signal and paravirt are for other drivers. Several are separated by commas, such as acpi,agent. Unset,
libvirt chooses.`,
	},
	{
		Name: "start_resources", Kind: Boolean, Use: Guest, Default: "false",
		Short: "Start the guest's networks and storage pools",
		Long: `Before a start, start the networks and storage pools of libvirt that the guest's XML names, where they
are not active; before a migration, those of the target.`,
	},
}
