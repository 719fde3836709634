package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/cluster"
	"github.com/vmferry/vmferry/lab/report"
	"github.com/vmferry/vmferry/lab/scenario"
	"github.com/vmferry/vmferry/lab/supervisor"
)

// defaultGuests is how many guests `vmferry-lab up` makes.
const defaultGuests = 2

// bootTime bounds how long the cluster may take to come up.
const bootTime = 4 * time.Minute

func up(ctx context.Context, l *lab.Lab, args []string) error {
	flags := newFlags("up")
	flags.StringVar(&l.Hypervisor, "hypervisor", supervisor.QEMU, "")
	flags.StringVar((*string)(&l.Shape), "shape", string(lab.Plain), "")
	if err := parse(flags, args); err != nil {
		return err
	}
	if _, err := lab.NodesOf(l.Shape); err != nil {
		return fmt.Errorf("up: --shape: %w: %w", err, errUsage)
	}
	steps := newSteps(os.Stderr)
	l.Progress = steps.say
	err := l.Up(ctx)
	steps.end()
	if err != nil {
		return err
	}
	if err := l.Enter(ctx, "inside-wait"); err != nil {
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), down(context.WithoutCancel(ctx), l, nil))
		}
		return err
	}
	return nil
}

func down(ctx context.Context, l *lab.Lab, args []string) error {
	if err := parse(newFlags("down"), args); err != nil {
		return err
	}
	steps := newSteps(os.Stderr)
	defer steps.end()
	l.Progress = steps.say
	return l.Down(ctx)
}

func shell(ctx context.Context, l *lab.Lab, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("shell needs a node: %w", errUsage)
	}
	return l.Enter(ctx, append([]string{"inside-shell"}, args...)...)
}

// begin is process 1 of the lab; Lab.Up starts it.
func begin(_ context.Context, l *lab.Lab, _ []string) error {
	return supervisor.Init(l.Self, "supervise")
}

// supervise is the lab itself; begin starts it.
func supervise(ctx context.Context, _ *lab.Lab, _ []string) error {
	var cfg supervisor.Config
	if err := json.NewDecoder(os.Stdin).Decode(&cfg); err != nil {
		return fmt.Errorf("read the supervisor's configuration: %w", err)
	}
	log := logrus.New()
	return supervisor.Run(ctx, cfg, log, func() { log.Info("the lab is up") })
}

// clusterOf is the running lab's cluster, with the hypervisor that its supervisor
// tells.
func clusterOf(ctx context.Context, l *lab.Lab) (*cluster.Cluster, error) {
	c := &cluster.Cluster{Control: supervisor.Control(l.Dir), Addresses: map[string]string{}}
	reply, err := c.State(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := lab.NodesOf(lab.Shape(reply.Shape))
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		c.Nodes = append(c.Nodes, n.Name)
		c.Addresses[n.Name] = n.Address.String()
	}
	c.Exports = lab.Shape(reply.Shape) == lab.Guard
	c.Local = lab.Shape(reply.Shape) == lab.Mirror
	c.Unequal = lab.Shape(reply.Shape) == lab.Field
	c.Hypervisor, err = cluster.HypervisorNamed(reply.Hypervisor)
	return c, err
}

func insideWait(ctx context.Context, l *lab.Lab, _ []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootTime,
		errors.New("it took too long; look at it with `vmferry-lab shell node1 journalctl -b`"))
	defer cancel()
	steps := newSteps(os.Stderr)
	defer steps.end()
	c, err := clusterOf(ctx, l)
	if err != nil {
		return err
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	go watchBoot(ctx, l, c, giveUp)
	if err := c.AwaitOnline(ctx, steps.say); err != nil {
		return err
	}
	if c.Unequal {
		steps.say("making the nodes unequal")
		if err := c.Furnish(ctx); err != nil {
			return err
		}
	}
	// So that there is something to play with: /shared/guests/vm1.xml, ….
	steps.say("making the guests")
	_, err = scenario.MakeGuests(ctx, c, supervisor.Shared(l.Dir), defaultGuests)
	return err
}

// watchBoot gives up as soon as a node that should be booting is down, with
// the last words of its console: there is nothing to wait for.
func watchBoot(ctx context.Context, l *lab.Lab, c *cluster.Cluster, giveUp context.CancelCauseFunc) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		reply, err := c.State(ctx)
		if err != nil {
			continue
		}
		for name, state := range reply.Nodes {
			if !state.Up {
				giveUp(fmt.Errorf("node %q does not boot: %s", name, l.LastWords(name)))
				return
			}
		}
	}
}

func insideShell(ctx context.Context, l *lab.Lab, args []string) error {
	c, err := clusterOf(ctx, l)
	if err != nil {
		return err
	}
	var cmd *exec.Cmd
	if words := args[1:]; len(words) == 0 {
		cmd, err = c.Shell(ctx, args[0])
	} else {
		cmd, err = c.Command(ctx, args[0], words[0], words[1:]...)
	}
	if err != nil {
		return err
	}
	return lab.Attach(cmd)
}

func status(ctx context.Context, l *lab.Lab, args []string) error {
	flags := newFlags("status")
	asJSON := flags.Bool("json", false, "")
	if err := parse(flags, args); err != nil {
		return err
	}
	reply, err := l.Status(ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(os.Stdout).Encode(reply)
	}
	nodes, err := lab.NodesOf(lab.Shape(reply.Shape))
	if err != nil {
		return err
	}
	for _, n := range nodes {
		state := "down"
		if s := reply.Nodes[n.Name]; s.Up {
			state = fmt.Sprintf("up, booted %d×", s.Boots)
		}
		fmt.Printf("%s\t%s\t%s\n", n.Name, n.Address, state)
	}
	return nil
}

// withLab runs a command inside the lab that writes a report to the folder out. It makes the
// lab if there is none, and takes away the lab that it made unless that is to be kept.
// hypervisor is the one that the lab must have; "" is the one that it has. l.Shape is the shape that it must have. The
// command gets the words last where the lab goes down after it.
func withLab(ctx context.Context, l *lab.Lab, hypervisor, out string, keep bool, inside []string,
	last ...string) (err error) {
	shape := cmp.Or(l.Shape, lab.Plain)
	if err := report.Check(out); err != nil {
		return err
	}
	reply, err := l.Status(ctx)
	switch {
	case errors.Is(err, lab.ErrNotUp):
		args := []string{"--hypervisor=" + cmp.Or(hypervisor, supervisor.QEMU), "--shape=" + string(shape)}
		if err := up(ctx, l, args); err != nil {
			return err
		}
		if !keep {
			defer func() { err = errors.Join(err, down(context.WithoutCancel(ctx), l, nil)) }()
			inside = slices.Concat(inside, last)
		}
	case err != nil:
		return err
	case lab.Shape(reply.Shape) != shape:
		return fmt.Errorf("the running lab has the shape %q, and this needs %q: end it with `vmferry-lab down` first",
			reply.Shape, shape)
	case hypervisor != "" && reply.Hypervisor != hypervisor:
		return fmt.Errorf("the running lab uses %s, and this needs %s: end it with `vmferry-lab down` first",
			reply.Hypervisor, hypervisor)
	}
	err = l.Enter(ctx, inside...)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
