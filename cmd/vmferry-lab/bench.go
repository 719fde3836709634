package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/bench"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/version"
)

// benchOptions are the flags of bench, which are read outside and inside as the demo's are.
type benchOptions struct {
	out     string
	keep    bool
	n       int // 0: as often as each bench wants
	benches []bench.Bench
	goesOn  bool // there is a report, to which results are added
}

func parseBench(args []string) (benchOptions, error) {
	var o benchOptions
	flags := newFlags("bench")
	flags.StringVar(&o.out, "out", filepath.Join("build", "bench"), "")
	flags.BoolVar(&o.keep, "keep", false, "")
	flags.IntVar(&o.n, "n", 0, "")
	flags.BoolVar(&o.goesOn, "goes-on", false, "")
	only := flags.String("only", "", "")
	if err := parse(flags, args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("bench: unexpected argument %q: %w", flags.Arg(0), errUsage)
	}
	if o.n < 0 || o.n > 10000 {
		return o, fmt.Errorf("bench: -n must be 1 to 10000, or 0 for the default of each bench: %w", errUsage)
	}
	var err error
	if o.benches, err = bench.Choose(*only); err != nil {
		return o, fmt.Errorf("bench: %w: %w", err, errUsage)
	}
	o.out, err = filepath.Abs(o.out)
	return o, err
}

// runBench is the command outside. What needs no lab is measured before there is one. Each part adds to the report that
// the one before it has left.
func runBench(ctx context.Context, l *lab.Lab, args []string) error {
	o, err := parseBench(args)
	if err != nil {
		return err
	}
	if err := report.Check(o.out); err != nil {
		return err
	}
	alone, staged := o.parts()
	var failed error
	if len(alone) > 0 {
		rep, err := measureAlone(ctx, l, o, alone)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if len(staged) == 0 {
			return errors.Join(err, rep.WriteTable(os.Stdout))
		}
		failed = err
		args = append(args, "--goes-on")
	}
	for _, shape := range []lab.Shape{lab.Plain, lab.Guard, lab.Mirror} {
		if len(staged[shape]) == 0 {
			continue
		}
		l.Shape = shape
		err := withLab(ctx, l, cluster.QEMU.Name, o.out, o.keep, append([]string{"inside-bench"}, args...))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed = errors.Join(failed, err)
		args = append(args, "--goes-on")
	}
	return failed
}

// parts are the benches that need no lab, and those that need one, by its shape.
func (o benchOptions) parts() (alone []bench.Bench, staged map[lab.Shape][]bench.Bench) {
	staged = map[lab.Shape][]bench.Bench{}
	for _, b := range o.benches {
		shape := lab.Plain
		switch {
		case b.Alone:
			alone = append(alone, b)
			continue
		case b.Guard:
			shape = lab.Guard
		case b.Mirror:
			shape = lab.Mirror
		}
		staged[shape] = append(staged[shape], b)
	}
	return alone, staged
}

// path is where the report goes.
func (o benchOptions) path() string { return filepath.Join(o.out, "report.json") }

// measureAlone runs the benches that need no lab.
func measureAlone(ctx context.Context, l *lab.Lab, o benchOptions, benches []bench.Bench) (*bench.Report, error) {
	rep := &bench.Report{Schema: bench.Schema, Commit: version.Commit(), Environment: report.Environment{
		Kernel: kernel(), Cores: runtime.NumCPU(), Started: time.Now(),
	}}
	// There is a report even if all fail: the lab's part adds to it.
	if err := rep.WriteJSON(o.path()); err != nil {
		return rep, err
	}
	return rep, o.measure(ctx, rep, bench.Stage{Blackout: probe(l)}, benches)
}

// kernel is the release of this machine's kernel, empty where it does not tell.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// probe is the probe program as it was staged.
func probe(l *lab.Lab) string { return filepath.Join(l.Stage, "usr", "bin", "blackout") }

// insideBench is the command inside the lab's namespaces.
func insideBench(ctx context.Context, l *lab.Lab, args []string) error {
	o, err := parseBench(args)
	if err != nil {
		return err
	}
	c, err := clusterOf(ctx, l)
	if err != nil {
		return err
	}
	rep := &bench.Report{Schema: bench.Schema}
	if o.goesOn {
		if rep, err = bench.ReadJSON(o.path()); err != nil {
			return err
		}
	}
	began := rep.Environment.Started
	rep.Commit, rep.Environment = version.Commit(), (&scenario.Runner{Cluster: c}).Environment(ctx)
	if o.goesOn {
		rep.Environment.Started = began
	}
	guests, err := scenario.MakeGuests(ctx, c, supervisor.Shared(l.Dir), 1)
	if err != nil {
		return err
	}
	// There is a report even if all fail: the next part adds to it.
	if err := rep.WriteJSON(o.path()); err != nil {
		return err
	}
	reply, err := c.State(ctx)
	if err != nil {
		return err
	}
	_, staged := o.parts()
	err = o.measure(ctx, rep, bench.Stage{Cluster: c, Guest: guests[0], Shared: supervisor.Shared(l.Dir),
		Blackout: probe(l)}, staged[lab.Shape(reply.Shape)])
	return errors.Join(err, rep.WriteTable(os.Stdout))
}

// measure runs benches and adds what they give to the report, which is written again after each: an
// interrupt loses one bench and not all.
func (o benchOptions) measure(ctx context.Context, rep *bench.Report, stage bench.Stage, benches []bench.Bench) error {
	steps := newSteps(os.Stderr)
	stage.Progress = steps.say
	err := stage.Run(ctx, benches, o.n, func(results []bench.Result) error {
		rep.Add(results)
		rep.Environment.Finished = time.Now()
		return rep.WriteJSON(o.path())
	})
	steps.end()
	return err
}
