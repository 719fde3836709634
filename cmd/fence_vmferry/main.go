package main

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/cmd/about"
	"github.com/vmferry/vmferry/cmd/completion"
	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/migrate/version"
)

// Exit codes of a fence agent.
const (
	exitOK   = 0
	exitFail = 1
	exitOff  = 2 // of the action status: the node is proven to run no guest
)

const (
	// queryTime bounds questions that the guard answers at once.
	queryTime = 5 * time.Second
	// longest is how long a fence call waits where the caller gives no time. The cluster manager ends it before.
	longest = 10 * time.Minute
	// pause is how long a call that fails at once takes all the same: Pacemaker gives up on a node after ten tries, and
	// a later, real death would not be fenced.
	pause = 5 * time.Second
)

const usage = `usage: fence_vmferry --action ACTION [--plug NODE] [--power-timeout SECONDS] [--socket PATH] [--verbose]

Prove that a node runs no guest and cannot write to the disks any more. Without arguments the options are read from
standard input, as NAME=VALUE lines.

ACTION
  off, reboot    wait for the proof that NODE has surrendered, or that its lease has expired and its access is revoked
  on             on NODE itself: take the lease again
  status         whether NODE may run guests
  monitor        whether the guard of this node is well
  list           the nodes
  metadata       describe the agent
  validate-all   check the options
`

//go:embed metadata.xml
var metadata string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	code := byName(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// byName is what the program does under the name that it was called by.
func byName(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if filepath.Base(args[0]) == pluginName {
		return plugin(ctx, args[1:], plaintext.Writer{To: stdout}, plaintext.Writer{To: stderr})
	}
	return run(ctx, args[1:], stdin, stdout, stderr)
}

// run is the fence agent with its surroundings passed in.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	stdout, stderr = plaintext.Writer{To: stdout}, plaintext.Writer{To: stderr}
	if completion.Asked(args) {
		fmt.Fprint(stdout, bashCompletion())
		return exitOK
	}
	if about.Asked("fence_vmferry", usage, args, stdout) {
		return exitOK
	}
	o, err := argumentOptions(args)
	if len(args) == 0 {
		o, err = readOptions(stdin)
	}
	if err == nil {
		var code int
		if code, err = act(ctx, o, stdout, stderr); err == nil {
			return code
		}
	}
	fmt.Fprintf(stderr, "fence_vmferry: %v\n", err)
	return exitFail
}

// act does one action.
func act(ctx context.Context, o options, stdout, stderr io.Writer) (code int, err error) {
	o.socket = cmp.Or(o.socket, control.Socket)
	switch action := cmp.Or(o.action, "reboot"); action {
	case "metadata", "meta-data":
		_, err := io.WriteString(stdout, versioned(metadata))
		return exitOK, err
	case "validate-all":
		return exitOK, nil
	case "off", "reboot":
		return exitOK, fence(ctx, o, stderr)
	case "on":
		return exitOK, open(ctx, o)
	case "monitor", "list", "list-status", "status":
		return query(ctx, o, action, stdout)
	default:
		return exitFail, fmt.Errorf("unknown action %q: type fence_vmferry --help", action)
	}
}

func versioned(text string) string { return strings.Replace(text, "VERSION", version.String(), 1) }

// fence waits for the proof. A failure takes pause at least.
func fence(ctx context.Context, o options, stderr io.Writer) error {
	if o.node == "" {
		return errors.New("no node is named: add --plug NODE")
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.timeout, longest))
	defer cancel()
	slow := time.NewTimer(pause)
	defer slow.Stop()
	reply, err := control.Call(ctx, o.socket, control.Request{Verb: control.Fence, Node: o.node})
	if err == nil && reply.OK {
		if o.verbose {
			fmt.Fprintf(stderr, "node %s is fenced: %s\n", o.node, reply.Why)
		}
		return nil
	}
	select {
	case <-slow.C:
	case <-ctx.Done():
	}
	if err != nil {
		return err
	}
	return errors.New(reply.Why)
}

// open takes the lease of this node again.
func open(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.timeout, longest))
	defer cancel()
	reply, err := control.Call(ctx, o.socket, control.Request{Verb: control.Open, Node: o.node})
	if err == nil && !reply.OK {
		err = errors.New(reply.Why)
	}
	return err
}

// report is the guard's status.
type report struct {
	control.StatusReport
	problem string // why the guard is not well; empty: it is
}

// status asks the guard for its status. It fails where no guard answers.
func status(ctx context.Context, o options) (r report, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	reply, err := control.Call(ctx, o.socket, control.Request{Verb: control.Status})
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(reply.Status, &r.StatusReport); err != nil {
		return r, fmt.Errorf("the guard's status: %w", err)
	}
	if !reply.OK {
		r.problem = cmp.Or(reply.Why, "the guard is not well")
	}
	return r, nil
}

// query answers what the guard's status says.
func query(ctx context.Context, o options, action string, stdout io.Writer) (code int, err error) {
	r, err := status(ctx, o)
	if err != nil {
		return exitFail, err
	}
	switch action {
	case "monitor":
		if r.problem != "" {
			return exitFail, errors.New(r.problem)
		}
	case "list", "list-status":
		for _, n := range r.Nodes {
			if action == "list" {
				fmt.Fprintf(stdout, "%s,\n", n.Name)
			} else {
				fmt.Fprintf(stdout, "%s,,%s\n", n.Name, map[bool]string{false: "ON", true: "OFF"}[n.Gone])
			}
		}
	case "status":
		for _, n := range r.Nodes {
			if n.Name == o.node {
				return map[bool]int{false: exitOK, true: exitOff}[n.Gone], nil
			}
		}
		return exitFail, fmt.Errorf("the lease device knows no node %q", o.node)
	}
	return exitOK, nil
}
