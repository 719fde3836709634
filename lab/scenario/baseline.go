package scenario

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/migrate/wait"
)

// savedGuest is where a node keeps a guest for a moment.
const savedGuest = "/var/tmp/vmferry-lab-baseline.save"

// baselines are the outages that nobody but libvirt makes. virsh(1) runs the
// commands of one word after the other, so that its own start is not in between.
var baselines = []struct{ name, commands string }{
	{report.SuspendResume, "suspend %s; resume %s"},
	{report.SaveRestore, "save %s " + savedGuest + "; restore " + savedGuest},
}

// Alone measures what clients see of a guest that is paused, and of one that
// is saved and restored, without a cluster and without a move. The guest is the
// first one, which must run nowhere; it runs nowhere afterwards. Nothing is done
// where an outage is not known to be mostly the emulator's.
func (r *Runner) Alone(ctx context.Context, rep *report.Report) (err error) {
	if !r.profile().alone {
		return nil
	}
	node, g := r.Cluster.Nodes[0], r.Guests[0]
	ctx, cancel := context.WithTimeoutCause(ctx, r.limit(r.profile().limits.trigger),
		errors.New("the guest's outages took too long"))
	defer cancel()
	r.Progress("a guest by itself: starting it on " + node)
	if err := r.virsh(ctx, node, "create "+g.Config); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, r.virsh(ctx, node, "destroy "+g.Name))
	}()
	err = cluster.Await(ctx, "guest "+g.Name+" to answer", func(ctx context.Context) (bool, error) {
		_, err := r.ask(ctx, g)
		return err == nil, err
	})
	if err != nil {
		return err
	}
	alone := *r
	alone.Guests = r.Guests[:1]
	for _, b := range baselines {
		measured, err := alone.baseline(ctx, node, b.name, named(b.commands, g.Name))
		if err != nil {
			return err
		}
		rep.Baselines = append(rep.Baselines, measured)
	}
	return nil
}

// baseline measures one outage of the one guest.
func (r *Runner) baseline(ctx context.Context, node, name, commands string) (report.Baseline, error) {
	g := r.Guests[0]
	r.Progress("a guest by itself: " + name)
	probing, stop := context.WithCancel(ctx)
	defer stop()
	probe := r.Probe(probing, filepath.Join(r.Scratch, "baseline-"+name+".json"))
	if err := wait.For(ctx, calm); err != nil {
		return report.Baseline{}, err
	}
	begun := time.Now()
	if err := r.virsh(ctx, node, commands); err != nil {
		return report.Baseline{}, err
	}
	if err := wait.For(ctx, calm); err != nil {
		return report.Baseline{}, err
	}
	stop()
	seen, err := probe()
	if err != nil {
		return report.Baseline{}, err
	}
	b := report.Baseline{Name: name, Hypervisor: r.Cluster.Hypervisor.Name, Guest: g.Name, Node: node}
	b.Kernel, b.UDP, b.TCP = clients(seen[g.Name])
	if pause, ok := r.Pause(g.Name, node, node, begun); ok {
		ms := milliseconds(pause)
		b.PauseMS = &ms
	}
	return b, nil
}

// virsh has libvirt on a node carry out commands, parted by semicolons.
func (r *Runner) virsh(ctx context.Context, node, commands string) error {
	_, err := r.Cluster.Run(ctx, node, "virsh", "--quiet", "--connect="+r.Cluster.Hypervisor.URI, commands)
	return err
}

// named puts a guest's name into commands.
func named(commands, guest string) string { return strings.ReplaceAll(commands, "%s", guest) }
