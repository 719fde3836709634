package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/vmferry/vmferry/cmd/completion"
	"github.com/vmferry/vmferry/hbplugin/verdict"
	"github.com/vmferry/vmferry/migrate/plaintext"
	"github.com/vmferry/vmferry/migrate/version"
)

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

var commands = map[string]verb{
	"check": checkNode, "status": status, "plan": planDrain, "migrate": migrateGuest,
	"drain": drainNode, "undrain": undrain, "report": printReport,
	"guard": guardNode, "mirror": mirrorGuests,
}

func dispatch(ctx context.Context, m *machine, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return misuse("no command is named: type vmferry help")
	}
	if completion.Asked(args) {
		return say(stdout, bashCompletion(commands))
	}
	switch args[0] {
	case "version", "--version":
		return say(stdout, "vmferry "+version.String()+"\n")
	case "help", "--help", "-help", "-h":
		return say(stdout, usage)
	}
	do, ok := commands[args[0]]
	if !ok {
		return misuse("unknown command %q: type vmferry help", args[0])
	}
	return do(ctx, newCall(m, args[0], stdout, stderr), args[1:])
}

const usage = `usage: vmferry check
       vmferry status
       vmferry plan [--bandwidth N] [--no-measure] [--window D] [NODE]
       vmferry migrate [flags] GUEST NODE[,NODE...]
       vmferry drain [--window D] [NODE]
       vmferry undrain [NODE]
       vmferry report [--since WHEN] [--html FILE]
       vmferry guard init --device PATH [--cluster NAME] [times] [--yes] [NODE,NODE...]
       vmferry guard confirm [--yes] NODE
       vmferry guard status
       vmferry guard check
       vmferry guard times [times] [--token D] [--deadtime D] [--watchdog D]
       vmferry guard log [-n N]
       vmferry mirror [status] [GUEST]
       vmferry mirror sync|verify|resync GUEST
       vmferry mirror promote --accept-loss [--yes] GUEST
       vmferry mirror forget [--yes] GUEST
       vmferry version
       vmferry help

Move virtual machines off this node, and see how that goes.

check reports whether this node can be drained, and if not, what to type.
status lists the guests of this node, as libvirt, their processes and the
cluster manager see them.
plan shows who would leave in what order, and what clients would notice.
Both say what becomes of each guest, and drain names those that do not move live.
migrate moves one guest; where a cluster manager has it, through the manager. A GUEST
that begins with a dash follows "--".
drain empties this node through the cluster manager; undrain takes that back.
report shows how past migrations went.
guard sets up the leases by which this node is fenced without a power switch, shows
them, and checks what they can promise.
mirror shows how old the replicas of guests' disks are, and makes a round now; promote
lets a guest start from the replica here although that loses what came after it.

All commands:
  --json             the result as JSON, with a schema number
  --config FILE      vmferryd's configuration (default /etc/vmferry/vmferryd.toml)

plan:
  --bandwidth N      MiB/s that the link carries (default: as past migrations measured)
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
  --deadline D       abort after this time; through Pacemaker: stop waiting
  --watch TARGETS    probe udp://HOST:PORT,tcp://HOST:PORT meanwhile
  --lifetime D       through Pacemaker: how long it prefers NODE (default 1h)

drain:
  --window D         give up waiting after this time (default 30m)

report:
  --since WHEN       24h, 7d, 2026-11-20 or 2026-11-20T18:30:00Z (default: all)
  --html FILE        write a page with plots

guard init:
  --device PATH      the block device, or file, that all nodes share
  --cluster NAME     its name (default: as corosync.conf or ha.cf says, as are the nodes)
  --yes              do not ask; without a terminal nothing is written otherwise
guard init, guard times:
  --renew D          from one renewal of the lease to the next (default 500ms)
  --self-kill D      age of the lease at which its node kills its guests (default 3s)
  --kill D           what killing them takes at most (default 1s)
  --move D           time for moving them live before that (default 5s)
  --revoke D         time for revoking a node's access to the disks (default 2s)
  --poll D           from one look at another node's lease to the next (default 100ms)
  --margin D         for what no other time covers (default 300ms)
guard times:
  --token D          with Pacemaker and this token (default: as Corosync says, else 3s)
  --deadtime D       with Heartbeat and this deadtime
  --watchdog D       with a hardware watchdog that fires after this time
guard confirm:
  --yes              do not ask whether you have seen that NODE is off
guard log:
  -n N               the last N events (default 20)
mirror promote:
  --accept-loss      yes, that what came after the replica may be lost
  --yes              do not ask
mirror forget:
  --yes              do not ask

Exit status: 0 done, 1 not done or a problem was found, 2 wrong usage, 3 it is not
known where the guest runs, 4 interrupted, and taken back as far as possible.
`

// guestsBash completes the names of guests, and the commands of guard.
//
//go:embed guests.bash
var guestsBash string

// bashCompletion is made of the flags that each command has by the time at which it prints its help.
func bashCompletion(commands map[string]verb) string {
	p := completion.Program{
		Name: "vmferry", Extra: guestsBash,
		Values: map[string]string{"config": completion.Files, "html": completion.Files, "transport": "tcp tls ssh",
			"disks": "shared copy auto", "since": "24h 7d 30d", "device": completion.Files},
	}
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		c := newCall(&machine{}, name, io.Discard, io.Discard)
		_ = commands[name](context.Background(), c, []string{"--help"})
		v := completion.Verb{Name: name, Flags: c.flags}
		switch name {
		case "migrate":
			v.Operands = "_vmferry_guests"
		case "guard":
			v.Operands = "_vmferry_guard"
		case "mirror":
			v.Operands = "_vmferry_mirror"
		}
		p.Verbs = append(p.Verbs, v)
	}
	p.Verbs = append(p.Verbs, completion.Verb{Name: "version"}, completion.Verb{Name: "help"})
	return p.Bash()
}
