package main

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/vmferry/vmferry/migrate"
	"github.com/vmferry/vmferry/migrate/drain"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/warm/turns"
	"github.com/vmferry/vmferry/resource/warm/wire"
)

// queueOf is the node daemon's queue of moves for the guest of one resource. A guest that is refused its
// turn fails to migrate, and the cluster manager shuts it down and starts it elsewhere.
func queueOf(runDir string, env resource.Environ) migrate.Queue {
	socket := filepath.Join(runDir, wire.Socket)
	return func(ctx context.Context, w migrate.Wish, waiting func()) (migrate.Turn, error) {
		turn, err := turns.Enter(ctx, socket, turnRequest(env, w), waiting, w.Measured)
		if err != nil {
			return nil, err // not turn: a nil *Turn is a Turn that is not nil
		}
		return turn, nil
	}
}

func turnRequest(env resource.Environ, w migrate.Wish) turns.Request {
	return turns.Request{
		Guest: w.Guest, UUID: w.UUID, Resource: env.Instance, Target: w.Target,
		Priority: env.Params.DrainPriority, Ladder: append(slices.Clone(w.Means), drain.Shutdown), Shutdown: env.Params.ShutdownTimeout,
		Deadline: w.Deadline, Rate: w.Rate, SetUp: w.SetUp, Load: turns.Load(w.Load),
	}
}
