package cluster

import (
	"context"
	"fmt"
	"strings"
)

// What the nodes of an unequal cluster have; see [Cluster.Furnish].
const (
	Configs      = "/srv/cluster"         // on every node: the file system that the cluster mounts
	ConfigsClone = "configs-clone"        // the resource that mounts it
	ConfigsStore = "configs"              // below /shared: what is mounted there
	OnlyISO      = "/srv/iso/install.iso" // on the first node
	OnlyBridge   = "br77"                 // on the first node
	OnlyNetwork  = "dmz"                  // libvirt's, on the first node; it is OnlyBridge
)

// mountConfigs is a part of a CIB. The mount is a clone, so that guests can be migrated between its instances.
const mountConfigs = `<configuration><resources>
 <clone id="` + ConfigsClone + `">
  <meta_attributes id="configs-meta"><nvpair id="configs-interleave" name="interleave" value="true"/></meta_attributes>
  <primitive id="configs" class="ocf" provider="heartbeat" type="Filesystem">
   <instance_attributes id="configs-params">
    <nvpair id="configs-device" name="device" value="/shared/` + ConfigsStore + `"/>
    <nvpair id="configs-directory" name="directory" value="` + Configs + `"/>
    <nvpair id="configs-fstype" name="fstype" value="none"/>
    <nvpair id="configs-options" name="options" value="bind"/>
   </instance_attributes>
   <operations>
    <op id="configs-start" name="start" interval="0s" timeout="60s"/>
    <op id="configs-stop" name="stop" interval="0s" timeout="60s"/>
    <op id="configs-monitor" name="monitor" interval="20s" timeout="40s"/>
   </operations>
  </primitive>
 </clone>
</resources></configuration>`

// onlyFiles are those that the first node alone has.
var onlyFiles = map[string]string{
	"/etc/systemd/network/30-" + OnlyBridge + ".netdev": "[NetDev]\nName=" + OnlyBridge + "\nKind=bridge\n",
	"/etc/systemd/network/30-" + OnlyBridge + ".network": "[Match]\nName=" + OnlyBridge +
		"\n[Network]\nConfigureWithoutCarrier=yes\nLinkLocalAddressing=no\n",
	"/etc/vmferry-lab/" + OnlyNetwork + ".xml": "<network><name>" + OnlyNetwork +
		"</name><forward mode='bridge'/><bridge name='" + OnlyBridge + "'/></network>\n",
}

// Furnish makes an unequal cluster of nodes that are alike: all of it outlasts a reboot. The guests' definitions are
// on a file system that the cluster mounts, and the first node alone has an ISO image, a bridge and a network. All
// nodes must be members of Pacemaker. What is there already is kept.
func (c *Cluster) Furnish(ctx context.Context) error {
	if err := c.Everywhere(ctx, "mkdir", "--parents", Configs, "/shared/"+ConfigsStore); err != nil {
		return err
	}
	first := c.Nodes[0]
	for path, text := range onlyFiles {
		if err := c.write(ctx, first, path, text); err != nil {
			return err
		}
	}
	for _, command := range [][]string{
		{"networkctl", "reload"},
		{"mkdir", "--parents", OnlyISO[:strings.LastIndexByte(OnlyISO, '/')]},
		{"truncate", "--size=1M", OnlyISO},
		{"virsh", "--connect", c.Hypervisor.URI, "net-define", "/etc/vmferry-lab/" + OnlyNetwork + ".xml"},
		{"virsh", "--connect", c.Hypervisor.URI, "net-autostart", OnlyNetwork},
		{"cibadmin", "--modify", "--allow-create", "--scope=configuration", "--xml-text=" + mountConfigs},
		{"crm_resource", "--wait", "--timeout=60"},
	} {
		if _, err := c.Run(ctx, first, command[0], command[1:]...); err != nil {
			return err
		}
	}
	if _, err := c.Run(ctx, first, "virsh", "--connect", c.Hypervisor.URI, "net-start", OnlyNetwork); err != nil &&
		!strings.Contains(err.Error(), "already active") {
		return err
	}
	return nil
}

// write writes a file on a node, and makes its folder.
func (c *Cluster) write(ctx context.Context, name, path, text string) error {
	cmd, err := c.Command(ctx, name, "install", "-D", "--mode=644", "/dev/stdin", path)
	if err != nil {
		return err
	}
	cmd.Stdin = strings.NewReader(text)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("write %s on node %q: %w", path, name, err)
	}
	return nil
}
