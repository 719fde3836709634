package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/cmd/about"
	"github.com/vmferry/vmferry/hbplugin/guard/nvme"
	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/resource/command"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// longest bounds a call. The guard's own limit is shorter.
const longest = 30 * time.Second

// mostOutput is more than a report of the most registrants has.
const mostOutput = 1 << 20

const usage = `usage: vmferry-nvme revoke --own KEY --key KEY DEVICE...
       vmferry-nvme admit --key KEY DEVICE...
       vmferry-nvme --version

Revoke a node's right to write to NVMe namespaces, or register this node for it, by persistent reservations.

  --key KEY   the node's key, a number from 1
  --own KEY   this node's key
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with its surroundings passed in.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	stdout, stderr = plaintext.Writer{To: stdout}, plaintext.Writer{To: stderr}
	if about.Asked("vmferry-nvme", usage, args, stdout) {
		return exitOK
	}
	o, err := parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "vmferry-nvme: %v: type vmferry-nvme --help\n", err)
		return exitUsage
	}
	ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("it takes longer than %s", longest))
	defer cancel()
	d := nvme.Driver{Run: command.How{Max: mostOutput}.Run}
	if o.revoke {
		err = d.Revoke(ctx, o.own, o.key, o.devices)
	} else {
		err = d.Admit(ctx, o.key, o.devices)
	}
	if err != nil {
		fmt.Fprintf(stderr, "vmferry-nvme: %v\n", err)
		return exitError
	}
	return exitOK
}

// options are what the command line says.
type options struct {
	revoke   bool
	own, key uint64
	devices  []string
}

func parse(args []string) (o options, err error) {
	if len(args) == 0 || args[0] != "revoke" && args[0] != "admit" {
		return o, errors.New("the first argument must be revoke or admit")
	}
	o.revoke = args[0] == "revoke"
	flags := flag.NewFlagSet("vmferry-nvme", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Func("key", "", key(&o.key))
	if o.revoke {
		flags.Func("own", "", key(&o.own))
	}
	if err := flags.Parse(args[1:]); err != nil {
		return o, err
	}
	o.devices = flags.Args()
	switch {
	case o.key == 0:
		return o, errors.New("--key is missing")
	case o.revoke && o.own == 0:
		return o, errors.New("--own is missing")
	case len(o.devices) == 0:
		return o, errors.New("no device is named")
	}
	for _, d := range o.devices {
		if !filepath.IsAbs(d) {
			return o, fmt.Errorf("%q is not an absolute path", d)
		}
	}
	return o, nil
}

// key reads a reservation key. 0 is none.
func key(to *uint64) func(string) error {
	return func(text string) error {
		k, err := strconv.ParseUint(text, 0, 64)
		if err != nil || k == 0 {
			return fmt.Errorf("%q is not a key: use a number from 1", text)
		}
		*to = k
		return nil
	}
}
