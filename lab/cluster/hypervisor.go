package cluster

import (
	"fmt"
	"time"
)

// Hypervisor is what runs the guests of a lab, as far as its cluster knows
// differently because of it. The zero value is not usable.
type Hypervisor struct {
	Name  string // as reports have it, and the lab's supervisor
	URI   string // libvirt's
	Peer  Agent  // what people run where they do not run ours
	Limit Limits
}

// Limits are the time limits of a guest's operations. They are the same for
// all agents.
type Limits struct {
	Start, Stop, Monitor, MigrateTo, MigrateFrom time.Duration
	MonitorEvery                                 time.Duration
}

// QEMU is QEMU with libvirt.
var QEMU = Hypervisor{
	Name: "qemu", URI: "qemu:///system", Peer: VirtualDomain,
	Limit: Limits{
		Start: 90 * time.Second, Stop: 90 * time.Second, Monitor: 30 * time.Second,
		MigrateTo: 120 * time.Second, MigrateFrom: 60 * time.Second, MonitorEvery: 10 * time.Second,
	},
}

// Xen is Xen with libvirt's libxl driver, and with xl for the peer. In this lab
// dom0 is emulated as well: its operations take several times as long, and each
// look at a guest costs the guests some of their processor.
var Xen = Hypervisor{
	Name: "xen", URI: "xen:///system", Peer: HeartbeatXen,
	Limit: Limits{
		Start: 120 * time.Second, Stop: 120 * time.Second, Monitor: 60 * time.Second,
		MigrateTo: 240 * time.Second, MigrateFrom: 90 * time.Second, MonitorEvery: 20 * time.Second,
	},
}

// HypervisorNamed finds a hypervisor by its name.
func HypervisorNamed(name string) (Hypervisor, error) {
	for _, h := range []Hypervisor{QEMU, Xen} {
		if h.Name == name {
			return h, nil
		}
	}
	return Hypervisor{}, fmt.Errorf("unknown hypervisor %q: use %s or %s", name, QEMU.Name, Xen.Name)
}

// Parameter is one setting of a resource.
type Parameter struct{ Name, Value string }

// Parameters are what an agent knows of a guest on this hypervisor. All
// agents that read a domain's XML get the same: changing the agent's name
// is all that an operator does.
func (h Hypervisor) Parameters(a Agent, g Guest) []Parameter {
	if a == HeartbeatXen {
		return []Parameter{{"xmfile", g.XMFile}}
	}
	return []Parameter{{"config", g.Config}, {"hypervisor", h.URI}, {"migration_transport", "tcp"}}
}
