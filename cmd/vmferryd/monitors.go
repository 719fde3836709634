package main

import (
	"context"
	"path/filepath"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/warm"
	"github.com/vmferry/vmferry/resource/warm/turns"
	"github.com/vmferry/vmferry/resource/warm/wire"
	"github.com/vmferry/vmferry/resource/witness"
)

// monitorTask answers the agent's monitors (package resource/warm), and has its migrations wait for their
// turns (package resource/warm/turns). It is a convenience, and
// the daemon's shutdown lock is not: where it cannot listen, it says so and the
// daemon lives on; the agent then looks for itself, and moves
// one guest at a time.
type monitorTask struct {
	dir   string // of the socket and the agent's notes
	desk  *turns.Desk
	ready chan struct{}
	log   logrus.FieldLogger
}

func newMonitorTask(dir string, desk *turns.Desk, log logrus.FieldLogger) monitorTask {
	return monitorTask{dir: dir, desk: desk, ready: make(chan struct{}), log: log}
}

func (monitorTask) String() string           { return "monitors" }
func (t monitorTask) Ready() <-chan struct{} { return t.ready }

func (t monitorTask) Run(ctx context.Context) error {
	pool := &warm.Pool{Dial: client.Opener(func(c *client.Conn) resource.Hypervisor { return c }), Log: t.log}
	defer pool.Close()
	monitor := &warm.Monitor{
		Open: pool.Open, Witness: witness.Host{System: true}, // others' guests are declined
		RunDir: t.dir, StateDir: resource.DefaultStateDir, Log: t.log,
	}
	server := warm.Server{Socket: filepath.Join(t.dir, wire.Socket), Look: monitor.Look, Turn: t.desk.Serve, Log: t.log}
	if err := server.Run(ctx, func() { close(t.ready) }); err != nil {
		t.log.WithError(err).Error("monitors are not answered: the agent looks without vmferryd, which costs more")
		close(t.ready)
		<-ctx.Done()
	}
	return nil
}
