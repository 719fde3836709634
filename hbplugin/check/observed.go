package check

import (
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/logind"
	"github.com/vmferry/vmferry/hbplugin/pacemaker/cib"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/migrate/pki"
	"github.com/vmferry/vmferry/resource/domainxml"
	"github.com/vmferry/vmferry/resource/elsewhere"
)

const (
	haCf       = "/etc/ha.d/ha.cf"
	daemonUnit = "vmferryd.service"
	// remoteUnit is what runs Pacemaker on a node that is no member of the cluster (pacemaker_remote).
	remoteUnit = "pacemaker_remote.service"
)

// Observed is all that the rules look at.
type Observed struct {
	*inventory.Inventory
	ConfigPath  string
	StandbyBy   string                 // who has put the node into standby
	Window      time.Duration          // the longest drain that is configured, 0 for none
	Predictions []inventory.Prediction // what becomes of the guests; empty where no manager runs

	Units        map[string]answer[logind.Unit] // by name
	Peers        []answer[[]elsewhere.Peer]     // of each manager; empty of one that does not answer
	Reach        []target                       // the libvirts to which guests would go
	CIB          *cib.Config                    // nil where Pacemaker does not run or did not answer
	Cmap         *string                        // what Corosync says of itself, nil where it does not run
	HaCf         answer[string]
	Mountinfo    answer[string]
	DelayMax     answer[time.Duration]
	SaveDirs     map[string]saveDir // by resource
	Autostart    answer[[]string]   // the guests that libvirt starts
	Firmware     []lostFirmware
	Certificates *nodeCertificates // nil where no guest needs them
}

// answer is what somebody said, or why they did not.
type answer[T any] struct {
	value T
	err   error
}

func answered[T any](value T, err error) answer[T] { return answer[T]{value, err} }

// target is one libvirt to which a guest would go.
type target struct {
	node, uri, resource string
	route               error // why there is no way there
	err                 error // why it did not answer
}

// saveDir is where a resource's guest is saved.
type saveDir struct {
	missing bool
	exposed error // why nothing is saved there
}

// lostFirmware is what of a guest's firmware is on this node alone.
type lostFirmware struct {
	guest string
	domainxml.Firmware
}

// nodeCertificates are those by which this node sends guests and takes them in.
type nodeCertificates struct {
	conf  error // why libvirt's configuration cannot be read
	dir   string
	files []string
	flaws pki.Flaws
}

// daemonsOf are the daemons that serve a libvirt: the modular one, and the monolithic one.
func daemonsOf(uri string) []string { return []string{libvirt.DriverOf(uri).Daemon, "libvirtd"} }

// up are the other nodes that can take guests.
func (o *Observed) up() (nodes []string) {
	for _, a := range o.Peers {
		if a.err == nil {
			nodes = append(nodes, hbplugin.Up(a.value)...)
		}
	}
	return nodes
}

// saveDirOf is the parameter that says where the guest is saved, and its value.
func saveDirOf(c inventory.Claim) (name, dir string) {
	if dir := c.Environ.Params.SaveDir; dir != "" {
		return "save_dir", dir
	}
	return "snapshot", c.Environ.Params.Snapshot
}
