package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/vmferry/vmferry/cmd/completion"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/migrate/shellword"
	"github.com/vmferry/vmferry/migrate/version"
)

// The exit codes; see vmferry(8).
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnknown     = 3
	exitInterrupted = 4
)

// schema is the version of what --json prints, of every command. Fields may be
// added without a new one; a field that changes its meaning or goes away makes one.
const schema = 1

const usage = `usage: vmferry check
       vmferry status
       vmferry plan [--bandwidth N] [--no-measure] [--window D] [NODE]
       vmferry migrate [flags] GUEST NODE[,NODE...]
       vmferry drain [--window D] [NODE]
       vmferry undrain [NODE]
       vmferry report [--since WHEN] [--html FILE]
       vmferry version
       vmferry help

Move virtual machines off this node, and see how that goes.

check tells whether this node can be drained, and if not, what to type.
status lists the guests of this node, as libvirt, their processes and the
cluster manager see them.
plan tells who would leave in what order, and what clients would notice.
Both say what becomes of each guest, and drain names those that do not move live.
migrate moves one guest; where a cluster manager has it, through the manager. A GUEST
that begins with a dash follows "--".
drain empties this node through the cluster manager; undrain takes that back.
report tells how past migrations went.

All commands:
  --json             the result as JSON, with a schema number
  --config FILE      vmferryd's configuration (default /etc/vmferry/vmferryd.toml)

plan:
  --bandwidth N      MiB/s that the link carries (default: as migrations have told)
  --no-measure       do not measure how fast the guests write
  --window D         the time that there is (default: what a shutdown waits)

migrate:
  --to-uri URI       the target's libvirt (default: this node's, with NODE as host)
  --transport NAME   how libvirt gets there: tcp, tls, ssh
  --tls              encrypt memory and disks, whatever the transport is
  --bandwidth N      MiB/s at most
  --budget D         longest blackout that clients may see
  --disks MODE       for disks that are not on shared storage: shared (copy none),
                     copy, auto (those that the target does not see)
  --deadline D       give up after this time, and leave the guest where it is
  --watch TARGETS    probe udp://HOST:PORT,tcp://HOST:PORT meanwhile
  --lifetime D       through Pacemaker: how long it prefers NODE (default 1h)

drain:
  --window D         give up waiting after this time (default 30m)

report:
  --since WHEN       24h, 7d, 2026-11-20 or 2026-11-20T18:30:00Z (default: all)
  --html FILE        write a page with plots

Exit status: 0 done, 1 not done or a problem was found, 2 wrong usage, 3 it cannot
be told where the guest runs, 4 interrupted, and taken back as far as possible.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, newMachine(), os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program without its process.
func run(ctx context.Context, m *machine, args []string, stdout, stderr io.Writer) int {
	stdout, stderr = plaintext.Writer{To: stdout}, plaintext.Writer{To: stderr}
	err := dispatch(ctx, m, args, stdout, stderr)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "vmferry: "+verdict.OneLine(err))
	var f *failure
	if errors.As(err, &f) {
		return f.code
	}
	return exitFailed
}

var commands = map[string]func(ctx context.Context, c *call, args []string) error{
	"check": checkNode, "status": status, "plan": planDrain, "migrate": migrateGuest,
	"drain": drainNode, "undrain": undrain, "report": printReport,
}

func dispatch(ctx context.Context, m *machine, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return misuse("no command: say check, status, plan, migrate, drain, undrain or report; 'vmferry help' tells more")
	}
	if completion.Asked(args) {
		return say(stdout, bashCompletion())
	}
	switch args[0] {
	case "version", "--version":
		return say(stdout, "vmferry "+version.String()+"\n")
	case "help", "--help", "-help", "-h":
		return say(stdout, usage)
	}
	command, ok := commands[args[0]]
	if !ok {
		return misuse("unknown command %q; 'vmferry help' lists them", args[0])
	}
	return command(ctx, newCall(m, args[0], stdout, stderr), args[1:])
}

func say(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

// failure is an error with its exit code.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// misuse is an error of the command line. Nothing was done.
func misuse(format string, args ...any) error {
	return &failure{exitUsage, fmt.Errorf(format, args...)}
}

// errInterrupted ends a command that had changed nothing.
var errInterrupted = &failure{exitInterrupted, errors.New("interrupted: nothing was changed")}

// call is one command as it was called.
type call struct {
	*machine
	name           string
	flags          *flag.FlagSet
	json           bool
	configPath     string
	config         config.Config
	stdout, stderr io.Writer
}

func newCall(m *machine, name string, stdout, stderr io.Writer) *call {
	c := &call{machine: m, name: name, stdout: stdout, stderr: stderr, flags: flag.NewFlagSet(name, flag.ContinueOnError)}
	c.flags.SetOutput(io.Discard)
	c.flags.BoolVar(&c.json, "json", false, "")
	c.flags.StringVar(&c.configPath, "config", m.path(config.Path), "")
	return c
}

// parse reads the flags, which may stand anywhere before a "--", and as many other
// arguments as wanted: names such as "GUEST", or "[NODE]" for one that may be missing. The
// result has an entry for each. The error is flag.ErrHelp where help was asked for.
func (c *call) parse(args []string, want ...string) ([]string, error) {
	rest, err := c.operands(args, want)
	if err != nil {
		return nil, err
	}
	if len(rest) > len(want) {
		return nil, misuse("%s: unexpected argument %q; 'vmferry help' tells more", c.name, rest[len(want)])
	}
	for _, w := range want[len(rest):] {
		if !strings.HasPrefix(w, "[") {
			return nil, misuse("%s: no %s is named: type vmferry %s %s", c.name, w, c.name, strings.Join(want, " "))
		}
		rest = append(rest, "")
	}
	for i, arg := range rest {
		if !names(arg, want[i]) {
			return nil, misuse("%s: %q is no %s", c.name, arg, strings.Trim(want[i], "[]"))
		}
	}
	c.config, err = config.LoadKnown(c.configPath)
	if err != nil {
		return nil, &failure{exitUsage, fmt.Errorf("configuration %q cannot be used: %w: type %s", c.configPath, err,
			shellword.Line("vmferryd", "--check-config", "--config", c.configPath))}
	}
	return rest, nil
}

// operands reads the flags and returns the other arguments. What follows a "--" is no flag.
func (c *call) operands(args, want []string) (rest []string, err error) {
	for len(args) > 0 {
		err := c.flags.Parse(args)
		left := c.flags.Args()
		switch taken := len(args) - len(left); {
		case errors.Is(err, flag.ErrHelp):
			return nil, err
		case err != nil:
			return nil, c.badFlag(err, args[taken-1], left, want[min(len(rest), len(want)):])
		case taken > 0 && args[taken-1] == "--":
			return append(rest, left...), nil
		case len(left) > 0:
			rest, args = append(rest, left[0]), left[1:]
		default:
			return rest, nil
		}
	}
	return rest, nil
}

// badFlag is the error of the flag word, before which left was not read yet and want is still missing. A single dash
// may be the first letter of a name.
func (c *call) badFlag(err error, word string, left, want []string) error {
	unknown := strings.Contains(err.Error(), "not defined") && !strings.HasPrefix(word, "--")
	if !unknown || len(want) == 0 || want[0] != "GUEST" {
		return misuse("%s: %w; 'vmferry help' tells more", c.name, err)
	}
	line := []string{word}
	for _, w := range left {
		if len(line) < len(want) && !strings.HasPrefix(w, "-") {
			line = append(line, w)
		}
	}
	return misuse("%s: there is no flag %s; a %s that begins with a dash follows --: type vmferry %s %s",
		c.name, word, want[0], c.name, shellword.Operands(append(line, want[len(line):]...)...))
}

// names tells whether arg can be the name that want stands for. libvirt takes all but line breaks into a guest's name,
// and its XML no other control character than the tab; a node's name has no blanks.
func names(arg, want string) bool {
	if want == "GUEST" {
		return arg != "" && !strings.ContainsFunc(arg, func(r rune) bool { return unicode.IsControl(r) && r != '\t' })
	}
	blank := func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }
	return (arg != "" || want[0] == '[') && !strings.ContainsFunc(arg, blank)
}

// begin is parse, and prints the help that was asked for: then all is done.
func (c *call) begin(args []string, want ...string) (rest []string, done bool, err error) {
	rest, err = c.parse(args, want...)
	if errors.Is(err, flag.ErrHelp) {
		return nil, true, say(c.stdout, usage)
	}
	return rest, err != nil, err
}

// tell prints a line of prose.
func (c *call) tell(format string, args ...any) { fmt.Fprintf(c.stderr, format+"\n", args...) }

// result prints what the command was called for.
func (c *call) result(v any, table func(io.Writer) error) error {
	if !c.json {
		return table(c.stdout)
	}
	e := json.NewEncoder(c.stdout)
	e.SetEscapeHTML(false) // names stay as they are
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// given tells whether a flag was on the command line.
func (c *call) given(names ...string) (name string, ok bool) {
	c.flags.Visit(func(f *flag.Flag) {
		if slices.Contains(names, f.Name) && !ok {
			name, ok = f.Name, true
		}
	})
	return name, ok
}
