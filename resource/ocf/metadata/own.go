package metadata

// own are the parameters that no other agent has.
var own = []Parameter{
	{
		Name: "check_tcp", Kind: HostPorts, Use: Guest,
		Short: "Services that must accept a TCP connection",
		Long: `HOST:PORT of services of the guest, with commas between, such as 192.0.2.7:80,[2001:db8::7]:443. A
monitor fails when one of them does not accept a TCP connection.`,
	},
	{
		Name: "check_udp", Kind: HostPorts, Use: Guest,
		Short: "Services that must answer a UDP datagram",
		Long: `HOST:PORT of services of the guest, with commas between, such as 192.0.2.7:53. A monitor sends each a
datagram, once a second, and fails when there is no answer, whatever it contains.`,
	},
	{
		Name: "check_agent", Kind: Boolean, Use: Guest, Default: "false",
		Short: "The QEMU guest agent must answer",
		Long: `A monitor fails when the QEMU guest agent does not answer. While libvirt itself gives no answer, this is
not checked.`,
	},
	{
		Name: "check_timeout", Kind: Number, Unit: "seconds", Use: Guest, Default: "5",
		Short: "Time for each check, in seconds",
		Long: `How long check_tcp, check_udp and check_agent wait for each answer, in seconds, as far as the monitor's
timeout allows.`,
	},
	{
		Name: "check_grace", Kind: Number, Unit: "seconds", Use: Guest, Default: "60",
		Short: "Time without checks after a start, in seconds",
		Long: `For how long after a start, or an arrival by migration, check_tcp, check_udp and check_agent are not
made, in seconds: a guest needs time to boot.`,
	},
	{
		Name: "blackout_budget", Kind: Number, Unit: "milliseconds", Use: Move, Default: "100",
		Short: "Longest blackout that a move should make, in milliseconds",
		Long: `Longest time in milliseconds for which clients of the guest should be without an answer during a live
migration; 0 is the default. The guest is paused for longer only where it would otherwise miss the action's timeout,
and would be stopped and started. Where nobody sets it, half a second is allowed too to a guest that does not get
below that, and 2 seconds to one that would otherwise be slowed down. The record of a migration says whether the
budget was kept, as far as watch measured it.`,
	},
	{
		Name: "drain_priority", Kind: Integer, Use: Move, Default: "0",
		Short: "Order in which guests leave a node",
		Long:  `When a node is emptied, guests with a higher number leave it first. Negative numbers are allowed.`,
	},
	{
		Name: "ladder", Kind: Text, Use: Move, Default: "live,converge",
		Short: "What may be tried for a guest that will not move",
		Long: `What may be tried to get the guest off its node, with commas between and in this order; for example
live,converge,postcopy. live moves it while it runs. converge also slows it down when it writes faster than the
network carries. postcopy lets a guest that does not converge run at the target before all of its memory is there: it
is lost if one of the two nodes dies before the rest has arrived. save, which needs save_dir, is for a guest that
could not be moved: the stop that follows saves its memory, and the start on the other node restores it. A stop that
was requested on its own does not save. shutdown and destroy are always tried last, also where they are not named. A
guest whose ladder does not name live is never migrated; give it allow-migrate=false.`,
	},
	{
		Name: "save_dir", Kind: Path, Use: Guest,
		Short: "Directory to save a guest to that cannot be moved",
		Long: `Directory on storage that all nodes share, in which a guest is saved as GUEST.state where ladder names
save: in a stop that follows a migration that failed, and in a stop that empties the node (standby, or a shutdown of
Pacemaker there). A start on any node restores the guest from it, and fails where the directory does not exist: its
storage may not be mounted. Saving gets two thirds of the time for the guest's shutdown; a guest that is not saved by
then, or for which there is no room, is shut down. For the owner and the mode that the directory needs, and for which
file is restored, see snapshot, which saves at each stop: the two cannot be used together.`,
	},
	{
		Name: "watch", Kind: Text, Use: Move,
		Short: "Probes for the blackout of a migration",
		Long: `Targets in the guest that are probed from this node during a migration, as udp://HOST:PORT and
tcp://HOST:PORT with commas between, such as udp://192.0.2.7:7,tcp://192.0.2.7:7. The guest must run the echo service
of blackout(1) there. The record of the migration gets the longest time without an answer of each. A probe that cannot
be made never fails a migration.`,
	},
	{
		Name: "announce", Kind: Text, Use: Move, Default: "auto",
		Short: "Addresses to announce to the network",
		Long: `How the network is told that the guest runs on this node, after a migration or a start. auto, the
default, sends RARP, gratuitous ARP and neighbour advertisements for each network card, with the addresses in its XML,
in the DHCP leases of libvirt's networks and in the node's neighbour table for the card's own link. agent adds those
that the QEMU guest agent reports: only for guests that you trust. IP addresses separated by commas, for the first
card or as MAC=ADDRESS, are announced instead, such as 192.0.2.7,52:54:00:12:34:56=2001:db8::7. off sends nothing.
Addresses of nodes, those that a libvirt filter forbids, and those that the node sees at another MAC are never
announced; that of a gateway only if announce or the XML names it. A card on Open vSwitch or a passed-through one is
not announced. Unless off, the node that a QEMU guest leaves also forwards TCP that comes in for it during its pause.`,
	},
	{
		Name: "migration_tls", Kind: Boolean, Use: Move, Default: "0",
		Short: "Encrypt memory and copied disks",
		Long: `Encrypt the guest's memory, and disks that are copied, with QEMU's own TLS. Every node needs
certificates, in /etc/pki/qemu unless qemu.conf says otherwise. If they are missing or not valid, the guest is never
sent unencrypted: at a drain it is stopped and started on the other node instead. It is independent of
migration_transport, and the same as --tls in migrate_options. By default memory and disks travel unencrypted, as with
virsh and VirtualDomain. For guests of QEMU only.`,
	},
	{
		Name: "disks", Kind: Choice, Words: []string{"shared", "copy", "auto"}, Use: Move, Default: "shared",
		Short: "What to do with disks that are not shared",
		Long: `What a migration does with disks that are not on storage which both nodes share. shared copies nothing.
copy copies every disk that the guest can write to, before its memory, while it runs; none of them may exist at the
target. auto copies those that the target does not see. A disk that is copied is an image file of the format raw or
qcow2 without a backing file, on a local file system, and on the target a storage pool of libvirt's covers its
directory. What the guest leaves behind is renamed FILE.vmferry-old, so that nothing starts from it, and a start on a
node that does not have the current copy fails and says where that is. Make the timeout of migrate_to long enough.`,
	},
	{
		Name: "check_memory", Kind: Choice, Words: []string{"warn", "refuse", "no"}, Use: Move, Default: "warn",
		Short: "What a lack of memory means: warn, refuse or no",
		Long: `What follows where a node has less free memory than the guest needs, before it is migrated or started
there. warn logs it and goes on, as the kernel may find more: caches (ZFS), pages that KSM merges and swap are not
counted. refuse does not migrate or start the guest there. no does not check. Xen gives a guest all of its memory at
once, so there a node that has too little is refused in any case.`,
	},
}
