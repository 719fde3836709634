package param

import (
	"cmp"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/resource/route"
)

// Move is a live migration to make: the engine's request, and what is done beside it.
type Move struct {
	migrate.Request
	Watch []string // targets of package blackout to probe meanwhile
	Relay bool     // what comes in here while the guest is paused is forwarded to the target
}

// Bandwidth is the most that a migration may put on the link, in MiB per second; 0 is no bound.
func (p Params) Bandwidth() uint64 { return cmp.Or(p.Options.Bandwidth, p.Speed) }

// Move is the migration of a guest from this node, by its parameters; uuid may be empty. The same parameters make the
// same move, whether it is made or only examined.
func (p Params) Move(guest, uuid string, to Route) Move {
	o, may := p.Options, p.Ladder.Techniques()
	m := Move{Watch: p.Watch, Relay: p.Announce != announce.Off, Request: migrate.Request{
		Guest: guest, UUID: uuid, SourceURI: p.Hypervisor, Target: to.Node, TargetURI: to.URI, MigrateURI: to.DataURI,
		Bandwidth: p.Bandwidth(), DowntimeLimit: p.Downtime, BlackoutBudget: p.BlackoutBudget, PauseAfter: o.Timeout,
		NoConverge: !may.Throttle, PostCopy: may.PostCopy,
		Options: o.MigrateOptions, Unsafe: o.Unsafe, Disks: p.Disks, Memory: p.Memory, StartsNetworks: p.StartResources,
	}}
	m.Options.TLS = p.UsesTLS()
	m.Options.TLSDestination = route.Naming(o.TLSDestination, to.Node)
	return m
}
