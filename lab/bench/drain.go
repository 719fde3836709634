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

// The guests of drain-10; they have as little memory as such a guest comes up with.
const (
	drainGuests = 10
	drainMemory = 96
	// drainPace is between two probes of one target: sixty a second and guest, over UDP, TCP and ICMP. What that costs
	// of the machine is not measured; it is more than probe-share, which is of one guest.
	drainPace = 50 * time.Millisecond
)

// drainTen measures how long a node that is rebooted takes to get rid of ten guests, and the worst
// that a client of any of them saw.
func drainTen(ctx context.Context, s *Stage) ([]Result, error) { return s.drainTen(ctx, "drain-10") }

// unhurried has Pacemaker make its calls all at once, as on a server with 16 cores that is not short of them. By
// default it takes the load average for the node's, which here is that of the whole machine, on which guests are
// emulated, and makes one call at a time.
var unhurried = map[string]string{"load-threshold": "10000%", "node-action-limit": "32"}

// drainTenAtOnce is drainTen with all ten asked to move at the same time.
func drainTenAtOnce(ctx context.Context, s *Stage) (results []Result, err error) {
	defer func() { err = errors.Join(err, s.setUnhurried(context.WithoutCancel(ctx), false)) }()
	if err := s.setUnhurried(ctx, true); err != nil {
		return nil, err
	}
	return s.drainTen(ctx, "drain-10-at-once")
}

// setUnhurried gives Pacemaker the properties of unhurried, or takes them away again.
func (s *Stage) setUnhurried(ctx context.Context, on bool) error {
	var errs []error
	for name, value := range unhurried {
		how := "--delete"
		if on {
			how = "--update=" + value
		}
		_, err := s.Cluster.Run(ctx, s.node(), "crm_attribute", "--type=crm_config", "--name="+name, how)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *Stage) drainTen(ctx context.Context, name string) ([]Result, error) {
	guests, err := scenario.Kind{Name: "ten", First: 31, MemoryMiB: drainMemory}.Make(ctx, s.Cluster, s.Shared,
		drainGuests)
	if err != nil {
		return nil, err
	}
	r, err := s.runner(guests, drainPace)
	if err != nil {
		return nil, err
	}
	var ours, peer drains
	err = r.Run(ctx, func(ctx context.Context) error {
		return turns(sides, s.N, false, func(round int, who side) error {
			s.Progress(fmt.Sprintf("%s: round %d of %d, %s", name, round+1, s.N, who.label))
			seen, err := drainOnce(ctx, r, who)
			if who.ours {
				ours.add(seen)
			} else {
				peer.add(seen)
			}
			return err
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
	results[0].Notes = slices.Concat([]string{fmt.Sprintf("%d guests of %d MiB; clients probe each every %s, over UDP, TCP and ICMP",
		drainGuests, drainMemory, drainPace)}, ours.whereTimeGoes(report.Ours), peer.whereTimeGoes(report.Peer))
	results[1].Notes = append(ours.about(report.Ours), peer.about(report.Peer)...)
	return results, nil
}

// drained is what was seen of one drain.
type drained struct {
	report.Scenario
	calls, steps leavings // of each guest: Pacemaker's calls, and the steps of vmferry's moves
}

// drainOnce has one side's agent run the guests on the first node, reboots that, and takes the
// guests away again.
func drainOnce(ctx context.Context, r *scenario.Runner, who side) (seen drained, err error) {
	first, second := r.Cluster.Nodes[0], r.Cluster.Nodes[1]
	if err := r.Take(ctx); err != nil {
		return seen, err
	}
	if err := r.Place(ctx, who.agent, first); err != nil {
		return seen, err
	}
	boots, err := r.Boots(ctx, first)
	if err != nil {
		return seen, err
	}
	begun := time.Now()
	if seen.Scenario, err = r.GracefulShutdown(ctx, who.agent, first, second); err != nil {
		return seen, err
	}
	if err := r.AwaitReturn(ctx, first, boots); err != nil {
		return seen, err
	}
	if seen.calls, seen.steps, err = leavingsSince(ctx, r, begun); err != nil {
		return seen, err
	}
	return seen, r.Remove(ctx, first)
}

// drains are one side's.
type drains struct {
	seconds      []float64 // until the last guest had left
	worst        []float64 // ms: the longest blackout of any guest's light service, over UDP or TCP
	whose        []string  // that was
	kernels      []float64 // ms: the longest blackout of any guest's kernel
	calls, steps leavings
	ended        Endings // of the guests
}

// add adds what was seen of one drain. One that never ended has no time.
func (d *drains) add(s drained) {
	if d.ended == nil {
		d.ended, d.calls, d.steps = Endings{}, leavings{}, leavings{}
	}
	d.calls.add(s.calls)
	d.steps.add(s.steps)
	if s.DrainS != nil {
		d.seconds = append(d.seconds, *s.DrainS)
	}
	worst, whose := 0.0, ""
	see := func(g report.Guest, over string, ms float64, at time.Time) {
		if ms > worst {
			worst, whose = ms, fmt.Sprintf("%s's over %s, %.0f ms%s", g.Guest, over, ms, placed(s.Scenario, g, at))
		}
	}
	kernel := 0.0
	for _, g := range s.Guests {
		d.ended[g.How]++
		if g.Kernel != nil {
			kernel = max(kernel, g.Kernel.ICMPMS)
		}
		if g.UDP != nil {
			see(g, "UDP", g.UDP.BlackoutMS, g.UDP.BlackoutAt)
		}
		if g.TCP != nil {
			see(g, "TCP", g.TCP.BlackoutMS, g.TCP.BlackoutAt)
		}
	}
	d.worst, d.whose, d.kernels = append(d.worst, worst), append(d.whose, whose), append(d.kernels, kernel)
}

// placed says when a blackout began, and beside it how long the guest was paused: what is beyond that, or elsewhere, is
// the want of processors on a machine that emulates all the guests.
func placed(s report.Scenario, g report.Guest, at time.Time) string {
	i := slices.IndexFunc(s.Events, func(e report.Event) bool { return e.What == g.Guest+" STOP" })
	if i < 0 || at.IsZero() || g.PauseMS == nil {
		return ""
	}
	return fmt.Sprintf(", from %.1f s after the guest's STOP on, its pause %.0f ms", at.Sub(s.Events[i].At).Seconds(),
		*g.PauseMS)
}

// about reports each drain whose blackout was the worst.
func (d *drains) about(who string) []string {
	var notes []string
	for i, whose := range d.whose {
		notes = append(notes, fmt.Sprintf("the worst of %s's drain %d was %s", who, i+1, whose))
	}
	return append(notes, fmt.Sprintf("the longest blackout of a guest's kernel (ICMP): %.0f ms with %s (median of the drains)",
		Summarize(d.kernels).P50, who))
}

// whereTimeGoes tells the medians over the guests of each part of their leaving.
func (d *drains) whereTimeGoes(who string) []string {
	notes := []string{fmt.Sprintf("a guest with %s takes (medians): %s", who,
		d.calls.inWords("migrate_to", "migrate_from", "stop", betweenCalls))}
	if steps := d.steps.inWords(); steps != "" {
		notes = append(notes, fmt.Sprintf("of %s's migrate_to: %s; the rest is the agent's start and end", who, steps))
	}
	return notes
}
