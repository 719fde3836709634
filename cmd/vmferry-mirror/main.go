package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/cmd/completion"
	"github.com/vmferry/vmferry/hbplugin"
	"github.com/vmferry/vmferry/hbplugin/config"
	"github.com/vmferry/vmferry/hbplugin/inventory"
	"github.com/vmferry/vmferry/hbplugin/mirrord"
	"github.com/vmferry/vmferry/hbplugin/mirrorfiles"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/migrate/libvirt/client"
	"github.com/vmferry/vmferry/migrate/mirror"
	"github.com/vmferry/vmferry/migrate/mirror/replica"
	"github.com/vmferry/vmferry/migrate/mirror/source"
	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/migrate/version"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/agentd/socket"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/notes"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

const (
	// socketDir is for the sockets of qemu-nbd.
	socketDir = notes.DefaultRunDir + "/mirror"
	// patience is how long a source may be silent within a round.
	patience = 2 * time.Minute
	receive  = "receive"
	// finishEvery is how often replicas are looked for whose last round is not finished.
	finishEvery = time.Minute
)

const usage = `usage: vmferry-mirror [--config FILE] [--debug]
       vmferry-mirror receive
       vmferry-mirror --version | --clock

Mirror the disks of this node's guests, and files, to another node.

  receive         take in what the other node sends to the standard input: ssh runs it
  --config FILE   vmferryd's configuration (default ` + config.Path + `)
  --debug         log each round
  --version       print the version and exit
  --clock         print what time it is on this node and exit
`

// options are what the command line says.
type options struct {
	config                string
	debug, version, clock bool
}

func (o *options) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("vmferry-mirror", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.config, "config", config.Path, "")
	flags.BoolVar(&o.debug, "debug", false, "")
	flags.BoolVar(&o.version, "version", false, "")
	flags.BoolVar(&o.clock, "clock", false, "")
	return flags
}

func bashCompletion() string {
	return completion.Program{Name: "vmferry-mirror", Verbs: []completion.Verb{{Flags: new(options).flags()}},
		Values: map[string]string{"config": completion.Files}}.Bash()
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with its surroundings passed in.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	raw := stdout
	stdout, stderr = plaintext.Writer{To: stdout}, plaintext.Writer{To: stderr}
	if completion.Asked(args) {
		fmt.Fprint(stdout, bashCompletion())
		return exitOK
	}
	// As the forced command of a key, receive also answers what the other node asks for.
	wanted := strings.Fields(os.Getenv("SSH_ORIGINAL_COMMAND"))
	if slices.Equal(args, []string{receive}) && len(wanted) > 1 && wanted[0] == "vmferry-mirror" &&
		(len(wanted) == 2 && slices.Contains([]string{"--version", "--clock"}, wanted[1]) || isFiles(wanted[1:])) {
		args = wanted[1:]
	}
	var o options
	flags := o.flags()
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case err == nil && flags.NArg() > 0 && !slices.Equal(args, []string{receive}) && !isFiles(args):
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(stderr, "vmferry-mirror: %v: type vmferry-mirror --help\n", err)
		return exitUsage
	}
	store := mirror.Store{Dir: mirror.DefaultDir}
	switch {
	case o.version:
		fmt.Fprintln(stdout, "vmferry-mirror", version.String())
	case o.clock:
		fmt.Fprintln(stdout, time.Now().UTC().Format(time.RFC3339Nano))
	case isFiles(args):
		err = receiveFiles(ctx, o.config, args[1], args[2], args[3])
	case flags.NArg() > 0:
		err = engine(store).Serve(ctx, stdin, raw)
	default:
		log := logrus.New()
		if log.SetOutput(stderr); o.debug {
			log.SetLevel(logrus.DebugLevel)
		}
		err = serve(ctx, o.config, store, log)
	}
	if err != nil {
		fmt.Fprintf(stderr, "vmferry-mirror: %v\n", err)
		return exitError
	}
	return exitOK
}

// isFiles reports whether package mirrorfiles's source has sent these words. What follows them rsync adds.
func isFiles(words []string) bool {
	return len(words) >= 4 && words[0] == receive && (words[1] == mirrorfiles.Receive || words[1] == mirrorfiles.Switch)
}

func receiveFiles(ctx context.Context, path, verb, id, round string) error {
	c, err := config.LoadKnown(path)
	if err != nil {
		return err
	}
	node, err := inventory.NodeName(ctx, c.Node, inventory.Managers(ctx, clusters(c)))
	if err != nil {
		return err
	}
	return files.Answer(ctx, verb, id, round, node, c.Mirrors)
}

// clusters are those that name a node otherwise than its host is named.
func clusters(c config.Config) []hbplugin.Cluster {
	return []hbplugin.Cluster{&pacemaker.Client{Agents: c.Agents, Node: c.Node}}
}

var files = mirrorfiles.Engine{Store: mirror.Store{Dir: mirrorfiles.DefaultDir}, Run: programs}

var programs = command.Execute(os.Environ())

// sendFiles makes a round of a path.
func sendFiles(ctx context.Context, g mirrord.Guest, q source.Request) (r source.Result, err error) {
	r.All = []string{"files"}
	r.Sent = r.All
	r.Point, r.Bytes, err = files.Send(ctx, g.Name, g.Peer, g.SSH, q.Full)
	return r, err
}

func engine(store mirror.Store) *replica.Engine {
	return &replica.Engine{Store: store, Run: programs.Explained, Now: time.Now, Room: replica.Room, Patience: patience}
}

// finish ends what streams from other nodes that were cut short have left, at the begin and from time to time.
func finish(ctx context.Context, e *replica.Engine, log logrus.FieldLogger) {
	for said := ""; ctx.Err() == nil; _ = wait.For(ctx, finishEvery) {
		if text := fmt.Sprint(e.Finish(ctx)); text != said && ctx.Err() == nil {
			if said = text; text != "<nil>" {
				log.Error("a replica is not finished: " + text)
			}
		}
	}
}

// serve is the daemon, until ctx ends.
func serve(ctx context.Context, path string, store mirror.Store, log logrus.FieldLogger) error {
	c, err := config.LoadKnown(path)
	if err != nil {
		return err
	}
	l, err := socket.Listen(mirrord.Socket, "vmferry-mirror")
	if err != nil {
		return fmt.Errorf("listen for the agent: %w", err)
	}
	d := mirrord.New(mirrors(c), func(ctx context.Context, g mirrord.Guest, closes bool, q source.Request) (
		source.Result, error) {
		return send(ctx, store, g, closes, q)
	}, log)
	d.Quiet = func(ctx context.Context, g mirrord.Guest) error {
		conn, err := client.Open(ctx, g.URI)
		if err != nil {
			return err
		}
		defer conn.Close()
		s := &source.Source{Hypervisor: conn, Store: store, Dir: socketDir, Run: programs}
		return s.Quiet(ctx, g.Name, g.UUID)
	}
	go socket.Serve(ctx, l, d.Answer)
	go finish(ctx, engine(store), log)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.WithError(err).Warn("tell systemd that the daemon is ready")
	}
	d.Run(ctx)
	return nil
}

// mirrors finds what is mirrored from this node.
func mirrors(c config.Config) func(context.Context) ([]mirrord.Guest, error) {
	managers := clusters(c)
	var known []string
	others := func(ctx context.Context) []string {
		for _, m := range managers {
			if len(known) == 0 {
				peers, _ := m.Peers(ctx) // empty beside an error
				for _, p := range peers {
					known = append(known, p.Name)
				}
			}
		}
		return known
	}
	return func(ctx context.Context) ([]mirrord.Guest, error) {
		noted, err := notes.GuestsIn(c.GuestsDir).All()
		if len(c.Mirrors) == 0 && !slices.ContainsFunc(noted, mirrord.IsMirrored) {
			return nil, err
		}
		node, nerr := inventory.NodeName(ctx, c.Node, inventory.Managers(ctx, managers))
		if nerr != nil {
			return nil, errors.Join(err, nerr)
		}
		all, gerr := mirrord.Guests(ctx, noted, node, programs)
		paths, perr := mirrord.Paths(ctx, c.Mirrors, all, node, others)
		return append(all, paths...), errors.Join(err, gerr, perr)
	}
}

// send makes a round, or closes the mirror of a guest that has ended.
func send(ctx context.Context, store mirror.Store, g mirrord.Guest, closes bool, q source.Request) (
	r source.Result, err error,
) {
	if g.Path {
		return sendFiles(ctx, g, q)
	}
	s := &source.Source{Store: store, Dir: socketDir, Run: programs}
	if closes { // it needs no libvirt
		return s.Close(ctx, q)
	}
	conn, err := client.Open(ctx, g.URI)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	s.Hypervisor = conn
	if err := s.Fold(ctx, q.Guest, q.UUID); err != nil { // also where the other node is down
		return r, err
	}
	return s.Round(ctx, q)
}
