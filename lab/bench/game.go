package bench

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/game"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/scenario"
)

// gameInterval is between two requests of the game's client: one tick of its server.
const gameInterval = 20 * time.Millisecond

// gameMoves measures moves of a guest with a game server at all depths.
func gameMoves(ctx context.Context, s *Stage) ([]Result, error) {
	guests, err := scenario.Kind{Name: "game", First: 24, MemoryMiB: guest.GameMemoryMiB, Game: true}.Make(ctx,
		s.Cluster, s.Shared, 1)
	if err != nil {
		return nil, err
	}
	m, err := s.mover(guests[0])
	if err != nil {
		return nil, err
	}
	m.probe, m.game = true, true
	all, err := m.shuttle(ctx, "game-gap-udp", s.N, true)
	if err != nil {
		return nil, err
	}
	r := all.result("game-gap-udp", "ms", gameOf)
	r.Notes = []string{
		fmt.Sprintf("real service: longest silence of a Teeworlds server, asked every %s as its own clients do",
			gameInterval),
		all.depths(),
	}
	return []Result{r}, nil
}

func (m *mover) gameAddress() string {
	return net.JoinHostPort(m.guest.Address, strconv.Itoa(guest.GamePort))
}

// awaitGame waits until the game server answers, which loads its map after the guest has booted.
func (m *mover) awaitGame(ctx context.Context) error {
	m.stage.Progress("waiting for the game server")
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	return cluster.Await(ctx, "the game server to answer", func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := game.Watch(ctx, m.gameAddress(), gameInterval)
		return err == nil, err
	})
}

// watchGame has the game's own client ask the server. One that never answers is an error: the guest should have it.
func (m *mover) watchGame(ctx context.Context) (addition, error) {
	done := make(chan struct{})
	var seen game.Result
	var err error
	go func() {
		defer close(done)
		seen, err = game.Watch(ctx, m.gameAddress(), gameInterval)
	}()
	return func(one *move) error {
		<-done
		one.Game = new(ms(seen.Longest))
		return err
	}, nil
}
