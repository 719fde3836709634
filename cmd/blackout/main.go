package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/vmferry/vmferry/cmd/completion"
	"github.com/vmferry/vmferry/migrate/version"
)

const usage = `usage: blackout serve [flags]
       blackout watch [flags] TARGET ...
       blackout show [flags] RUN.json
       blackout compare [--json] A.json ... -- B.json ...
       blackout join [flags] RUN.json EVENTS.json
       blackout version
       blackout help

serve answers probes over UDP and TCP until it is interrupted. Run it where the
service runs, so that it goes through what the service goes through.

  --listen HOST:PORT     where to listen (default :7007, every address)
  --user UID[:GID]       become this user, if started as root (default 65534)
  --max-clients N        senders that are remembered (default 4096)
  --max-clients-per-address N
                         those of one address (default 256)
  --max-rate N           probes a second of one sender (default 200000)
  --max-connections N    TCP connections (default 1024)
  --max-connections-per-address N
                         those of one address (default 64)

watch sends a probe to each target in every interval, and reports for how long
nothing came back. SIGINT and SIGTERM end it with a report. A TARGET is one of
udp://HOST:PORT  tcp://HOST:PORT          blackout serve, or an echo service
connect://HOST:PORT                       a TCP connection for each probe
http://HOST[:PORT][/PATH]  https://...    an HTTP request for each probe
dns://SERVER[:PORT]/NAME[?type=AAAA]      a DNS question for each probe
icmp://HOST                               an ICMP echo request for each probe

  -4, -6                 use only IPv4, or only IPv6
  --interval D           time between two probes (default 1ms; 100ms where a
                         target is neither udp:// nor tcp://)
  --burst N              probes in an interval, for udp, dns and icmp (default 1)
  --for D                length of the run (default: until interrupted)
  --threshold D          least outage that is listed (default 3 intervals)
  --max-blackout D       exit 3 when a blackout was longer, or may have been
  --max-error D          exit 3 when the run is less exact (default 100ms, or 10
                         intervals if that is more)
  --json FILE            write a JSON report, also while running; - is stdout
  --html FILE            write the report as a page with plots
  --csv FILE             write the outages, one a line
  --metrics HOST:PORT    serve the state of the run to Prometheus
  --bucket D             resolution of the report's time line (default 10ms)
  --reconnect-after D    TCP: open another connection after this silence (default 2s)
  --retry-every D        TCP: time between two attempts to connect (default 100ms)
  --connect-timeout D    how long an attempt to connect, or an HTTP request, may
                         take up to its first answer (default 1s)
  --insecure             take any certificate of https targets
  --linger D             wait for answers after the last probe (default 500ms)
  --quiet                no table and no progress
  --live                 progress on stderr even where it is no terminal

show prints a report, also one of a run that was killed; --html and --csv write
its other forms. compare decides whether two sets of runs differ. join splits the
blackouts of a run into before, pause and relearn by the events of a migration, a
JSON list of {"time", "node", "event"}.

  --json                 compare, join: print JSON in place of the table
  --shift D              join: add this to the time of every event
  --html FILE            show, join: write a page with plots, and the events
  --csv FILE             show: write the outages, one a line

Exit status: 0 measured, 1 failed or a target never answered, 2 wrong usage,
3 --max-blackout exceeded or not provable, or the run is not exact enough.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program without its process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, stdout, stderr)
	if errors.Is(err, flag.ErrHelp) {
		_, err = io.WriteString(stdout, usage)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "blackout: %v\n", err)
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	return exitFailed
}

// commands are those with flags of their own.
var commands = []struct {
	name string
	run  func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}{{"serve", serve}, {"watch", watch}, {"show", show}, {"compare", compareRuns}, {"join", join}}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	const use = "use serve, watch, show, compare or join; 'blackout help' lists their flags"
	if len(args) == 0 {
		return misuse("no command: " + use)
	}
	if completion.Asked(args) {
		_, err := io.WriteString(stdout, bashCompletion())
		return err
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(ctx, args[1:], stdout, stderr)
		}
	}
	switch args[0] {
	case "version", "--version":
		_, err := fmt.Fprintln(stdout, "blackout", version.String())
		return err
	case "help", "--help", "-help", "-h":
		return flag.ErrHelp
	}
	return misuse("unknown command %q: "+use, args[0])
}

// parsed gets the flags of each command that parses its arguments.
var parsed = func(*flag.FlagSet) {}

// bashCompletion is made of the flags that each command has by the time at which it prints its help.
func bashCompletion() string {
	p := completion.Program{Name: "blackout", Values: map[string]string{
		"json": completion.Files, "html": completion.Files, "csv": completion.Files}}
	defer func(before func(*flag.FlagSet)) { parsed = before }(parsed)
	for _, c := range commands {
		v := completion.Verb{Name: c.name}
		parsed = func(fs *flag.FlagSet) { v.Flags = fs }
		_ = c.run(context.Background(), []string{"--help"}, io.Discard, io.Discard)
		p.Verbs = append(p.Verbs, v)
	}
	p.Verbs = append(p.Verbs, completion.Verb{Name: "version"}, completion.Verb{Name: "help"})
	return p.Bash()
}
