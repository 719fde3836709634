package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/bench"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
)

// benchOptions are the flags of bench, which are read outside and inside as the demo's are.
type benchOptions struct {
	out     string
	keep    bool
	n       int
	benches []bench.Bench
}

func parseBench(args []string) (benchOptions, error) {
	var o benchOptions
	flags := newFlags("bench")
	flags.StringVar(&o.out, "out", filepath.Join("build", "bench"), "")
	flags.BoolVar(&o.keep, "keep", false, "")
	flags.IntVar(&o.n, "n", 200, "")
	only := flags.String("only", "", "")
	if err := parse(flags, args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("bench: what is %q?: %w", flags.Arg(0), errUsage)
	}
	if o.n < 1 || o.n > 10000 {
		return o, fmt.Errorf("bench: -n is a number from 1 to 10000: %w", errUsage)
	}
	var err error
	if o.benches, err = bench.Choose(*only); err != nil {
		return o, fmt.Errorf("bench: %w: %w", err, errUsage)
	}
	o.out, err = filepath.Abs(o.out)
	return o, err
}

// runBench is the command outside.
func runBench(ctx context.Context, l *lab.Lab, args []string) error {
	o, err := parseBench(args)
	if err != nil {
		return err
	}
	return withLab(ctx, l, o.out, o.keep, append([]string{"inside-bench"}, args...))
}

// insideBench is the command inside the lab's namespaces.
func insideBench(ctx context.Context, l *lab.Lab, args []string) error {
	o, err := parseBench(args)
	if err != nil {
		return err
	}
	steps := newSteps(os.Stderr)
	rep, err := measure(ctx, l, o, steps.say)
	steps.end()
	if err != nil {
		return err
	}
	return errors.Join(rep.WriteJSON(filepath.Join(o.out, "report.json")), rep.WriteTable(os.Stdout))
}

func measure(ctx context.Context, l *lab.Lab, o benchOptions, say func(string)) (*bench.Report, error) {
	c := clusterOf(l)
	guests, err := scenario.MakeGuests(ctx, c, supervisor.Shared(l.Dir), 1)
	if err != nil {
		return nil, err
	}
	rep := &bench.Report{Schema: bench.Schema, Commit: commit(), Environment: (&scenario.Runner{Cluster: c}).Environment(ctx)}
	stage := &bench.Stage{Cluster: c, Guest: guests[0], N: o.n, Progress: say}
	for _, b := range o.benches {
		results, err := b.Run(ctx, stage)
		if err != nil {
			return nil, err
		}
		rep.Results = append(rep.Results, results...)
	}
	rep.Environment.Finished = time.Now()
	return rep, nil
}
