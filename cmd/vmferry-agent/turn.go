package main

import (
	"path/filepath"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/warm/turns"
	"github.com/vmferry/vmferry/resource/warm/wire"
)

// queueOf is the node daemon's queue of moves for the guest of one resource. A guest that is refused its
// turn fails to migrate, and the cluster manager shuts it down and starts it elsewhere.
func queueOf(runDir string, env resource.Environ) migrate.Queue {
	return turns.Queue(filepath.Join(runDir, wire.Socket), turns.Request{
		Resource: env.Instance, Priority: env.Params.DrainPriority,
		Ladder: []drain.Means{drain.Shutdown}, Shutdown: env.Params.ShutdownTimeout,
	})
}
