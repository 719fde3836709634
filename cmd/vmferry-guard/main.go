package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/cmd/completion"
	"github.com/vmferry/vmferry/hbplugin/guard/settings"
	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/migrate/version"
	"github.com/vmferry/vmferry/migrate/wait"
)

// Exit codes. The unit does not restart the guard after exitConfig (EX_CONFIG of sysexits.h): only an operator can mend
// that. It is not 2, with which a Go program ends that crashes.
const (
	exitOK     = 0
	exitError  = 1
	exitUsage  = 2
	exitStuck  = 3 // of --move: another try would move no guest
	exitConfig = 78
)

const usage = `usage: vmferry-guard [--config FILE]
       vmferry-guard --version

Hold this node's lease, and end its guests where the lease is lost.

  --config FILE   read FILE (default ` + settings.Path + `)
  --second        be the second process, which kills the guests where the guard is silent; the guard starts it
  --move NODE     migrate the guests of this node to NODE, without the cluster manager; the guard starts it
  --announce      announce the guests of this node to the network; the guard starts it
  --version       print the version and exit
`

// options are what the command line says.
type options struct {
	config, move              string
	second, announce, version bool
}

func (o *options) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("vmferry-guard", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.config, "config", settings.Path, "")
	flags.StringVar(&o.move, "move", "", "")
	flags.BoolVar(&o.announce, "announce", false, "")
	flags.BoolVar(&o.second, "second", false, "")
	flags.BoolVar(&o.version, "version", false, "")
	return flags
}

func bashCompletion() string {
	return completion.Program{Name: "vmferry-guard", Verbs: []completion.Verb{{Flags: new(options).flags()}},
		Values: map[string]string{"config": completion.Files}}.Bash()
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with its surroundings passed in.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	stdout, stderr = plaintext.Writer{To: stdout}, plaintext.Writer{To: stderr}
	if completion.Asked(args) {
		fmt.Fprint(stdout, bashCompletion())
		return exitOK
	}
	var o options
	flags := o.flags()
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "vmferry-guard: %v; type vmferry-guard --help\n", err)
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "vmferry-guard: unexpected argument %q: type vmferry-guard --help\n", flags.Arg(0))
		return exitUsage
	case o.version:
		fmt.Fprintln(stdout, "vmferry-guard", version.String())
		return exitOK
	}
	log := logrus.New()
	journal := newLines(stderr)
	log.SetOutput(journal)
	work := again
	switch {
	case o.second:
		work = asSecond
	case o.move != "":
		work = asMover
	case o.announce:
		work = asAnnouncer
	}
	err = work(ctx, o, log)
	journal.flush()
	if err != nil {
		fmt.Fprintf(stderr, "vmferry-guard: %v\n", err)
		switch {
		case errors.As(err, new(misconfigured)):
			return exitConfig
		case errors.As(err, new(stuck)):
			return exitStuck
		}
		return exitError
	}
	return exitOK
}

// again is the guard, and does not end at once with an error that another try may not have: systemd starts it again a
// moment later, as it has to after a crash, and would do so several times a second.
func again(ctx context.Context, o options, log *logrus.Logger) error {
	err := guard(ctx, o, log)
	if err != nil && !errors.As(err, new(misconfigured)) {
		_ = wait.For(ctx, time.Second)
	}
	return err
}

// misconfigured is an error that an operator has to mend before another try can succeed.
type misconfigured struct{ error }

// Unwrap is the error itself.
func (m misconfigured) Unwrap() error { return m.error }
