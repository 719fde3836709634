package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/resource/agentd"
	"github.com/vmferry/vmferry/resource/agentd/admission"
	"github.com/vmferry/vmferry/resource/agentd/wire"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
)

// monitors answers the agent's monitors (package resource/agentd), and has its migrations wait for their turns (package
// resource/agentd/admission). dir is where the socket and the agent's notes are. It is a convenience, and the daemon's
// shutdown lock is not: where it cannot listen, it says so and the daemon lives on; the agent then looks for itself,
// and moves one guest at a time.
func monitors(dir string, queue *admission.Server, log logrus.FieldLogger) task {
	ready := make(chan struct{})
	return task{"monitors", func(ctx context.Context) error {
		pool := &agentd.Pool{Dial: client.Opener(func(c *client.Conn) observe.Hypervisor { return c }), Log: log}
		defer pool.Close()
		monitor := &agentd.Monitor{
			Open: pool.Open, Processes: hostproc.Host{System: true}, // others' guests are declined
			RunDir: dir, StateDir: notes.DefaultStateDir, Log: log,
		}
		server := agentd.Server{Socket: filepath.Join(dir, wire.Socket), Look: monitor.Look, Turn: queue.Serve,
			Log: log}
		if err := server.Run(ctx, func() { close(ready) }); err != nil {
			log.WithError(err).Error("monitors are not answered: the agent looks without vmferryd, which costs more")
			close(ready)
			<-ctx.Done()
		}
		return nil
	}, ready}
}

// gather is how long the first of several guests waits for the others to ask for their turns: a
// cluster manager that empties a node makes its calls within a few hundred milliseconds.
const gather = 500 * time.Millisecond

// newQueue makes the queue of moves. A guest that is alone on its node waits for nobody.
func newQueue(guestsDir string, log logrus.FieldLogger) *admission.Server {
	return &admission.Server{Log: log, Gather: func() time.Duration {
		if guests, err := notes.GuestsIn(guestsDir).All(); err == nil && len(guests) < 2 {
			return 0
		}
		return gather
	}}
}
