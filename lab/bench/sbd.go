package bench

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/partition"
)

const (
	// sbdDelay is how long SBD waits for a message to be carried out, with its defaults: msgwait.
	sbdDelay = 10 * time.Second
	// sbdHandicap keeps the node that has to lose from shooting the other one first, as people configure it.
	sbdHandicap = 5 * time.Second
)

// sbdAbout says what the peer is.
var sbdAbout = fmt.Sprintf("the peer is Pacemaker with the lab's power switch, which answers %s after the call, as SBD does with its "+
	"defaults (msgwait): the nodes have no watchdog device, without which SBD does not start. All else is the same on both sides", sbdDelay)

func sbdDevice(target string) string { return "fence-" + target }
func sbdLevel(target string) string  { return "level-" + target }
func ourLevel(target string) string  { return "level-2-" + target }

// sbdDevices are a part of a CIB: a power switch for each node, which answers as late as SBD. loser gets no handicap.
// The guard's device stays for unfencing: as a second level, which the first one, as it succeeds, leaves without a call.
// pacemaker-fenced before 3.0.1 hangs where a device that unfences is in no level.
func sbdDevices(nodes []string, loser string) string {
	var devices, levels strings.Builder
	for _, n := range nodes {
		id := sbdDevice(n)
		attributes := map[string]string{"plug": n, "pcmk_host_list": n, "pcmk_reboot_action": "off",
			"msgwait": fmt.Sprint(int(sbdDelay.Seconds()))}
		if n != loser {
			attributes["pcmk_delay_base"] = fmt.Sprintf("%ds", int(sbdHandicap.Seconds()))
		}
		fmt.Fprintf(&devices, `<primitive id="%s" class="stonith" type="fence_lab"><instance_attributes id="%[1]s-attributes">`, id)
		for _, name := range []string{"plug", "pcmk_host_list", "pcmk_reboot_action", "msgwait", "pcmk_delay_base"} {
			if value := attributes[name]; value != "" {
				fmt.Fprintf(&devices, `<nvpair id="%s-%s" name="%[2]s" value="%s"/>`, id, name, value)
			}
		}
		devices.WriteString("</instance_attributes></primitive>")
		fmt.Fprintf(&levels, `<fencing-level id="%s" target="%s" index="1" devices="%s"/>`, sbdLevel(n), n, id)
		fmt.Fprintf(&levels, `<fencing-level id="%s" target="%s" index="2" devices="fence"/>`, ourLevel(n), n)
	}
	return "<configuration><resources>" + devices.String() + "</resources><fencing-topology>" + levels.String() +
		"</fencing-topology></configuration>"
}

// fenceBySBD makes the power switch that is as slow as SBD the cluster's fence device.
func (s *Stage) fenceBySBD(ctx context.Context) error {
	nodes := s.Cluster.Nodes
	if _, err := s.Cluster.Run(ctx, s.node(), "cibadmin", "--modify", "--allow-create", "--scope=configuration",
		"--xml-text="+sbdDevices(nodes, nodes[len(nodes)-1])); err != nil {
		return err
	}
	return s.awaitDevices(ctx, true)
}

// fenceByGuard makes the guard the only fence device again.
func (s *Stage) fenceByGuard(ctx context.Context) error {
	if err := partition.GuardAlone(ctx, s.Cluster); err != nil {
		return err
	}
	return s.awaitDevices(ctx, false)
}
