package main

import (
	"path/filepath"
	"slices"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/warm/turns"
	"github.com/vmferry/vmferry/resource/warm/wire"
)

// queueOf is the node daemon's queue of moves for the guest of one resource. A guest that is refused its
// turn fails to migrate, and goes down its ladder when the cluster manager stops it.
func queueOf(runDir string, env resource.Environ) migrate.Queue {
	return turns.Queue(filepath.Join(runDir, wire.Socket), turns.Request{
		Resource: env.Instance, Priority: env.Params.DrainPriority,
		Ladder:   slices.DeleteFunc(slices.Clone(env.Params.Ladder), drain.Means.OverLink),
		Shutdown: env.Params.ShutdownTimeout,
	})
}
