package setup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/device"
	"github.com/vmferry/vmferry/hbplugin/guard/lease"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
	"github.com/vmferry/vmferry/migrate/shellword"
)

// ErrConfirm is the error of a device that may be written once somebody has said so.
var ErrConfirm = errors.New("nothing was written")

// MayInit is the error of a path that must not become the lease device of h. agreed says that the operator has
// confirmed it; ErrConfirm is the error where nothing else is missing.
func MayInit(path string, found device.State, h lease.Header, agreed bool) error {
	if err := h.Check(); err != nil {
		return err
	}
	wipe := shellword.Line("dd", "if=/dev/zero", "of="+path, fmt.Sprintf("bs=%d", lease.BlockSize),
		fmt.Sprintf("count=%d", lease.Size/lease.BlockSize))
	switch {
	case !filepath.IsAbs(path):
		return fmt.Errorf("%s is not an absolute path: name the device as guard.toml will", path)
	case found.Foreign():
		return fmt.Errorf("%s holds other data: use another device; only if that data can be lost, type %s, and try again",
			path, wipe)
	case found.Damaged:
		return fmt.Errorf("%s is a lease device with a damaged header: stop vmferry-guard on all its nodes, type %s, and "+
			"try again", path, wipe)
	case found.Header != nil && found.Header.Cluster != h.Cluster:
		return fmt.Errorf("%s is the lease device of cluster %q (%s): use another device; only if that cluster is no more, "+
			"type %s, and try again", path, found.Header.Cluster, strings.Join(found.Header.Nodes, ", "), wipe)
	case len(found.Held) > 0:
		return fmt.Errorf("%s is in use by %s: stop the cluster manager and vmferry-guard there first; if that node is no "+
			"more, type %s, and try again", path, strings.Join(found.Held, ", "), wipe)
	case !agreed:
		return fmt.Errorf("%w to %s: %s; to write it, add --yes", ErrConfirm, path, Holds(found))
	}
	return nil
}

// Holds says what is at a path that may become a lease device.
func Holds(found device.State) string {
	switch {
	case found.Missing:
		return fmt.Sprintf("a file of %d bytes will be made", lease.Size)
	case found.Header != nil:
		return "it is a lease device of this cluster already, whose nodes have surrendered"
	}
	return "it is empty"
}

// Finding is one thing that check has found.
type Finding struct {
	Problem bool   `json:"problem"` // false: a warning
	What    string `json:"what"`
	Type    string `json:"type,omitempty"` // what to type
}

// Observed is what check looks at.
type Observed struct {
	Times       timing.Times
	Manager     timing.Manager
	ManagerName string
	Watchdog    time.Duration
	Revoke      bool
	TrustExpiry bool
	Ping        int
	Link        bool
	Unfencing   bool     // the fence device has provides=unfencing; always true without Pacemaker
	Others      []string // resources of the cluster that the guard cannot kill
}

// Check is what stands in the way of the guard's promises.
func Check(o Observed) (findings []Finding) {
	problem := func(what, remedy string) { findings = append(findings, Finding{true, what, remedy}) }
	warn := func(what, remedy string) { findings = append(findings, Finding{false, what, remedy}) }
	if err := o.Times.Check(); err != nil {
		problem(err.Error(), "")
	}
	if err := o.Times.CheckManager(o.Manager, o.Watchdog, o.Revoke); err != nil {
		least := o.Times.Bounds(o.Manager, o.Watchdog, o.Revoke).FenceTimeout
		problem(err.Error(), fmt.Sprintf("crm_attribute --name stonith-timeout --update %ds", int(least/time.Second)+1))
	}
	switch {
	case o.Revoke || o.Watchdog > 0:
	case o.TrustExpiry:
		warn("a node that hangs and wakes up may write to the disks of guests that were started elsewhere: trust_expiry "+
			"accepts that", "")
	default:
		problem("a node that hangs is never proven gone: there is neither revoke nor watchdog", "man vmferry-guard")
	}
	if o.Ping == 0 {
		warn("the ping list is empty: in a split the number of guests decides, then the lower number", "")
	}
	if !o.Link {
		warn(fmt.Sprintf("no link is set: storage that fails for %s kills all guests, on every node", o.Times.SelfKill), "")
	}
	if !o.Unfencing {
		problem("the fence device has no provides=unfencing: a node that surrendered never takes its lease again",
			"crm_resource --meta --set-parameter provides --parameter-value unfencing --resource FENCE")
	}
	for _, r := range o.Others {
		warn(fmt.Sprintf("resource %s is not a guest of vmferry: the guard cannot kill it; a surrender ends it by the stop "+
			"of %s alone", r, o.ManagerName), "")
	}
	return findings
}
