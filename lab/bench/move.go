package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/vmferry/vmferry/lab/scenario"
)

// What a busy guest does to a capped link, in MiB and MiB per second. The set is as much as the
// guest has beside what it needs to run.
const (
	linkCap      = 20
	busyRate     = linkCap * 8 / 10
	hopelessRate = linkCap * 3
	workingSet   = 32
)

// hopelessTime is the window for a guest that dirties more than the link carries.
const hopelessTime = 60 * time.Second

func secondsOf(m move) float64 {
	return m.Took / 1000
}

// busy measures moves of a guest that rewrites memory at four fifths of what the link carries.
func busy(ctx context.Context, s *Stage) ([]Result, error) {
	kind := scenario.Kind{Name: "busy", First: 20, MemoryMiB: 128, DirtyMiB: busyRate, DirtySetMiB: workingSet}
	all, err := s.strained(ctx, "busy-blackout-udp", kind, nil)
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("the guest rewrites %d MiB/s of %d MiB, both sides have migration_speed=%d", busyRate,
		workingSet, linkCap)
	dark, took := all.result("busy-blackout-udp", "ms", udpOf), all.result("busy-time", "s", secondsOf)
	dark.Notes = []string{note, all.depths()}
	return []Result{dark, took}, nil
}

// hopeless measures how a guest gets away that dirties more than the link carries, if it does.
func hopeless(ctx context.Context, s *Stage) ([]Result, error) {
	kind := scenario.Kind{Name: "hopeless", First: 21, MemoryMiB: 128, DirtyMiB: hopelessRate, DirtySetMiB: workingSet}
	all, err := s.strained(ctx, "hopeless", kind, func(m *mover) { m.window = hopelessTime })
	if err != nil {
		return nil, err
	}
	return all.hopeless("hopeless", "with their defaults"), nil
}

// hopelessPostCopy is hopeless where both may use post-copy. The peer then switches after the first pass.
func hopelessPostCopy(ctx context.Context, s *Stage) ([]Result, error) {
	kind := scenario.Kind{Name: "torn", First: 22, MemoryMiB: 128, DirtyMiB: hopelessRate, DirtySetMiB: workingSet}
	all, err := s.strained(ctx, "hopeless-postcopy", kind, func(m *mover) {
		m.window = hopelessTime
		m.ours = []string{"ladder=live,postcopy"} // as the peer, which is not asked to slow the guest down
		m.peers = []string{"migrate_options=--postcopy --postcopy-after-precopy"}
	})
	if err != nil {
		return nil, err
	}
	return all.hopeless("hopeless-postcopy", "and may use post-copy"), nil
}

func (m moves) hopeless(name, how string) []Result {
	took, dark := m.result(name, "s", secondsOf), m.result(name+"-blackout-udp", "ms", udpOf)
	took.Notes = []string{fmt.Sprintf("the guest rewrites %d MiB/s of %d MiB, both sides have migration_speed=%d and %s, %s; the figures are of those that moved live",
		hopelessRate, workingSet, linkCap, hopelessTime, how)}
	dark.Notes = []string{m.depths()}
	return []Result{took, dark}
}

// strained moves a busy guest over a capped link.
func (s *Stage) strained(ctx context.Context, name string, kind scenario.Kind, set func(*mover)) (moves, error) {
	guests, err := kind.Make(ctx, s.Cluster, s.Shared, 1)
	if err != nil {
		return moves{}, err
	}
	m, err := s.mover(guests[0], fmt.Sprintf("migration_speed=%d", linkCap))
	if err != nil {
		return moves{}, err
	}
	m.probe = true
	if set != nil {
		set(m)
	}
	return m.shuttle(ctx, name, s.N, false)
}

// emulatorPart measures what a client of an emulated guest waits for after it runs on, when the emulator must
// translate all of the guest's code again: no migration, no libvirt.
func emulatorPart(ctx context.Context, s *Stage) ([]Result, error) {
	b, err := s.newBare(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer b.close(context.WithoutCancel(ctx))
	r, err := s.runner([]scenario.Guest{b.guest}, moveInterval)
	if err != nil {
		return nil, err
	}
	if err := b.boot(ctx); err != nil {
		return nil, err
	}
	var cold, warm []answered
	for round := range s.N {
		s.Progress(fmt.Sprintf("emulator-part: round %d of %d", round+1, s.N))
		for _, forget := range []bool{true, false} {
			took, err := b.relearn(ctx, r, forget)
			if err != nil {
				return nil, err
			}
			if forget {
				cold = append(cold, took)
			} else {
				warm = append(warm, took)
			}
		}
	}
	result := compare("emulator-part", "ms", "", each(cold, answered.udp), nil)
	result.Notes = []string{
		"the light service's gap over UDP less the pause, after loadvm emptied the translation cache; no migration",
		"medians: " + medians(cold),
		"the same with the cache left as it was: " + medians(warm),
	}
	return []Result{result}, nil
}

// floor compares our pause with the least that QEMU can do: another guest of the same kind between two
// QEMUs on one node, with nobody between them but this process.
func floor(ctx context.Context, s *Stage) ([]Result, error) {
	b, err := s.newBare(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer b.close(context.WithoutCancel(ctx))
	m, err := s.mover(s.Guest)
	if err != nil {
		return nil, err
	}
	var ours []move
	var bare []float64
	err = m.run(ctx, func(ctx context.Context) error {
		if err := b.boot(ctx); err != nil {
			return err
		}
		return turns(sides, s.N, true, func(round int, who side) error {
			s.Progress(fmt.Sprintf("floor-pause: round %d of %d", round+1, s.N))
			if who.ours {
				one, err := m.move(ctx, who)
				if round >= 0 {
					ours = append(ours, one)
				}
				return err
			}
			pause, err := b.move(ctx)
			if round >= 0 {
				bare = append(bare, pause)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	r := compare("floor-pause", "ms", "bare QEMU", live(ours, pauseOf), bare)
	r.OursEnded, r.PeerEnded = endings(ours), Endings{endedLive: len(bare)}
	r.Notes = []string{fmt.Sprintf("bare QEMU with downtime-limit %d ms on loopback, cont when the target says completed", bareDowntime)}
	return []Result{r}, nil
}
