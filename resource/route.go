package resource

import (
	"cmp"
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/route"
)

// Route is the way to a node, see package route.
type Route = route.Route

// routes is what the parameters say of the way to other nodes.
func (p Params) routes() route.Config {
	return route.Config{
		Hypervisor: p.Hypervisor, RemoteURI: p.RemoteURI, Transport: p.Transport, User: p.User, Suffix: p.Suffix,
		MigrateURI:  cmp.Or(p.MigrateURI, p.Options.MigrateURI),
		MigratePort: p.MigratePort, NodeIPAttribute: p.NodeIPAttribute,
	}
}

// Route is the way to a node by [route.Config.To]; address may be empty.
func (p Params) Route(node, address string) (Route, error) { return p.routes().To(node, address) }

// UsesTLS reports whether the memory of a guest that moves, and disks that go along, are encrypted by the hypervisors:
// for migration_tls, or for --tls in migrate_options.
func (p Params) UsesTLS() bool { return p.TLS || p.Options.TLS }

// Encrypts reports whether the memory of a guest that moves on that way, and the disks that go along, are encrypted: by
// the hypervisors' TLS, or in libvirt's own connection where its transport is encrypted.
func (p Params) Encrypts(to Route) bool {
	return p.UsesTLS() || p.Options.Tunnelled && libvirt.Encrypted(to.URI)
}

// attributeTime bounds a question to Pacemaker about a node's attribute.
const attributeTime = 5 * time.Second

// AddressOf is [route.Config.Address]. It returns within five seconds, and within half of the time of ctx.
func (p Params) AddressOf(ctx context.Context, run Command, node string) (string, error) {
	ctx, cancel := within(ctx, attributeTime)
	defer cancel()
	return p.routes().Address(ctx, run.explained, node)
}

// RouteTo is [Params.Route] with the address that [Params.AddressOf] finds by run. A node of which Pacemaker has none
// is reached by its name, as the agent does it.
func (p Params) RouteTo(ctx context.Context, run Command, node string) (Route, error) {
	address, err := p.AddressOf(ctx, run, node)
	if err != nil {
		address = ""
	}
	return p.Route(node, address)
}
