package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vmferry/vmferry/lab/report"
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
	note := fmt.Sprintf("the guest rewrites %d MiB/s of %d MiB, both sides have migration_speed=%d", busyRate, workingSet, linkCap)
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

// The guests of drain-10; they have as little memory as such a guest comes up with.
const (
	drainGuests = 10
	drainMemory = 96
)

// drainTen measures how long a node that is rebooted takes to get rid of ten guests, and the worst
// that a client of any of them saw.
func drainTen(ctx context.Context, s *Stage) ([]Result, error) { return s.drainTen(ctx, "drain-10") }

// unhurried has Pacemaker make its calls all at once, as on a server with 16 cores that is not short of them. By default it
// takes the load average for the node's, which here is that of the whole machine, on which guests are
// emulated, and makes one call at a time.
var unhurried = map[string]string{"load-threshold": "10000%", "node-action-limit": "32"}

// drainTenAtOnce is drainTen with all ten asked to move at the same time.
func drainTenAtOnce(ctx context.Context, s *Stage) (results []Result, err error) {
	set := func(ctx context.Context, how func(value string) string) error {
		var errs []error
		for name, value := range unhurried {
			_, err := s.Cluster.Run(ctx, s.node(), "crm_attribute", "--type=crm_config", "--name="+name, how(value))
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	defer func() {
		err = errors.Join(err, set(context.WithoutCancel(ctx), func(string) string { return "--delete" }))
	}()
	if err := set(ctx, func(value string) string { return "--update=" + value }); err != nil {
		return nil, err
	}
	return s.drainTen(ctx, "drain-10-at-once")
}

func (s *Stage) drainTen(ctx context.Context, name string) ([]Result, error) {
	guests, err := scenario.Kind{Name: "ten", First: 31, MemoryMiB: drainMemory}.Make(ctx, s.Cluster, s.Shared, drainGuests)
	if err != nil {
		return nil, err
	}
	r, err := s.runner(guests, 5*time.Millisecond)
	if err != nil {
		return nil, err
	}
	var ours, peer drains
	err = r.Run(ctx, func(ctx context.Context) error {
		return turns(sides, s.N, false, func(round int, who side) error {
			s.Progress(fmt.Sprintf("%s: round %d of %d, %s", name, round+1, s.N, who.label))
			seen, err := drainOnce(ctx, r, who)
			if err != nil {
				return err
			}
			if who.ours {
				ours.add(seen)
			} else {
				peer.add(seen)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	results := []Result{
		compare(name, "s", report.Peer, ours.seconds, peer.seconds),
		compare(name+"-blackout", "ms", report.Peer, ours.worst, peer.worst),
	}
	for i := range results {
		results[i].OursEnded, results[i].PeerEnded = ours.ended, peer.ended
	}
	results[0].Notes = []string{fmt.Sprintf("%d guests of %d MiB", drainGuests, drainMemory)}
	results[1].Notes = append(ours.about("vmferry"), peer.about(report.Peer)...)
	return results, nil
}

// drainOnce has one side's agent run the guests on the first node, reboots that, and takes the
// guests away again.
func drainOnce(ctx context.Context, r *scenario.Runner, who side) (report.Scenario, error) {
	first, second := r.Cluster.Nodes[0], r.Cluster.Nodes[1]
	if err := r.Take(ctx); err != nil {
		return report.Scenario{}, err
	}
	if err := r.Place(ctx, who.agent, first); err != nil {
		return report.Scenario{}, err
	}
	boots, err := r.Boots(ctx, first)
	if err != nil {
		return report.Scenario{}, err
	}
	seen, err := r.GracefulShutdown(ctx, who.agent, first, second)
	if err != nil {
		return seen, err
	}
	if err := r.AwaitReturn(ctx, first, boots); err != nil {
		return seen, err
	}
	return seen, r.Remove(ctx, first)
}

// drains are one side's.
type drains struct {
	seconds []float64 // until the last guest had left
	worst   []float64 // ms: the longest blackout of any guest and protocol
	whose   []string  // that was
	ended   Endings   // of the guests
}

// add adds what was seen of one drain. One that never ended has no time.
func (d *drains) add(s report.Scenario) {
	if d.ended == nil {
		d.ended = Endings{}
	}
	if s.DrainS != nil {
		d.seconds = append(d.seconds, *s.DrainS)
	}
	worst, whose := 0.0, ""
	see := func(g report.Guest, over string, ms float64, at time.Time) {
		if ms > worst {
			worst, whose = ms, fmt.Sprintf("%s's over %s, %.0f ms%s", g.Guest, over, ms, placed(s, g, at))
		}
	}
	for _, g := range s.Guests {
		d.ended[g.How]++
		if g.UDP != nil {
			see(g, "UDP", g.UDP.BlackoutMS, g.UDP.BlackoutAt)
		}
		if g.TCP != nil {
			see(g, "TCP", g.TCP.BlackoutMS, g.TCP.BlackoutAt)
		}
	}
	d.worst, d.whose = append(d.worst, worst), append(d.whose, whose)
}

// placed says when a blackout began, and beside it how long the guest stood still: what is beyond that, or elsewhere, is the
// want of processors on a machine that emulates all the guests.
func placed(s report.Scenario, g report.Guest, at time.Time) string {
	i := slices.IndexFunc(s.Events, func(e report.Event) bool { return e.What == g.Guest+" STOP" })
	if i < 0 || at.IsZero() || g.PauseMS == nil {
		return ""
	}
	return fmt.Sprintf(", from %.1f s after the guest's STOP on, its pause %.0f ms", at.Sub(s.Events[i].At).Seconds(), *g.PauseMS)
}

// about tells of each drain whose blackout was the worst.
func (d *drains) about(who string) []string {
	var notes []string
	for i, whose := range d.whose {
		notes = append(notes, fmt.Sprintf("the worst of %s's drain %d was %s", who, i+1, whose))
	}
	return notes
}

// emulatorPart measures what a client of an emulated guest waits for after it runs on, when the emulator must
// translate all of the guest's code anew: no migration, no libvirt.
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
		"RESUME to the light service's first answer over UDP, after loadvm emptied the translation cache; no migration",
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
