package main

import (
	"context"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/endpoint"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/migrate/recorded"
	"github.com/vmferry/vmferry/migrate/relay"
	"github.com/vmferry/vmferry/resource/hostproc/local"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/param"
)

// The connections to libvirt: the agent's, and to one end of a migration.
var (
	open     = client.Opener(func(c *client.Conn) observe.Hypervisor { return c })
	openHost = client.Opener(func(c *client.Conn) endpoint.Host { return c })
)

// migrator makes the real move. step, where not nil, gets each of its phases. A guest that leaves this node asks
// queue for its turn.
func migrator(moves recorded.Moves, sees local.Processes, queue migrate.Queue,
	step func(string)) func(context.Context, param.Move) error {
	return func(ctx context.Context, m param.Move) error {
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

// haltVar names one step of an action, as in "migrate_to/intended". There the agent stops
// itself (SIGSTOP): whoever set the variable may look at the node, kill what it wants
// to see killed, and let the agent continue. It is how the kill tests reach each step.
const haltVar = "VMFERRY_HALT_AT"

// halter returns the function that stops the process at the step that the environment
// names, nil where it names none.
func halter(environ []string, action string) func(step string) {
	at := ocf.Variable(environ, haltVar, "")
	if at == "" {
		return nil
	}
	var once sync.Once
	return func(step string) {
		if at == action+"/"+step {
			once.Do(func() { _ = unix.Kill(os.Getpid(), unix.SIGSTOP) })
		}
	}
}

// phase is the step that a migration's progress stands for: "migrating" is before its first
// byte, and "copying" when some were seen to move.
func phase(p migrate.Progress) string {
	if p.Phase == "migrating" && p.Total > 0 {
		return "copying"
	}
	return p.Phase
}
