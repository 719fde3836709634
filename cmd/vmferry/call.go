package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/migrate/shellword"
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

// interrupted ends a command that was asked to stop, and says what that leaves.
func interrupted(format string, args ...any) error {
	return &failure{exitInterrupted, fmt.Errorf("interrupted"+format, args...)}
}

// errInterrupted ends a command that had changed nothing.
var errInterrupted = interrupted(": nothing was changed")

// verb is what one does.
type verb func(ctx context.Context, c *call, args []string) error

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
	c := &call{machine: m, name: name, stdout: stdout, stderr: stderr,
		flags: flag.NewFlagSet(name, flag.ContinueOnError)}
	c.flags.SetOutput(io.Discard)
	c.flags.BoolVar(&c.json, "json", false, "")
	c.flags.StringVar(&c.configPath, "config", m.path(config.Path), "")
	return c
}

// begin reads the flags, which may be anywhere before a "--", and as many other arguments as wanted: names such as
// "GUEST", or "[NODE]" for one that may be missing. rest has an entry for each. done is true, too, where help was
// requested and is printed.
func (c *call) begin(args []string, want ...string) (rest []string, done bool, err error) {
	rest, err = c.operands(args, want)
	if errors.Is(err, flag.ErrHelp) {
		return nil, true, say(c.stdout, usage)
	}
	if err == nil {
		rest, err = c.matched(rest, want)
	}
	if err != nil {
		return nil, true, err
	}
	c.config, err = config.LoadKnown(c.configPath)
	if err != nil {
		err = &failure{exitUsage, fmt.Errorf("configuration %q cannot be used: %w: type %s", c.configPath, err,
			shellword.Line("vmferryd", "--check-config", "--config", c.configPath))}
	}
	return rest, err != nil, err
}

// matched gives each wanted argument its entry.
func (c *call) matched(rest, want []string) ([]string, error) {
	if len(rest) > len(want) {
		return nil, misuse("%s: unexpected argument %q: type vmferry help", c.name, rest[len(want)])
	}
	for _, w := range want[len(rest):] {
		if !strings.HasPrefix(w, "[") {
			return nil, misuse("%s: no %s is named: type vmferry %s %s", c.name, w, c.name, strings.Join(want, " "))
		}
		rest = append(rest, "")
	}
	for i, arg := range rest {
		if !names(arg, want[i]) {
			return nil, misuse("%s: %q is not a valid %s", c.name, arg, strings.Trim(want[i], "[]"))
		}
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
		return misuse("%s: %w: type vmferry help", c.name, err)
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

// names reports whether arg can be the name that want stands for. libvirt takes all but line breaks into a guest's
// name, and its XML no other control character than the tab; a node's name has no blanks.
func names(arg, want string) bool {
	if strings.Trim(want, "[]") == "GUEST" {
		return (arg != "" || want[0] == '[') && !strings.ContainsFunc(arg, func(r rune) bool { return unicode.IsControl(r) && r != '\t' })
	}
	blank := func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }
	return (arg != "" || want[0] == '[') && !strings.ContainsFunc(arg, blank)
}

// printf prints a line of prose.
func (c *call) printf(format string, args ...any) { fmt.Fprintf(c.stderr, format+"\n", args...) }

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

// given reports whether a flag was on the command line.
func (c *call) given(names ...string) (name string, ok bool) {
	c.flags.Visit(func(f *flag.Flag) {
		if slices.Contains(names, f.Name) && !ok {
			name, ok = f.Name, true
		}
	})
	return name, ok
}
