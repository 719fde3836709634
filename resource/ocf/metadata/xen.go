package metadata

// xen are what ocf:heartbeat:Xen has and VirtualDomain has not.
var xen = []Parameter{
	{
		Name: "xmfile", Kind: Path, Use: Always, NoDefault: true, Restart: true, Unique: true,
		Short: "Guest's xl configuration file",
		Long: `Absolute path of the guest's xl (or xm) configuration, in place of config. libvirt's Xen driver converts
it. The file is never changed. With hypervisor set to Xen's libvirt and no config it is /etc/xen/vm/MyDomU where it is
not set.`,
	},
	{
		Name: "name", Kind: Text, Use: Always, Restart: true,
		Short: "Guest's name",
		Long: `Name of the guest. It is read from the file of xmfile when it is not set; set it where that computes the
name. The file of config says it itself, and this only stands in for it while that cannot be read.`,
	},
	{
		Name: "shutdown_timeout", Kind: Number, Unit: "seconds", Use: Guest, NoDefault: true,
		Short: "How long to wait for the guest's shutdown, in seconds",
		Long: `How long stop waits for the guest's own shutdown before it is destroyed, in seconds. The default is two
thirds of the timeout with xmfile, and otherwise as much as destroying leaves of it, which is the most in any case. 0
destroys the guest at once.`,
	},
	{
		Name: "shutdown_acpi", Kind: Boolean, Use: Guest, Default: "0",
		Short: "Press the power button to shut down",
		Long:  `Ask the guest to shut down by its power button, as shutdown_mode=acpi does.`,
	},
	{
		Name: "allow_mem_management", Kind: Boolean, Use: Guest, Default: "0",
		Deprecated: "It has no effect: remove it.",
		Short:      "Has no effect",
		Long: `Accepted for the sake of ocf:heartbeat:Xen, and without effect. There, each start and stop gives all
guests of the node the same memory, also those that the cluster does not know, and writes it into the file of xmfile:
a guest may lose memory that it needs. Give dom0 a fixed amount instead (dom0_mem=1G,max:1G on Xen's command line),
and leave room for the guests that may come. Deprecated: remove it.`,
	},
	{
		Name: "reserved_Dom0_memory", Kind: Number, Unit: "MiB", Use: Guest, Default: "512",
		Deprecated: "It has no effect: remove it.",
		Short:      "Has no effect",
		Long:       `Accepted for the sake of ocf:heartbeat:Xen, and without effect, as allow_mem_management is.`,
	},
	{
		Name: "node_ip_attribute", Kind: Text, Use: Move,
		Short: "Node attribute with the address to migrate to",
		Long: `Name of a node attribute that holds the address of the node for migrations, both for the connection to
libvirt and for the memory, and for the question to its libvirt before a start. It goes before
migration_network_suffix, and %n stands for it. Where a node has no such attribute, its name is used.`,
	},
}
