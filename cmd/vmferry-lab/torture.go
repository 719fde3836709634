package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/timing"
	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/node"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/lab/torture"
	"github.com/vmferry/vmferry/lab/torture/nodes"
	"github.com/vmferry/vmferry/migrate/version"
)

// maxFaults is more than a lab lives for.
const maxFaults = 100000

// tortureOptions are the flags of torture, which are read outside and inside as the demo's are.
type tortureOptions struct {
	request torture.Request
	only    string
	guests  int
	out     string
	plan    bool
	json    bool
	keep    bool
	resume  bool // continue the run whose report is in out
}

func parseTorture(args []string) (tortureOptions, error) {
	var o tortureOptions
	flags := newFlags("torture")
	flags.IntVar(&o.request.Faults, "faults", 20, "")
	flags.Uint64Var(&o.request.Seed, "seed", 1, "")
	flags.IntVar(&o.request.First, "first", 1, "")
	flags.StringVar(&o.only, "only", "", "")
	flags.IntVar(&o.guests, "guests", defaultGuests, "")
	flags.StringVar(&o.out, "out", filepath.Join("build", "torture"), "")
	flags.BoolVar(&o.plan, "plan", false, "")
	flags.BoolVar(&o.json, "json", false, "")
	flags.BoolVar(&o.keep, "keep", false, "")
	flags.BoolVar(&o.resume, "resume", false, "")
	if err := parse(flags, args); err != nil {
		return o, err
	}
	if o.resume && o.request.First != 1 {
		return o, fmt.Errorf("torture: --resume knows the first fault: give no --first: %w", errUsage)
	}
	for _, number := range []struct {
		flag        string
		value, most int
	}{
		{"faults", o.request.Faults, maxFaults}, {"first", o.request.First, maxFaults},
		{"guests", o.guests, lab.MaxGuests},
	} {
		if number.value < 1 || number.value > number.most {
			return o, fmt.Errorf("torture: --%s must be 1 to %d: %w", number.flag, number.most, errUsage)
		}
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("torture: unexpected argument %q: %w", flags.Arg(0), errUsage)
	}
	var err error
	if o.request.Only, err = torture.ParseKinds(o.only); err != nil {
		return o, fmt.Errorf("torture: --only: %w: %w", err, errUsage)
	}
	for _, n := range lab.Nodes {
		o.request.Nodes = append(o.request.Nodes, n.Name)
	}
	o.out, err = filepath.Abs(o.out)
	return o, err
}

// report is the one that the run fills: a new one, or that of the run that it continues, whose faults are then left out
// of the request.
func (o *tortureOptions) report() (*torture.Report, error) {
	fresh := &torture.Report{Seed: o.request.Seed, Kinds: o.request.Only, Guests: o.guests, Commit: version.Commit()}
	if !o.resume {
		return fresh, nil
	}
	path := filepath.Join(o.out, "report.json")
	r, err := torture.ReadReport(path)
	if err != nil {
		return nil, fmt.Errorf("torture: --resume: %w", err)
	}
	if err := r.Continues(o.request.Seed, o.request.Only, o.guests, o.request.Faults); err != nil {
		return nil, fmt.Errorf("torture: %s cannot be continued: %w: give its own --seed, --only and --guests, and more "+
			"--faults, or another --out", path, err)
	}
	o.request.First, o.request.Faults, r.Commit = r.Next, o.request.Faults-r.Next+1, fresh.Commit
	return r, nil
}

// replay is the command that carries some of the faults out again.
func (o tortureOptions) replay(first, faults int) string {
	words := []string{"vmferry-lab torture",
		fmt.Sprintf("--seed %d --first %d --faults %d", o.request.Seed, first, faults)}
	if o.only != "" {
		words = append(words, "--only "+o.only)
	}
	if o.guests != defaultGuests {
		words = append(words, fmt.Sprintf("--guests %d", o.guests))
	}
	return strings.Join(words, " ")
}

// guardBounds are those of the lab's guard. The start of the guests is measured with their boot.
func guardBounds() timing.Bounds {
	return guarded.Times.Bounds(timing.Pacemaker(node.Containers.Token, 0, 0), 0, true)
}

// runTorture is the command outside.
func runTorture(ctx context.Context, l *lab.Lab, args []string) error {
	o, err := parseTorture(args)
	if err != nil {
		return err
	}
	if _, err := o.report(); err != nil {
		return err
	}
	if o.plan {
		plan, err := torture.Plan(o.request)
		if err != nil {
			return err
		}
		fmt.Println("bounds are without the time that guests take to boot, which is measured before the first fault")
		return torture.WritePlan(os.Stdout, plan, nodes.Limits(guardBounds(), 0))
	}
	l.Shape = lab.Guard
	return withLab(ctx, l, cluster.QEMU.Name, o.out, o.keep, append([]string{"inside-torture"}, args...))
}

// insideTorture is the command inside the lab's namespaces.
func insideTorture(ctx context.Context, l *lab.Lab, args []string) error {
	o, err := parseTorture(args)
	if err != nil {
		return err
	}
	report, err := o.report()
	if err != nil {
		return err
	}
	plan, err := torture.Plan(o.request)
	if err != nil {
		return err
	}
	begun := time.Now()
	say := func(line string) { fmt.Fprintf(os.Stderr, "%5.0f s  %s\n", time.Since(begun).Seconds(), line) }
	world, err := tortured(ctx, l, o, say)
	if err != nil {
		return err
	}
	err = world.Runner.Run(ctx, func(ctx context.Context) error {
		return torture.Runner{World: world, Plan: plan, Out: o.out, Progress: say, Replay: o.replay}.Run(ctx, report)
	})
	// What was done before an interrupt counts, too.
	err = errors.Join(err, report.WriteText(os.Stdout))
	if o.json {
		err = errors.Join(err, json.NewEncoder(os.Stdout).Encode(report))
	}
	return cmp.Or(err, report.Err())
}

// tortured is the running lab as torture needs it: with guests that keep a ledger.
func tortured(ctx context.Context, l *lab.Lab, o tortureOptions, say func(string)) (*nodes.World, error) {
	c, err := clusterOf(ctx, l)
	if err != nil {
		return nil, err
	}
	shared := supervisor.Shared(l.Dir)
	kind := scenario.Kind{Name: "vm", First: 1, MemoryMiB: 128, Ledger: true}
	guests, err := kind.Make(ctx, c, shared, o.guests)
	if err != nil {
		return nil, err
	}
	addresses := map[torture.Way][]string{}
	for _, a := range guarded.Gateways {
		addresses[torture.Gateway] = append(addresses[torture.Gateway], a.String())
	}
	for _, n := range lab.Nodes {
		addresses[torture.Storage] = append(addresses[torture.Storage], guarded.StorageAddress(n).String())
	}
	return &nodes.World{
		Runner: &scenario.Runner{Cluster: c, Guests: guests, Progress: say}, Bounds: guardBounds(),
		Addresses: addresses,
		Image:     func(guest string) string { return filepath.Join(shared, "disks", guest+".raw") },
	}, nil
}
