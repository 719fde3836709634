package param

import (
	"cmp"
	"context"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/route"
)

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
// migration, the question to a peer before a start, and what is told of both beforehand name a node in the same way.
func (p Params) Route(node, address string) (Route, error) { return p.Routes().To(node, address) }

// RouteTo is [Params.Route] with the address that [route.Config.Address] finds by run. A node of which Pacemaker has none
// is reached by its name, as the agent does it.
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
