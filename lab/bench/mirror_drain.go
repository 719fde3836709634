package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab/cluster"
)

const (
	drainChanged = 50      // MiB since the last round
	drainWritten = 8 << 10 // MiB of data on the disk
	drainLess    = 2 << 10 // where the machine lacks the room
	// drainCopies is for how many images of that size there must be room: of both guests here and there, and of what each
	// leaves behind or copies again.
	drainCopies = 6
	// drainTime is Pacemaker's for a move that copies all of the disk.
	drainTime = 15 * time.Minute
)

// drainSize is how many MiB of data the disks have where so many bytes are free, some of which must stay so.
func drainSize(free uint64) int {
	if free>>20 < drainCopies*drainWritten*11/10 {
		return drainLess
	}
	return drainWritten
}

// mirrorDrain measures how long a guest takes to get away from a node, with a mirror and with disks that are copied. Both
// are of the same size, and are moved by Pacemaker's own calls, one at a time.
func mirrorDrain(ctx context.Context, s *Stage) ([]Result, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.Shared, &fs); err != nil {
		return nil, fmt.Errorf("look for room: %w", err)
	}
	size := drainSize(fs.Bavail * uint64(fs.Bsize))
	kind := localKind{name: "away", first: 85, disk: size + size/4, written: size, interval: seldom, moves: drainTime,
		peer: []cluster.Parameter{{Name: "disks", Value: "copy"}}}
	var took [2][]float64
	ended, parts := [2]Endings{{}, {}}, [2]leavings{{}, {}}
	err := s.localGuests(ctx, kind, func(ctx context.Context, l *locals) error {
		return turns(sides, s.N, false, func(round int, who side) error {
			l.Progress(fmt.Sprintf("mirror-drain: round %d of %d, %s", round+1, s.N, who.label))
			g, i := l.peer, 1
			if who.ours {
				g, i = l.ours, 0
			}
			if err := g.newClient(0).Fill(ctx, 0, drainChanged); err != nil {
				return err
			}
			one, calls, end, err := l.drain(ctx, g)
			if err != nil {
				return err
			}
			ended[i][one.Ended]++
			parts[i].add(calls)
			if one.Ended == endedLive {
				took[i] = append(took[i], one.Took/1000)
			}
			if who.ours {
				return l.synced(ctx, end)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	r := compare("mirror-drain", "s", "disks=copy", took[0], took[1])
	r.OursEnded, r.PeerEnded = ended[0], ended[1]
	r.Notes = []string{
		fmt.Sprintf("%d MiB of data on the disk, %d MiB changed since the last round; from crm_resource --move, whose calls of the agent "+
			"are those of a standby, until the last of them has returned; to reach: a ratio of 0.2", size, drainChanged),
		"with a mirror (medians): " + parts[0].inWords(), "with disks=copy: " + parts[1].inWords(),
	}
	return []Result{r}, nil
}

// drain has Pacemaker move a guest to the other node, and tells when the last of its calls had returned.
func (l *locals) drain(ctx context.Context, g *local) (one move, parts leavings, end time.Time, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, drainTime+guestTime, errors.New("it does not get away"))
	defer cancel()
	was, err := ask(ctx, g.Address)
	if err != nil {
		return one, nil, end, err
	}
	to, begun := l.there(g), time.Now()
	if _, err := l.Cluster.Run(ctx, l.node(), "crm_resource", "--resource="+g.Name, "--move", "--node="+to,
		"--lifetime=PT1H"); err != nil {
		return one, nil, end, err
	}
	err = cluster.Await(ctx, g.Name+" to be moved to "+to, func(ctx context.Context) (ok bool, err error) {
		calls, err := callsSince(ctx, l.Cluster, begun)
		end, ok = movedAt(calls, g.Name, begun)
		parts = leavingsIn(calls)
		return ok, err
	})
	if err == nil {
		err = l.awaitGuest(ctx, g.Address)
	}
	if err != nil {
		return one, nil, end, err
	}
	now, err := ask(ctx, g.Address)
	g.at = 1 - g.at
	return move{Ended: ending(true, now.BootID == was.BootID, 0), Took: ms(end.Sub(begun))}, parts, end, err
}
