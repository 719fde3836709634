package resource

import (
	"cmp"
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/migrate/ladder"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/route"
)

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
	StartsNetworks bool // networks of the target that are not active are started, before the move
}

func (p Params) tuning() Tuning {
	return Tuning{
		Options: p.Options.MigrateOptions, Unsafe: p.Options.Unsafe, NoConverge: !p.MayUse(ladder.Converge), PostCopy: p.MayUse(ladder.PostCopy),
		PauseAfter: p.Options.Timeout, BlackoutBudget: p.BlackoutBudget, Watch: p.Watch, Disks: p.Disks, Memory: p.Memory,
		StartsNetworks: p.StartResources,
	}
}

// Bandwidth is the most that a migration may put on the link, in MiB per second; 0 is no bound.
func (p Params) Bandwidth() uint64 { return cmp.Or(p.Options.Bandwidth, p.Speed) }

// Move is the migration of a guest from this node, by its parameters; uuid may be empty. The same parameters make the
// same move, whether it is made or only examined.
func (p Params) Move(guest, uuid string, to Route) Move {
	m := Move{
		Guest: guest, UUID: uuid, SourceURI: p.Hypervisor, Target: to.Node, TargetURI: to.URI, MigrateURI: to.DataURI,
		Bandwidth: p.Bandwidth(), Downtime: p.Downtime, Tuning: p.tuning(), Relay: p.Announce != announce.Off,
	}
	m.Options.TLS = p.UsesTLS()
	m.Options.TLSDestination = route.Naming(m.Options.TLSDestination, to.Node)
	return m
}

// Request is the move as the engine takes it. What watches the guest meanwhile is left to the caller.
func (m Move) Request() migrate.Request {
	return migrate.Request{
		Guest: m.Guest, UUID: m.UUID, SourceURI: m.SourceURI,
		Target: m.Target, TargetURI: m.TargetURI, MigrateURI: m.MigrateURI,
		Bandwidth: m.Bandwidth, DowntimeLimit: m.Downtime, Adopt: m.Adopt, Fetch: m.Fetch,
		Options: m.Options, Unsafe: m.Unsafe, NoConverge: m.NoConverge, PostCopy: m.PostCopy,
		Disks: m.Disks, Memory: m.Memory, PauseAfter: m.PauseAfter, BlackoutBudget: m.BlackoutBudget,
		StartsNetworks: m.StartsNetworks, Rest: m.Rest, Others: m.Others,
	}
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
