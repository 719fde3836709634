package resource

import (
	"cmp"
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/migrate/libvirt"
)

// attributeTime bounds a question to Pacemaker about a node's attribute.
const attributeTime = 5 * time.Second

// Tuning is how a guest is to be moved; the zero value is the usual way.
type Tuning struct {
	Options        libvirt.MigrateOptions
	Unsafe         bool          // move even where libvirt fears for disks with a host cache
	NoConverge     bool          // do not slow the guest down
	PostCopy       bool          // where need be, let it go on at the target before all of its memory is there
	PauseAfter     time.Duration // then the last copy may take as long as it needs; 0 for never
	BlackoutBudget time.Duration // blackout to stay below where the deadline allows it, 0 for the default
	Watch          []string      // targets of package blackout to probe meanwhile
	Disks          migrate.DiskMode
	Memory         migrate.MemoryMode
}

func (p Params) tuning() Tuning {
	return Tuning{
		Options: p.Options.MigrateOptions, Unsafe: p.Options.Unsafe, NoConverge: !p.MayUse(drain.Converge), PostCopy: p.MayUse(drain.PostCopy),
		PauseAfter: p.Options.Timeout, BlackoutBudget: p.BlackoutBudget, Watch: p.Watch, Disks: p.Disks, Memory: p.Memory,
	}
}

// Bandwidth is the most that a migration may put on the link, in MiB per second; 0 is no bound.
func (p Params) Bandwidth() uint64 { return cmp.Or(p.Options.Bandwidth, p.Speed) }

// targetNode is what stands for the target in the URIs: its name, or the address that
// node_ip_attribute has for it, which the guest's memory is then sent to as well.
func (a *run) targetNode(ctx context.Context) string {
	if a.Params.NodeIPAttribute == "" {
		return a.Target
	}
	ctx, cancel := within(ctx, attributeTime)
	defer cancel()
	out, err := a.command(ctx, "crm_attribute", "--type", "nodes", "--node", a.Target, "--name", a.Params.NodeIPAttribute, "--query", "--quiet")
	address := strings.TrimSpace(out)
	if err != nil || address == "" || address == "(null)" {
		a.Log.WithError(err).Warnf("node %s has no attribute %s: using its name", a.Target, a.Params.NodeIPAttribute)
		return a.Target
	}
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() {
		address = "[" + address + "]"
	}
	a.Log.Infof("node %s has the address %s", a.Target, address)
	a.Params.Suffix = ""
	if a.Params.MigrateURI == "" && a.Params.Options.MigrateURI == "" && a.Params.MigratePort == 0 {
		a.Params.MigrateURI = "tcp://" + address
	}
	return address
}

// prepareMove does what is asked for before a migration.
func (a *run) prepareMove(ctx context.Context, o observation, target string) error {
	a.saveConfig(ctx, o)
	if !a.Params.StartResources {
		return nil
	}
	ctx, cancel := within(ctx, 2*a.budget.call)
	defer cancel()
	conn, err := a.Open(ctx, target)
	if err != nil {
		return because(Generic, err, "cannot start the resources of guest %q on %s", a.guest.Name, a.Target)
	}
	defer func() { _ = conn.Close() }()
	if err := startResources(ctx, conn, namesIn(a.config.domain.text)); err != nil {
		return because(Generic, err, "guest %q cannot be migrated to %s", a.guest.Name, a.Target)
	}
	return nil
}
