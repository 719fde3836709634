package main

import (
	"context"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/migrate/recorded"
	"github.com/vmferry/vmferry/migrate/relay"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/hostproc/local"
)

// The connections to libvirt: the agent's, and to one end of a migration.
var (
	open     = client.Opener(func(c *client.Conn) resource.Hypervisor { return c })
	openHost = client.Opener(func(c *client.Conn) migrate.Host { return c })
)

// migrator makes the real move. step, where not nil, is told each of its phases. A guest that leaves this node asks
// queue for its turn.
func migrator(moves recorded.Moves, sees local.Processes, queue migrate.Queue,
	step func(string)) func(context.Context, resource.Move) error {
	return func(ctx context.Context, m resource.Move) error {
		deps := migrate.Deps{Open: openHost}
		if !m.Fetch { // the witness sees the source
			deps.Queue = queue
			local.SetDeps(&deps, sees)
		}
		if m.Relay {
			deps.Relay = func(guest, domainXML string) (migrate.Relay, error) {
				return relay.Open(guest, domainXML, moves.Log)
			}
		}
		req := m.Request
		if step != nil {
			req.Progress = func(p migrate.Progress) { step(phase(p)) }
		}
		_, err := moves.Move(ctx, req, deps, m.Watch)
		return err
	}
}
