package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/vmferry/vmferry/cmd/completion"
)

// options are what a fence agent is called with: "name=value" lines on standard input, or arguments.
type options struct {
	action  string
	node    string
	socket  string
	timeout time.Duration // 0: as long as the caller waits
	verbose bool
}

// parameter is one that the agent knows.
type parameter struct {
	names []string // on standard input; the first is the one of the meta-data
	short string   // the letter of the argument, empty: none
	flag  bool     // it has no value as an argument
	set   func(o *options, value string) error
}

var parameters = []parameter{
	{[]string{"action", "option"}, "o", false, func(o *options, v string) error { o.action = v; return nil }},
	{[]string{"plug", "port", "nodename"}, "n", false, func(o *options, v string) error { o.node = v; return nil }},
	{[]string{"socket"}, "", false, func(o *options, v string) error { o.socket = v; return nil }},
	{[]string{"power_timeout"}, "", false, setTimeout},
	{[]string{"verbose", "debug"}, "v", true,
		func(o *options, v string) error { o.verbose = v != "" && v != "0"; return nil }},
}

func setTimeout(o *options, value string) error {
	d, err := time.ParseDuration(strings.TrimSuffix(value, "s") + "s")
	if err != nil || d <= 0 {
		return fmt.Errorf("power_timeout=%q: give a number of seconds", value)
	}
	o.timeout = d
	return nil
}

// actions are the actions, as the completion offers them.
const actions = "off reboot on status monitor list list-status metadata validate-all"

func bashCompletion() string {
	flags := flag.NewFlagSet("fence_vmferry", flag.ContinueOnError)
	for _, p := range parameters {
		name := strings.ReplaceAll(p.names[0], "_", "-")
		if p.flag {
			flags.Bool(name, false, "")
		} else {
			flags.String(name, "", "")
		}
	}
	return completion.Program{Name: "fence_vmferry", Verbs: []completion.Verb{{Flags: flags}},
		Values: map[string]string{"action": actions, "socket": completion.Files}}.Bash()
}

// readOptions reads standard input. Parameters that it does not know are left out, as each fence agent has to: the
// cluster manager hands over all that it has, its own too. One without a value is not set.
func readOptions(in io.Reader) (o options, err error) {
	lines := bufio.NewScanner(io.LimitReader(in, 64<<10))
	for lines.Scan() {
		name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if !ok || value == "" || strings.HasPrefix(name, "#") {
			continue
		}
		i := slices.IndexFunc(parameters, func(p parameter) bool { return slices.Contains(p.names, name) })
		// Pacemaker gives both, and port is what the administrator says
		if i < 0 || name == "nodename" && o.node != "" {
			continue
		}
		if err := parameters[i].set(&o, value); err != nil {
			return o, err
		}
	}
	return o, lines.Err()
}

// argumentOptions reads the command line: -o off -n beta, --action=off, --plug beta.
func argumentOptions(args []string) (o options, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, value, joined := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		i := slices.IndexFunc(parameters, func(p parameter) bool {
			return strings.HasPrefix(arg, "--") && slices.Contains(p.names, strings.ReplaceAll(name, "-", "_")) ||
				p.short != "" && arg == "-"+p.short
		})
		if i < 0 {
			return o, fmt.Errorf("unknown argument %q: type fence_vmferry --help", arg)
		}
		switch {
		case parameters[i].flag:
			value = "1"
		case !joined && len(args) == 0:
			return o, fmt.Errorf("%s needs a value: type fence_vmferry --help", arg)
		case !joined:
			value, args = args[0], args[1:]
		}
		if err := parameters[i].set(&o, value); err != nil {
			return o, err
		}
	}
	return o, nil
}
