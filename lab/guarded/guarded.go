package guarded

import (
	"embed"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
	"github.com/vmferry/vmferry/lab/node"
)

// leaseFile is the lease device on the shared storage, and leasePath where a node has it: it comes over the network, as
// the guests' disks do, and can be cut off with them.
const (
	leaseFile = "guard.lease"
	leasePath = "/run/guard.lease"
)

// Gateways are the addresses of the ping list. They are the lab's, on its bridge.
var Gateways = []netip.Addr{netip.MustParseAddr("10.77.0.253"), netip.MustParseAddr("10.77.0.252")}

// Times are those of the lease device.
var Times = timing.Default

//go:embed files
var files embed.FS

const wants = "etc/systemd/system/multi-user.target.wants/"

// Outfit is what nodes with a guard have beyond others.
func Outfit() (node.Outfit, error) {
	own, err := fs.Sub(files, "files")
	if err != nil {
		return node.Outfit{}, err
	}
	ping := make([]string, len(Gateways))
	for i, a := range Gateways {
		ping[i] = fmt.Sprintf("%q", a)
	}
	manager := timing.Pacemaker(node.Containers.Token, 0, 0)
	timeout := Times.Bounds(manager, 0, true).FenceTimeout.Truncate(time.Second) + time.Second
	return node.Outfit{
		Pace: node.Containers, Files: own,
		Values: map[string]string{
			"Device": leasePath, "LeasePort": strconv.Itoa(leasePort), "Ping": strings.Join(ping, ", "), "FenceTimeout": timeout.String(),
		},
		Links: map[string]string{
			wants + "vmferry-guard.service": "/usr/lib/systemd/system/vmferry-guard.service",
			wants + "lab-lease.service":     "/etc/systemd/system/lab-lease.service",
		},
	}, nil
}

// LinkRule matches what the cluster managers (Heartbeat, Corosync) and the guard of a node send to those of another one,
// and what no guest's migration needs: arguments of iptables(8).
func LinkRule(source string) []string {
	return []string{"--source=" + source, "--protocol=udp", "--match=multiport", "--dports=694,5405,5411"}
}

// Lease is the path of the lease device, where shared is the folder that the nodes see as /shared.
func Lease(shared string) string { return filepath.Join(shared, leaseFile) }

// MakeLease makes the lease device of a cluster below shared, the folder that its nodes see as /shared.
func MakeLease(shared string, nodes []node.Spec) error {
	h := lease.Header{Cluster: "vmferry-lab", Times: Times}
	for _, n := range nodes {
		h.Nodes = append(h.Nodes, n.Name)
	}
	return device.Init(Lease(shared), h)
}
