package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/version"
)

// demoOptions are the flags of the demo. The command outside the lab's
// namespaces reads them, and passes its words on to the one inside.
type demoOptions struct {
	out        string
	keep       bool
	leave      bool
	guests     int // 0 for the usual number
	interval   time.Duration
	hypervisor string // "" is that of the lab that is up, or QEMU
	agents     string
	managers   string
	scenarios  string
	rounds     int
}

func parseDemo(args []string) (demoOptions, error) {
	var o demoOptions
	flags := newFlags("demo")
	flags.StringVar(&o.out, "out", filepath.Join("build", "demo"), "")
	flags.BoolVar(&o.keep, "keep", false, "")
	flags.BoolVar(&o.leave, "leave", false, "")
	flags.IntVar(&o.guests, "guests", 0, "")
	flags.DurationVar(&o.interval, "interval", 0, "")
	flags.StringVar(&o.hypervisor, "hypervisor", "", "")
	flags.StringVar(&o.agents, "agent", "", "")
	flags.StringVar(&o.managers, "manager", "", "")
	flags.StringVar(&o.scenarios, "scenario", "", "")
	flags.IntVar(&o.rounds, "rounds", 1, "")
	if err := parse(flags, args); err != nil {
		return o, err
	}
	return o, o.check(flags)
}

func (o *demoOptions) check(flags *flag.FlagSet) error {
	if flags.NArg() > 0 {
		return fmt.Errorf("demo: unexpected argument %q: %w", flags.Arg(0), errUsage)
	}
	if isSet(flags, "guests") && (o.guests < 1 || o.guests > lab.MaxGuests) {
		return fmt.Errorf("demo: --guests must be 1 to %d: %w", lab.MaxGuests, errUsage)
	}
	if o.rounds < 1 || o.rounds > 100 {
		return fmt.Errorf("demo: --rounds must be 1 to 100: %w", errUsage)
	}
	if o.interval != 0 && o.interval < time.Millisecond || o.interval > time.Second {
		return fmt.Errorf("demo: --interval must be 1ms to 1s: %w", errUsage)
	}
	if o.hypervisor != "" {
		if _, err := cluster.HypervisorNamed(o.hypervisor); err != nil {
			return fmt.Errorf("demo: --hypervisor: %w: %w", err, errUsage)
		}
	}
	if err := o.checkAgent(); err != nil {
		return err
	}
	if err := o.checkScenario(flags); err != nil {
		return err
	}
	var err error
	o.out, err = filepath.Abs(o.out)
	return err
}

// guardScenes are the scenarios of nodes without a power switch, in the order in which they are run.
var guardScenes = []string{report.SplitBrain, report.Hang}

// mirrorScenes are the scenarios of nodes that share no disk, which are all run or none: each needs what the one before it
// leaves.
const mirrorScenes = "mirror"

// checkScenario checks which scenario is wanted. Those of nodes without a power switch, or without a shared disk, are always
// run in the same way.
func (o *demoOptions) checkScenario(flags *flag.FlagSet) error {
	if !slices.Contains(append([]string{"", report.GracefulShutdown, mirrorScenes}, guardScenes...), o.scenarios) {
		return fmt.Errorf("demo: --scenario must be %s, %s, %s or %s: %w", report.GracefulShutdown, report.SplitBrain,
			report.Hang, mirrorScenes, errUsage)
	}
	if o.scenarios != "" && o.scenarios != report.GracefulShutdown {
		for _, name := range []string{"agent", "manager", "guests", "rounds", "hypervisor"} {
			if isSet(flags, name) {
				return fmt.Errorf("demo: --%s does not go with --scenario %s: %w", name, o.scenarios, errUsage)
			}
		}
	}
	return nil
}

// shapes are the labs in which the demo runs, one after the other. running is the shape of the lab that is up, "" where
// there is none: then one is made for each.
func (o demoOptions) shapes(running lab.Shape) []lab.Shape {
	other := o.scenarios != "" || o.agents != "" || o.managers != "" || o.hypervisor == cluster.Xen.Name
	switch {
	case slices.Contains(guardScenes, o.scenarios), running == lab.Guard && !other:
		return []lab.Shape{lab.Guard}
	case o.scenarios == mirrorScenes, running == lab.Mirror && !other:
		return []lab.Shape{lab.Mirror}
	case other, running != "", o.keep: // of several labs none could be kept
		return []lab.Shape{lab.Plain}
	}
	return []lab.Shape{lab.Plain, lab.Guard, lab.Mirror}
}

// isSet reports whether a flag was given.
func isSet(flags *flag.FlagSet, name string) bool {
	set := false
	flags.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// checkAgent checks who is to run the guests. Which peer there is depends on the
// hypervisor, which only a running lab can tell.
func (o *demoOptions) checkAgent() error {
	if !slices.Contains([]string{"", report.Ours, cluster.QEMU.Peer.Type, cluster.Xen.Peer.Type}, o.agents) {
		return fmt.Errorf("demo: --agent must be %s, %s or %s: %w", report.Ours, cluster.QEMU.Peer.Type,
			cluster.Xen.Peer.Type, errUsage)
	}
	if !slices.Contains([]string{"", cluster.PacemakerName, cluster.HeartbeatName}, o.managers) {
		return fmt.Errorf("demo: --manager must be %s or %s: %w", cluster.PacemakerName, cluster.HeartbeatName,
			errUsage)
	}
	if o.managers == cluster.HeartbeatName && o.agents != "" && o.agents != report.Ours {
		return fmt.Errorf("demo: agent %s does not work with %s, only %s does: %w", o.agents, cluster.HeartbeatName,
			report.Ours, errUsage)
	}
	return nil
}

// demo is the command outside.
func demo(ctx context.Context, l *lab.Lab, args []string) error {
	o, err := parseDemo(args)
	if err != nil {
		return err
	}
	var running lab.Shape
	switch reply, err := l.Status(ctx); {
	case err == nil:
		running = lab.Shape(reply.Shape)
	case !errors.Is(err, lab.ErrNotUp):
		return err
	}
	var failed error
	for _, l.Shape = range o.shapes(running) {
		err := withLab(ctx, l, o.hypervisor, o.out, o.keep, append([]string{"inside-demo"}, args...), "--leave")
		if ctx.Err() != nil {
			return ctx.Err()
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// insideDemo is the command inside the lab's namespaces.
func insideDemo(ctx context.Context, l *lab.Lab, args []string) error {
	o, err := parseDemo(args)
	if err != nil {
		return err
	}
	c, err := clusterOf(ctx, l)
	if err != nil {
		return err
	}
	if c.Exports {
		o.guests = len(lab.Nodes) // one a node
	}
	steps := newSteps(os.Stderr)
	r, err := runner(ctx, l, o, steps.say)
	if err != nil {
		steps.end()
		return err
	}
	rep := &report.Report{Commit: version.Commit(), Environment: r.Environment(ctx)}
	name, scenes := "report", func(ctx context.Context) error { return o.agentScenes(ctx, r, rep) }
	switch {
	case c.Exports:
		name, scenes = "guard", func(ctx context.Context) error { return o.guardScenes(ctx, l, r, rep) }
	case c.Local:
		name, scenes = "mirror", func(ctx context.Context) error { return r.Mirrored(ctx, l.Dir, o.leave, rep) }
	}
	err = r.Run(ctx, scenes)
	steps.end()
	rep.Environment.Finished = time.Now()
	if len(rep.Scenarios) > 0 {
		err = errors.Join(err, show(rep, filepath.Join(o.out, name)))
	}
	if err != nil {
		return err
	}
	return verdict(rep)
}

// guardScenes runs the scenarios of nodes without a power switch. A lab that stays is left without guests.
func (o demoOptions) guardScenes(ctx context.Context, l *lab.Lab, r *scenario.Runner, rep *report.Report) error {
	names := guardScenes
	if o.scenarios != "" {
		names = []string{o.scenarios}
	}
	if err := r.Guarded(ctx, supervisor.Shared(l.Dir), names, rep); err != nil || o.leave {
		return err
	}
	if err := r.Take(ctx); err != nil { // the node that was last to fail may not be back yet
		return err
	}
	return r.Remove(ctx, r.Cluster.Nodes[0])
}

// agentScenes runs the scenarios that compare agents.
func (o demoOptions) agentScenes(ctx context.Context, r *scenario.Runner, rep *report.Report) error {
	// It is shown beside the agents that are compared.
	if o.agents == "" && o.managers == "" {
		if err := r.Alone(ctx, rep); err != nil {
			return err
		}
	}
	turns := slices.Repeat(o.round(r.Cluster.Managers()), o.rounds)
	for i, turn := range turns {
		r.Manager = turn.manager
		extent := scenario.Extent{Calmly: o.scenarios == report.GracefulShutdown, Leave: o.leave && i == len(turns)-1}
		if err := r.Both(ctx, turn.agent, extent, rep); err != nil {
			return err
		}
	}
	if len(rep.Scenarios) == 0 {
		return fmt.Errorf("demo: agent %s does not work with %s: %w", o.agents, r.Cluster.Hypervisor.Name, errUsage)
	}
	if o.leave {
		return nil
	}
	// A lab that stays is left as `vmferry-lab up` leaves it.
	r.Manager = nil
	return r.Take(ctx)
}

// turn is a manager and an agent of its for both scenarios.
type turn struct {
	manager cluster.Manager
	agent   cluster.Agent
}

// round has each manager and agent once, one after the other, so that what changes on the machine
// with time changes for all.
func (o demoOptions) round(managers []cluster.Manager) []turn {
	var turns []turn
	for _, manager := range managers {
		if o.managers != "" && o.managers != manager.Name() {
			continue
		}
		for _, agent := range manager.Agents() {
			if o.agents == "" || o.agents == scenario.Label(agent) {
				turns = append(turns, turn{manager, agent})
			}
		}
	}
	return turns
}

// runner prepares the guests that the scenarios use.
func runner(ctx context.Context, l *lab.Lab, o demoOptions, say func(string)) (*scenario.Runner, error) {
	c, err := clusterOf(ctx, l)
	if err != nil {
		return nil, err
	}
	say("making the guests' disks")
	var guests []scenario.Guest
	if c.Local {
		guests, err = scenario.MakeMirrored(ctx, c, supervisor.Shared(l.Dir))
	} else {
		guests, err = scenario.MakeGuests(ctx, c, supervisor.Shared(l.Dir), cmp.Or(o.guests, scenario.UsualGuests(c)))
	}
	if err != nil {
		return nil, err
	}
	scratch := filepath.Join(supervisor.Shared(l.Dir), "probes")
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, err
	}
	return &scenario.Runner{
		Cluster: c, Guests: guests, Interval: o.interval, Progress: say,
		Blackout: filepath.Join(l.Stage, "usr/bin/blackout"), Scratch: scratch,
	}, nil
}

// show writes the report's files, whose names begin with base, and prints its table.
func show(rep *report.Report, base string) error {
	page := base + ".html"
	err := errors.Join(rep.WriteJSON(base+".json"), rep.WriteHTML(page), rep.WriteTable(os.Stdout))
	if err == nil {
		fmt.Fprintln(os.Stderr, "the page with the plots:", page)
	}
	return err
}

// verdict is an error when vmferry did not do what it promises. What became of
// the peer is in the report, for everyone to see.
func verdict(rep *report.Report) error {
	for _, s := range rep.Scenarios {
		if s.Agent == report.Ours && !s.Passed {
			return fmt.Errorf("scenario %q failed with %s on %s: %s", s.Name, s.Agent, s.Manager, s.Failures[0])
		}
	}
	return nil
}
