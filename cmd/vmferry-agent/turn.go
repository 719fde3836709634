package main

import (
	"path/filepath"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/agentd/admission"
	"github.com/vmferry/vmferry/resource/agentd/wire"
)

// queueOf is the node daemon's queue of moves for the guest of one resource. A guest that is refused its
// turn fails to migrate, and goes down its ladder when the cluster manager stops it.
func queueOf(runDir string, env resource.Environ) migrate.Queue {
	return admission.Queue(filepath.Join(runDir, wire.Socket), admission.Request{
		Resource: env.Instance, Priority: env.Params.DrainPriority,
		Ladder:   env.Params.Ladder.Ending(),
		Shutdown: env.Params.ShutdownTimeout,
	})
}
