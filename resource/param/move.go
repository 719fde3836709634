package param

import (
	"cmp"
	"context"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/announce"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/command"
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

// Route is the way to a node, see package route.
type Route = route.Route

// Routes is what the parameters say of the way to other nodes.
func (p Params) Routes() route.Config {
	return route.Config{
		Hypervisor: p.Hypervisor, RemoteURI: p.RemoteURI, Transport: p.Transport, User: p.User, Suffix: p.Suffix,
		MigrateURI:  cmp.Or(p.MigrateURI, p.Options.MigrateURI),
		MigratePort: p.MigratePort, NodeIPAttribute: p.NodeIPAttribute,
	}
}

// Route is the way to a node by [route.Config.To]; address may be empty. It is the one place that makes it: a
// migration, the question to a peer before a start, and what is predicted of both name a node in the same way.
func (p Params) Route(node, address string) (Route, error) { return p.Routes().To(node, address) }

// RouteTo is [Params.Route] with the address that [route.Config.Address] finds by run. A node of which Pacemaker has
// none is reached by its name, as the agent does it.
func (p Params) RouteTo(ctx context.Context, run command.Runner, node string) (Route, error) {
	address, _ := p.Routes().Address(ctx, run, node) // empty beside an error
	return p.Route(node, address)
}

// UsesTLS reports whether the memory of a guest that moves, and disks that go along, are encrypted by the hypervisors:
// for migration_tls, or for --tls in migrate_options.
func (p Params) UsesTLS() bool { return p.TLS || p.Options.TLS }

// Encrypts reports whether the memory of a guest that moves on that way, and the disks that go along, are encrypted: by
// the hypervisors' TLS, or in libvirt's own connection where its transport is encrypted.
func (p Params) Encrypts(to Route) bool {
	return p.UsesTLS() || p.Options.Tunnelled && libvirt.Encrypted(to.URI)
}
