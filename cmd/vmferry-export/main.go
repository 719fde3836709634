package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"text/tabwriter"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/cmd/about"
	"github.com/vmferry/vmferry/hbplugin/guard/export"
	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/migrate/safefile"
	"github.com/vmferry/vmferry/resource/command"
)

// Exit codes. The unit's ExecCondition takes exitError as "do not start", and exitBroken as a failure.
const (
	exitOK     = 0
	exitError  = 1
	exitUsage  = 2
	exitBroken = 255
)

// longest bounds what a node or an operator asks for. A revocation that takes longer is not proven; it can be tried
// again.
const longest = 30 * time.Second

const usage = `usage: vmferry-export VERB [NODE [GENERATION]]

Export disks to the nodes of a cluster, and revoke a node's access. See vmferry-export(8).

VERB
  status                    show each node's access
  revoke NODE GENERATION    end the access of NODE: exit code 0 is the proof that no write of it arrives any more
  admit NODE GENERATION     open it in a newer generation of its lease
  reset NODE                end it, and forget its generations: for a lease device that was initialized again
  serve-ssh NODE            do what a node asks for by ssh: for authorized_keys
  admitted NODE             exit code 0 where NODE has access, 1 where not: for the unit
  run NODE                  become the NBD server of NODE: for the unit
  --version                 print the version and exit
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	m := machine{
		config: export.ConfigPath, box: export.Box{StateDir: export.StateDir, RunDir: export.RunDir,
			Run: command.Execute(os.Environ())},
		getenv: os.Getenv, stdout: plaintext.Writer{To: os.Stdout}, stderr: plaintext.Writer{To: os.Stderr},
		become: become,
	}
	code := m.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// machine is the storage machine, as the program sees it.
type machine struct {
	config         string
	box            export.Box // without its configuration, which is read when a verb needs it
	getenv         func(string) string
	stdout, stderr io.Writer
	become         func(args []string) error
}

// errUsage is the error of a command line that is none.
var errUsage = errors.New("type vmferry-export --help")

func (m machine) run(ctx context.Context, args []string) int {
	if about.Asked("vmferry-export", usage, args, m.stdout) {
		return exitOK
	}
	err := m.act(ctx, args)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(m.stderr, "vmferry-export: %v\n", err)
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case len(args) > 0 && args[0] == "admitted" && !errors.Is(err, export.ErrClosed):
		return exitBroken
	}
	return exitError
}

// act does what the command line says.
func (m machine) act(ctx context.Context, args []string) error {
	verb, node, generation, err := parse(args)
	if err != nil {
		return err
	}
	text, err := safefile.ReadPrivate(m.config)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	if m.box.Config, err = export.Parse(string(text)); err != nil {
		return fmt.Errorf("%s: %w", m.config, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("it takes longer than %s", longest))
	defer cancel()
	switch verb {
	case "status":
		return m.status()
	case "admitted":
		return m.box.Admitted(node)
	case "run":
		return m.box.Serve(ctx, node, m.become)
	case "reset":
		return m.record("reset", node, 0, m.box.Reset(ctx, node))
	case "serve-ssh":
		return m.serve(ctx, node)
	}
	return m.do(ctx, export.Request{Verb: export.Verb(verb), Node: node, Generation: generation})
}

// operands is how many words follow each verb.
var operands = map[string]int{
	"status": 0, "admitted": 1, "run": 1, "reset": 1, "serve-ssh": 1, string(export.Revoke): 2, string(export.Admit): 2,
}

func parse(args []string) (verb, node string, generation uint64, err error) {
	if len(args) == 0 {
		return "", "", 0, errUsage
	}
	n, ok := operands[args[0]]
	switch {
	case !ok:
		return "", "", 0, fmt.Errorf("unknown verb %q: %w", args[0], errUsage)
	case len(args) != n+1:
		return "", "", 0, fmt.Errorf("%s has %d operands: %w", args[0], n, errUsage)
	case n == 0:
		return args[0], "", 0, nil
	case n == 2:
		if generation, err = export.ParseGeneration(args[2]); err != nil {
			return "", "", 0, fmt.Errorf("%w: %w", err, errUsage)
		}
	}
	return args[0], args[1], generation, nil
}

// serve does what the node caller asks for by ssh, whose forced command this is.
func (m machine) serve(ctx context.Context, caller string) error {
	if _, ok := m.box.Config.Nodes[caller]; !ok {
		return fmt.Errorf("the key is that of node %q, which the storage machine does not know", caller)
	}
	request, err := export.ParseRequest(m.getenv("SSH_ORIGINAL_COMMAND"))
	if err != nil {
		return err
	}
	if err := request.AllowedTo(caller); err != nil {
		return err
	}
	return m.do(ctx, request)
}

func (m machine) do(ctx context.Context, r export.Request) error {
	switch r.Verb {
	case export.Status:
		return m.status()
	case export.Revoke:
		return m.record("revoke", r.Node, r.Generation, m.box.Revoke(ctx, r.Node, r.Generation))
	default:
		return m.record("admit", r.Node, r.Generation, m.box.Admit(ctx, r.Node, r.Generation))
	}
}

// record leaves a line in the journal. A journal that is not there hinders nobody.
func (m machine) record(what, node string, generation uint64, err error) error {
	priority, outcome := journal.PriNotice, "done"
	if err != nil {
		priority, outcome = journal.PriErr, err.Error()
	}
	_ = journal.Send(plaintext.Line(fmt.Sprintf("%s node %s, generation %d: %s", what, node, generation, outcome)),
		priority, map[string]string{"SYSLOG_IDENTIFIER": "vmferry-export", "VMFERRY_NODE": node})
	return err
}

// status prints the access of all nodes.
func (m machine) status() error {
	table := tabwriter.NewWriter(m.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tADDRESS\tACCESS\tPROCESS\tADMITTED\tREVOKED")
	var errs []error
	for _, n := range m.box.Status() {
		access, process := "closed", "none"
		if n.State.Open() {
			access = "open"
		}
		if n.Serving {
			process = "runs"
		}
		if n.Err != nil {
			access = "unknown"
			errs = append(errs, fmt.Errorf("node %s: %w", n.Node, n.Err))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\n", n.Node, n.Address, access, process,
			n.State.Admitted, n.State.Revoked)
	}
	return errors.Join(table.Flush(), errors.Join(errs...))
}

// become replaces this process by the program args.
func become(args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return fmt.Errorf("%w: install the package that has %s (Debian: qemu-system-common)", err, args[0])
	}
	return fmt.Errorf("start %s: %w", path, unix.Exec(path, args, os.Environ()))
}
