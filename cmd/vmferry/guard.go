package main

import (
	"context"
	"flag"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/hbplugin/guard/setup"
	"github.com/vmferry/vmferry/hbplugin/guard/timing"
	"github.com/vmferry/vmferry/hbplugin/inventory"
)

// guardFlags are the flags of the command guard.
type guardFlags struct {
	device, cluster           string
	yes                       bool
	times                     timing.Times
	token, deadtime, watchdog time.Duration
	last                      int
}

// guardVerb is one of the commands that follow "vmferry guard".
type guardVerb struct {
	name  string
	flags []func(o *guardFlags, f *flag.FlagSet)
	want  []string
	do    func(ctx context.Context, c *call, o *guardFlags, rest []string) error
}

var guardVerbs = []guardVerb{
	{"init", []func(*guardFlags, *flag.FlagSet){deviceFlags, timeFlags}, []string{"[NODE,NODE...]"}, guardInit},
	{"confirm", []func(*guardFlags, *flag.FlagSet){yesFlag}, []string{"NODE"}, guardConfirm},
	{"status", nil, nil, guardStatus},
	{"check", nil, nil, guardCheck},
	{"times", []func(*guardFlags, *flag.FlagSet){timeFlags, managerFlags}, nil, guardTimes},
	{"log", []func(*guardFlags, *flag.FlagSet){logFlags}, nil, guardLog},
}

func deviceFlags(o *guardFlags, f *flag.FlagSet) {
	f.StringVar(&o.device, "device", "", "")
	f.StringVar(&o.cluster, "cluster", "", "")
	yesFlag(o, f)
}

func yesFlag(o *guardFlags, f *flag.FlagSet) { f.BoolVar(&o.yes, "yes", false, "") }

// durations are the times of a lease device that have a flag.
func durations(t *timing.Times) map[string]*time.Duration {
	return map[string]*time.Duration{"renew": &t.Renew, "self-kill": &t.SelfKill, "kill": &t.Kill, "poll": &t.Poll,
		"margin": &t.Margin, "move": &t.Move, "revoke": &t.Revoke}
}

func timeFlags(o *guardFlags, f *flag.FlagSet) {
	for name, value := range durations(&o.times) {
		f.DurationVar(value, name, *value, "")
	}
}

func managerFlags(o *guardFlags, f *flag.FlagSet) {
	f.DurationVar(&o.token, "token", 0, "")
	f.DurationVar(&o.deadtime, "deadtime", 0, "")
	f.DurationVar(&o.watchdog, "watchdog", 0, "")
}

func logFlags(o *guardFlags, f *flag.FlagSet) { f.IntVar(&o.last, "n", 20, "") }

// guardNode does what follows "vmferry guard".
func guardNode(ctx context.Context, c *call, args []string) error {
	o := &guardFlags{times: timing.Default}
	if len(args) > 0 && slices.Contains([]string{"help", "--help", "-help", "-h"}, args[0]) {
		for _, add := range []func(*guardFlags, *flag.FlagSet){deviceFlags, timeFlags, managerFlags, logFlags} {
			add(o, c.flags)
		}
		_, _, err := c.begin([]string{"--help"})
		return err
	}
	const which = "type vmferry guard init, confirm, status, check, times or log"
	if len(args) == 0 {
		return misuse("guard: no command is named: %s", which)
	}
	i := slices.IndexFunc(guardVerbs, func(v guardVerb) bool { return v.name == args[0] })
	switch {
	case i < 0 && strings.HasPrefix(args[0], "-"):
		return misuse("guard: the command comes before the flags: %s", which)
	case i < 0:
		return misuse("guard: unknown command %q: %s", args[0], which)
	}
	v := guardVerbs[i]
	c.name = "guard " + v.name
	for _, add := range v.flags {
		add(o, c.flags)
	}
	rest, done, err := c.begin(args[1:], v.want...)
	if done {
		return err
	}
	return v.do(ctx, c, o, rest)
}

// guardSources are who is asked about the guard of this node.
func (c *call) guardSources(running []inventory.Manager) setup.Sources {
	return setup.Sources{Path: c.path, Run: c.run, Unit: c.units.Unit, Managers: running, Agents: c.config.Agents,
		Node: c.config.Node}
}

// guardObserved is what there is to know about the guard of this node.
func (c *call) guardObserved(ctx context.Context) setup.Observed {
	return c.guardSources(inventory.Managers(ctx, c.candidates())).Observe(ctx)
}
