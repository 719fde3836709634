package scenario

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/report"
)

// Label is an agent's name in reports.
func Label(agent cluster.Agent) string {
	if agent == cluster.Ours {
		return report.Ours
	}
	return agent.Type
}

// Extent is how much of the demo is run.
type Extent struct {
	Calmly bool // nothing dies
	Leave  bool // the nodes and guests are left as the last scenario left them: the lab goes down next
}

// Both runs the two scenarios of the demo with one agent and adds them to the
// report: the guests begin on the first node, leave it when it shuts down, and
// return to it when the second one dies.
func (r *Runner) Both(ctx context.Context, agent cluster.Agent, extent Extent, rep *report.Report) error {
	first, second := r.Cluster.Nodes[0], r.Cluster.Nodes[1]
	if err := r.Take(ctx); err != nil {
		return err
	}
	if err := r.Place(ctx, agent, first); err != nil {
		return err
	}
	boots, err := r.Boots(ctx, first)
	if err != nil {
		return err
	}
	s, err := r.GracefulShutdown(ctx, agent, first, second)
	if err != nil {
		return err
	}
	rep.Scenarios = append(rep.Scenarios, s)
	if extent.Calmly && extent.Leave {
		return nil
	}
	if err := r.AwaitReturn(ctx, first, boots); err != nil {
		return err
	}
	if extent.Calmly {
		return r.Remove(ctx, second)
	}
	// Guests that did not move cannot show what a crash does to those that did.
	if err := r.awaitGuestsOn(ctx, second); err != nil {
		return fmt.Errorf("%w; the scenario before it: %s", err, strings.Join(s.Failures, "; "))
	}
	if s, err = r.Crash(ctx, agent, second, first); err != nil {
		return err
	}
	rep.Scenarios = append(rep.Scenarios, s)
	if extent.Leave {
		return nil
	}
	if err := r.powerOn(ctx, second); err != nil {
		return err
	}
	if err := r.awaitMember(ctx); err != nil {
		return err
	}
	return r.Remove(ctx, first)
}

// awaitGuestsOn waits until all guests are where the next scenario begins.
func (r *Runner) awaitGuestsOn(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, r.profile().limits.start)
	defer cancel()
	return r.awaitAnswers(ctx, node)
}

// xenVersion asks the first node's kernel for its hypervisor; empty where there
// is none.
func (r *Runner) xenVersion(ctx context.Context) string {
	const dir = "/sys/hypervisor/version/"
	out, err := r.Cluster.Run(ctx, r.Cluster.Nodes[0], "cat", dir+"major", dir+"minor", dir+"extra")
	words := strings.Fields(out)
	if err != nil || len(words) < 2 {
		return ""
	}
	return words[0] + "." + strings.Join(words[1:], "")
}

// Environment asks the first node for the versions of what runs there. A
// program that does not tell is left out.
func (r *Runner) Environment(ctx context.Context) report.Environment {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	first := func(program string, args ...string) string {
		out, err := r.Cluster.Run(ctx, r.Cluster.Nodes[0], program, args...)
		if err != nil {
			return ""
		}
		line, _, _ := strings.Cut(out, "\n")
		return strings.TrimSpace(line)
	}
	return report.Environment{
		Libvirt:   first("libvirtd", "--version"),
		QEMU:      first("qemu-system-x86_64", "--version"),
		Xen:       r.xenVersion(ctx),
		Pacemaker: first("pacemakerd", "--version"),
		Heartbeat: first("/usr/libexec/heartbeat/heartbeat", "-V"),
		Corosync:  first("corosync", "-v"),
		Kernel:    first("uname", "-r"),
		Cores:     runtime.NumCPU(),
		Accel:     "tcg",
		Started:   time.Now(),
	}
}
