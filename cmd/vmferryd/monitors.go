package main

import (
	"context"
	"path/filepath"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/resource/agentd"
	"github.com/vmferry/vmferry/resource/agentd/admission"
	"github.com/vmferry/vmferry/resource/agentd/wire"
	"github.com/vmferry/vmferry/resource/hostproc"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/observe"
)

// monitorTask answers the agent's monitors (package resource/agentd), and has its migrations wait for their
// turns (package resource/agentd/admission). It is a convenience, and
// the daemon's shutdown lock is not: where it cannot listen, it says so and the
// daemon lives on; the agent then looks for itself, and moves
// one guest at a time.
type monitorTask struct {
	dir   string // of the socket and the agent's notes
	desk  *admission.Server
	ready chan struct{}
	log   logrus.FieldLogger
}

func newMonitorTask(dir string, desk *admission.Server, log logrus.FieldLogger) monitorTask {
	return monitorTask{dir: dir, desk: desk, ready: make(chan struct{}), log: log}
}

func (monitorTask) String() string           { return "monitors" }
func (t monitorTask) Ready() <-chan struct{} { return t.ready }

func (t monitorTask) Run(ctx context.Context) error {
	pool := &agentd.Pool{Dial: client.Opener(func(c *client.Conn) observe.Hypervisor { return c }), Log: t.log}
	defer pool.Close()
	monitor := &agentd.Monitor{
		Open: pool.Open, Processes: hostproc.Host{System: true}, // others' guests are declined
		RunDir: t.dir, StateDir: notes.DefaultStateDir, Log: t.log,
	}
	server := agentd.Server{Socket: filepath.Join(t.dir, wire.Socket), Look: monitor.Look, Turn: t.desk.Serve,
		Log: t.log}
	if err := server.Run(ctx, func() { close(t.ready) }); err != nil {
		t.log.WithError(err).Error("monitors are not answered: the agent looks without vmferryd, which costs more")
		close(t.ready)
		<-ctx.Done()
	}
	return nil
}
