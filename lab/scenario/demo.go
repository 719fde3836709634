package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guest"
	"github.com/vmferry/vmferry/lab/report"
)

// Label is an agent's name in reports.
func Label(agent cluster.Agent) string {
	if agent == cluster.Ours {
		return report.Ours
	}
	return agent.Type
}

// Both runs the two scenarios of the demo with one agent and adds them to the
// report: the guests begin on the first node, leave it when it shuts down, and
// return to it when the second one dies.
func (r *Runner) Both(ctx context.Context, agent cluster.Agent, rep *report.Report) error {
	first, second := r.Cluster.Nodes[0], r.Cluster.Nodes[1]
	if err := r.Take(ctx); err != nil {
		return err
	}
	if err := r.Place(ctx, agent, first); err != nil {
		return err
	}
	s, err := r.GracefulShutdown(ctx, agent, first, second)
	if err != nil {
		return err
	}
	rep.Scenarios = append(rep.Scenarios, s)
	if err := r.AwaitMember(ctx); err != nil {
		return err
	}
	// Guests that did not move cannot show what a crash does to those that did.
	if err := r.settle(ctx, second); err != nil {
		return fmt.Errorf("%w; the scenario before it: %s", err, strings.Join(s.Failures, "; "))
	}
	if s, err = r.Crash(ctx, agent, second, first); err != nil {
		return err
	}
	rep.Scenarios = append(rep.Scenarios, s)
	if err := r.powerOn(ctx, second); err != nil {
		return err
	}
	if err := r.AwaitMember(ctx); err != nil {
		return err
	}
	return r.Remove(ctx, first)
}

// settle waits until all guests are where the next scenario begins.
func (r *Runner) settle(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	return r.awaitAnswers(ctx, node)
}

// MakeGuests makes n guests on the shared storage: a definition and a disk
// each. shared is the storage's folder as this process sees it; the nodes see
// it as /shared. What is there already is kept.
func MakeGuests(ctx context.Context, c *cluster.Cluster, shared string, n int) ([]Guest, error) {
	if err := os.MkdirAll(filepath.Join(shared, "guests"), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the guests: %w", err)
	}
	run := func(ctx context.Context, program string, args ...string) error {
		_, err := c.Run(ctx, c.Nodes[0], program, args...)
		return err
	}
	var guests []Guest
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("vm%d", i)
		address := fmt.Sprintf("10.77.0.%d", 100+i)
		disk := "/shared/guests/" + name + ".qcow2"
		text, err := guest.Domain(guest.DomainSpec{
			Name: name, UUID: fmt.Sprintf("766d6665-7272-4000-9000-%012x", i),
			MAC: fmt.Sprintf("52:54:00:76:6d:%02x", i), Bridge: "br0", IP: address + "/24",
			MemoryMiB: 128, VCPUs: 1, Disk: disk,
			Kernel: "/shared/boot/vmlinuz", Initrd: "/shared/boot/initrd", Type: "qemu",
		})
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(shared, "guests", name+".xml"), []byte(text), 0o644); err != nil {
			return nil, err
		}
		if _, err := os.Stat(filepath.Join(shared, "guests", name+".qcow2")); os.IsNotExist(err) {
			if err := guest.CreateDisk(ctx, run, disk); err != nil {
				return nil, err
			}
		}
		guests = append(guests, Guest{cluster.Guest{Name: name, Config: "/shared/guests/" + name + ".xml"}, address})
	}
	return guests, nil
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
		Pacemaker: first("pacemakerd", "--version"),
		Heartbeat: first("/usr/libexec/heartbeat/heartbeat", "-V"),
		Corosync:  first("corosync", "-v"),
		Kernel:    first("uname", "-r"),
		Cores:     runtime.NumCPU(),
		Accel:     "tcg",
		Started:   time.Now(),
	}
}
