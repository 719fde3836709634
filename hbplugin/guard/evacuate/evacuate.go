package evacuate

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/param"
)

// atOnce is how many guests migrate at the same time: there are seconds for all of them.
const atOnce = 2

// Mover makes one migration.
type Mover func(ctx context.Context, m param.Move) error

// All migrates every guest of the cluster that runs here and may be migrated live, until ctx ends. The error names those
// that were not: they are killed.
func All(ctx context.Context, claims []hbplugin.Claim, noted []notes.Guest, node string, run command.Runner,
	move Mover,
) error {
	guests := verdict.Guests(claims, noted)
	errs := make([]error, len(guests))
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, g := range guests {
		all.Go(func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
				errs[i] = one(ctx, g, node, run, move)
			case <-ctx.Done():
				errs[i] = fmt.Errorf("guest %q: %w", g.Name, ctx.Err())
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func one(ctx context.Context, g verdict.Guest, node string, run command.Runner, move Mover) error {
	if !g.Params.Ladder.MovesLive() {
		return fmt.Errorf("guest %q: its ladder has no live rung", g.Name)
	}
	to, err := g.Params.RouteTo(ctx, run, node)
	if err == nil {
		err = move(ctx, g.Params.Move(g.Name, g.UUID, to))
	}
	if err != nil {
		return fmt.Errorf("guest %q: %w", g.Name, err)
	}
	return nil
}
