package evacuate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/param"
)

// atOnce is how many guests migrate at the same time: there are seconds for all of them.
const atOnce = 2

// reachTime is how long the target's libvirt has to accept a connection. In a split it may be cut off as well, and the
// time for all moves must not be spent on it.
const reachTime = time.Second

// ErrFailed is a migration that was begun and has failed: it may succeed when it is tried again. What All returns
// without it, nil or not, does not change with another try.
var ErrFailed = errors.New("the migration failed")

// Mover makes one migration.
type Mover func(ctx context.Context, m param.Move) error

// Means are what the guests are moved with.
type Means struct {
	Run   command.Runner                                  // for programs of the cluster manager
	Reach func(ctx context.Context, address string) error // whether a host and port accepts a connection
	Move  Mover
}

// Reach connects to a host and port by TCP, within reachTime and ctx.
func Reach(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: reachTime}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// All migrates every guest of the cluster that runs here and may be migrated live, until ctx ends. The error names
// those that were not: they are killed. A target whose libvirt does not accept a connection gets none.
func All(ctx context.Context, claims []hbplugin.Claim, noted []notes.Guest, node string, with Means) error {
	guests := guests(claims, noted)
	with.Reach = once(with.Reach)
	errs := make([]error, len(guests))
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, g := range guests {
		all.Go(func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
				errs[i] = one(ctx, g, node, with)
			case <-ctx.Done():
				errs[i] = fmt.Errorf("guest %q: %w", g.Name, ctx.Err())
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// guests are those that are noted here, with the parameters that the cluster manager has for each, else with those that
// the agent has noted. The agent of an earlier version has noted none.
func guests(claims []hbplugin.Claim, noted []notes.Guest) []verdict.Guest {
	for _, n := range noted {
		is := func(c hbplugin.Claim) bool { return c.Resource == n.Resource }
		if len(n.Params) == 0 || slices.ContainsFunc(claims, is) {
			continue
		}
		params := maps.Clone(n.Params)
		params["hypervisor"] = n.URI // also where the agent's environment has named it
		claims = append(slices.Clip(claims),
			hbplugin.Claim{Resource: n.Resource, Environ: hbplugin.EnvironOf(n.Resource, params)})
	}
	return verdict.Guests(claims, noted)
}

// once has each address tried once, by the first who asks for it; the others wait for that answer.
func once(reach func(ctx context.Context, address string) error) func(ctx context.Context, address string) error {
	asks := make(chan struct{}, 1)
	known := map[string]error{}
	return func(ctx context.Context, address string) error {
		asks <- struct{}{}
		defer func() { <-asks }()
		err, tried := known[address]
		if !tried {
			err = reach(ctx, address)
			known[address] = err
		}
		return err
	}
}

func one(ctx context.Context, g verdict.Guest, node string, with Means) error {
	if !g.Params.Ladder.MovesLive() {
		return fmt.Errorf("guest %q: its ladder has no live rung", g.Name)
	}
	to, err := g.Params.RouteTo(ctx, with.Run, node)
	if err != nil {
		return fmt.Errorf("guest %q: %w", g.Name, err)
	}
	if address := libvirt.Dialed(to.URI); address != "" {
		if err := with.Reach(ctx, address); err != nil {
			return fmt.Errorf("guest %q: libvirt of node %s cannot be reached: %w", g.Name, node, err)
		}
	}
	if err := with.Move(ctx, g.Params.Move(g.Name, g.UUID, to)); err != nil {
		return fmt.Errorf("guest %q: %w: %w", g.Name, ErrFailed, err)
	}
	return nil
}
