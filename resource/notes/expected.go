package notes

import (
	"slices"
	"time"

	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/route"
)

// Expected is expected/ID.json: the guest is to be announced when it comes to run here. Actions write it that do not
// bring the guest here as well: Pacemaker probes each resource on all nodes, and so vmferryd, which reads it, knows a
// guest before a migration brings it. Nobody removes it.
type Expected struct {
	Guest    string `json:"guest"`              // libvirt's name
	Resource string `json:"resource"`           // the resource's id in the cluster manager
	URI      string `json:"uri"`                // the libvirt that it will run under
	Announce string `json:"announce,omitempty"` // the parameter, see announce.ParseSetting
	Suffix   string `json:"suffix,omitempty"`   // migration_network_suffix
}

func (e Expected) isWhole() bool { return e.Guest != "" && e.Resource != "" && e.URI != "" }

// MigrationHost is the name by which migrations of the guest reach a node.
func (e Expected) MigrationHost(node string) string { return route.WithSuffix(node, e.Suffix) }

// Announced is announced/ID.json: vmferryd, which writes it, began to announce the guest by itself. The action that
// brought the guest here reads it, and need not announce it again. Nobody removes it: it counts for what ran by then.
type Announced struct {
	At time.Duration `json:"since_boot"` // [hostproc.Uptime]
}

func (a Announced) isWhole() bool { return true }

// Covers reports whether these processes of a guest had started before the announcement.
func (a Announced) Covers(processes []hostproc.Process) bool {
	return len(processes) > 0 && !slices.ContainsFunc(processes, func(p hostproc.Process) bool {
		return p.StartTime == 0 || a.At < p.Began()
	})
}
