package fence

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vmferry/vmferry/lab/supervisor"
	"github.com/vmferry/vmferry/migrate/wait"
)

// limit bounds one action: a killed node is gone in well under a second.
const limit = 25 * time.Second

const metadata = `<?xml version="1.0" ?>
<resource-agent name="fence_lab" shortdesc="Power switch of the vmferry lab">
<longdesc>Kills and boots nodes of a vmferry lab.</longdesc>
<vendor-url></vendor-url>
<parameters>
	<parameter name="action" unique="0" required="1">
		<getopt mixed="-o, --action=[action]"/>
		<content type="string" default="reboot"/>
		<shortdesc lang="en">Fencing action</shortdesc>
	</parameter>
	<parameter name="plug" unique="0" required="0">
		<getopt mixed="-n, --plug=[name]"/>
		<content type="string"/>
		<shortdesc lang="en">Name of the node</shortdesc>
	</parameter>
	<parameter name="msgwait" unique="0" required="0">
		<content type="second" default="0"/>
		<shortdesc lang="en">Seconds after which "off" and "reboot" answer at the earliest, as with SBD</shortdesc>
	</parameter>
</parameters>
<actions>
	<action name="on" automatic="0"/>
	<action name="off"/>
	<action name="reboot"/>
	<action name="status"/>
	<action name="monitor"/>
	<action name="list"/>
	<action name="metadata"/>
</actions>
</resource-agent>
`

// Exit codes of the fence agent API.
const (
	exitOK  = 0
	exitBad = 1
	exitOff = 2 // of the status action: the node is off
)

// options are what Pacemaker asks for.
type options struct {
	action, plug string
	msgwait      time.Duration // from the call until its answer, at least: SBD's, which cannot see that a node is gone
}

// Main carries out one call and returns the exit code. dir is the node's folder of
// the lab, which says where the power switch is; args are the command line without
// the program's name.
func Main(ctx context.Context, dir string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	opts, err := parse(args, stdin)
	if err != nil {
		fmt.Fprintln(stderr, "fence_lab:", err)
		return exitBad
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	code, err := act(ctx, powerSwitch(dir), opts, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "fence_lab:", err)
	}
	return code
}

// powerSwitch is the address of the power switch: a container has its socket in
// the folder, a machine has there a file that says where it is.
func powerSwitch(dir string) string {
	if text, err := os.ReadFile(filepath.Join(dir, "switch")); err == nil {
		return strings.TrimSpace(string(text))
	}
	return filepath.Join(dir, supervisor.Switch)
}

// parse reads `-o action` and `-n plug` from the command line or, without
// any, name=value lines from standard input; unknown names are for others.
func parse(args []string, stdin io.Reader) (options, error) {
	opts := options{action: "reboot"}
	for i := 0; i+1 < len(args); i += 2 {
		if err := opts.set(map[string]string{"-o": "action", "-n": "plug"}[args[i]], args[i+1]); err != nil {
			return opts, err
		}
	}
	if len(args) > 0 {
		return opts, nil
	}
	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		if name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "="); ok {
			if err := opts.set(name, value); err != nil {
				return opts, err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return opts, fmt.Errorf("read the options: %w", err)
	}
	return opts, nil
}

func (o *options) set(name, value string) error {
	switch name {
	case "action":
		o.action = value
	case "plug", "port":
		o.plug = value
	case "msgwait":
		seconds, err := strconv.ParseUint(value, 10, 8)
		if err != nil {
			return fmt.Errorf("msgwait=%q: give a number of seconds", value)
		}
		o.msgwait = time.Duration(seconds) * time.Second
	}
	return nil
}

func act(ctx context.Context, address string, opts options, stdout io.Writer) (int, error) {
	called := time.Now()
	switch opts.action {
	case "metadata":
		_, err := io.WriteString(stdout, metadata)
		return exitOK, err
	case "on", "off", "reboot":
		if opts.plug == "" {
			return exitBad, fmt.Errorf("action %q needs a node: plug=NAME", opts.action)
		}
		if _, err := supervisor.Ask(ctx, address,
			supervisor.Request{Op: supervisor.Op(opts.action), Node: opts.plug}); err != nil {
			return exitBad, err
		}
		if opts.action != "on" {
			if err := wait.For(ctx, time.Until(called.Add(opts.msgwait))); err != nil {
				return exitBad, err
			}
		}
		return exitOK, nil
	case "status", "monitor", "list":
		return inspect(ctx, address, opts, stdout)
	}
	return exitBad, fmt.Errorf("unknown action %q", opts.action)
}

// inspect answers the actions that change nothing.
func inspect(ctx context.Context, address string, opts options, stdout io.Writer) (int, error) {
	reply, err := supervisor.Ask(ctx, address, supervisor.Request{Op: supervisor.OpStatus})
	if err != nil {
		return exitBad, err
	}
	if opts.action == "list" {
		for name := range reply.Nodes {
			fmt.Fprintf(stdout, "%s,\n", name)
		}
	}
	if opts.action != "status" {
		return exitOK, nil
	}
	state, ok := reply.Nodes[opts.plug]
	if !ok {
		return exitBad, fmt.Errorf("the lab has no node %q", opts.plug)
	}
	if !state.Up {
		return exitOff, nil
	}
	return exitOK, nil
}
