package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/guarded"
	"github.com/vmferry/vmferry/lab/partition"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/atomicfile"
)

// partitionOptions are the flags of the partition matrix.
type partitionOptions struct {
	out     string
	only    string // names of cuts; "": all of them
	manager string
	keep    bool
}

func parsePartition(args []string) (o partitionOptions, err error) {
	flags := newFlags("partition")
	flags.StringVar(&o.out, "out", filepath.Join("build", "partition"), "")
	flags.StringVar(&o.only, "only", "", "")
	flags.StringVar(&o.manager, "manager", cluster.PacemakerName, "")
	flags.BoolVar(&o.keep, "keep", false, "")
	if err := parse(flags, args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("partition: unexpected argument %q: %w", flags.Arg(0), errUsage)
	}
	if !slices.Contains([]string{cluster.PacemakerName, cluster.HeartbeatName}, o.manager) {
		return o, fmt.Errorf("partition: --manager must be %s or %s: %w", cluster.PacemakerName, cluster.HeartbeatName,
			errUsage)
	}
	if _, err := o.cuts(); err != nil {
		return o, err
	}
	o.out, err = filepath.Abs(o.out)
	return o, err
}

// cuts are those that are requested. "short" is those of the short share.
func (o partitionOptions) cuts() (chosen []partition.Cut, err error) {
	names := strings.Split(o.only, ";")
	for _, c := range partition.CutsUnder(o.manager) {
		if o.only == "" || slices.Contains(names, c.Name) || o.only == "short" && c.Short {
			chosen = append(chosen, c)
		}
	}
	if o.only != "short" && o.only != "" && len(chosen) != len(names) {
		return nil, fmt.Errorf("partition: --only %q names a cut that is not made under %s: %w", o.only, o.manager, errUsage)
	}
	return chosen, nil
}

// runPartition is the command outside.
func runPartition(ctx context.Context, l *lab.Lab, args []string) error {
	o, err := parsePartition(args)
	if err != nil {
		return err
	}
	l.Shape = lab.Guard
	return withLab(ctx, l, cluster.QEMU.Name, o.out, o.keep, append([]string{"inside-partition"}, args...))
}

// insidePartition is the command inside the lab's namespaces.
func insidePartition(ctx context.Context, l *lab.Lab, args []string) error {
	o, err := parsePartition(args)
	if err != nil {
		return err
	}
	steps := newSteps(os.Stderr)
	defer steps.end()
	r, err := runner(ctx, l, demoOptions{guests: len(lab.Nodes)}, steps.say)
	if err != nil {
		return err
	}
	if o.manager == cluster.HeartbeatName {
		r.Manager = cluster.Heartbeat{Cluster: r.Cluster}
	}
	m := &partition.Matrix{Runner: r, Lease: guarded.Lease(supervisor.Shared(l.Dir))}
	var results []partition.Result
	err = r.Run(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return m.Watch(ctx) })
		group.Go(func() error {
			defer cancel()
			var err error
			results, err = m.All(ctx, o.mustCuts())
			return err
		})
		return group.Wait()
	})
	return errors.Join(err, showPartition(o.file(), results))
}

// file is where the results are written: each manager has its own.
func (o partitionOptions) file() string {
	if o.manager == cluster.HeartbeatName {
		return filepath.Join(o.out, "partition-heartbeat.json")
	}
	return filepath.Join(o.out, "partition.json")
}

func (o partitionOptions) mustCuts() []partition.Cut {
	cuts, _ := o.cuts() // parsePartition has asked
	return cuts
}

// showPartition writes the results, and fails where something was seen that must not be.
func showPartition(file string, results []partition.Result) error {
	text, err := json.MarshalIndent(results, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = atomicfile.Bytes(file, append(text, '\n'), 0o644)
	}
	err = errors.Join(err, partition.WriteTable(os.Stdout, results))
	for _, r := range results {
		if len(r.Failures) > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %s", r.Cut, strings.Join(r.Failures, "; ")))
		}
	}
	return err
}
