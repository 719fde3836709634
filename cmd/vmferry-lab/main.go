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
	"slices"
	"syscall"

	"github.com/vmferry/vmferry/cmd/completion"
	"github.com/vmferry/vmferry/lab"
	"github.com/vmferry/vmferry/lab/bench"
	"github.com/vmferry/vmferry/lab/fence"
	"github.com/vmferry/vmferry/lab/hostile"
	"github.com/vmferry/vmferry/lab/xendomains"
	"github.com/vmferry/vmferry/migrate/version"
)

const usage = `Usage: vmferry-lab [--dir DIR] [--cache DIR] [--stage DIR] COMMAND

Real nodes on one machine: systemd, Pacemaker on Corosync or Heartbeat, libvirt
and QEMU in each, shared storage, and guests. Needs root, and Debian 12 or later.

Commands:
  up [options]          build what is missing, boot the nodes, wait for the cluster
  demo [options]        run the scenarios with vmferry and with its peer (VirtualDomain, or
                        Xen on Xen) on Pacemaker and with vmferry on Heartbeat, and
                        write report.json and report.html; then, on two nodes without a
                        power switch, cut the link and let a node hang: guard.json, guard.html;
                        then, on two nodes that share no disk, kill the node of a guest, let it
                        come back, and drain both: mirror.json, mirror.html
  bench [options]       measure vmferry against VirtualDomain, QEMU alone, irtt and fping,
                        and write report.json
  torture [options]     break the nodes of a cluster without a power switch in random ways, check
                        what the guard promises, and write report.json
  partition [options]   cut links, gateways, nodes and daemons of two nodes without a power
                        switch, and write partition.json
  shell NODE [COMMAND]  a root shell, or one command, on a node
  status [--json]       what is up
  down                  stop everything, and remove all but the cache
  version               which vmferry this is

Options of up:
  --hypervisor NAME  qemu (default): the nodes are containers and run QEMU;
                     xen: they are emulated machines and run Xen, the node is domain 0
  --shape NAME       plain (default): two equal nodes;
                     field: three nodes whose host names resolve nowhere, without migration_host,
                     with definitions (/srv/cluster) on a file system that the cluster mounts, and
                     on node1 alone an ISO (/srv/iso/install.iso), a bridge (br77) and a network (dmz);
                     guard: two nodes without a power switch, which vmferry-guard fences;
                     mirror: two nodes that share no disk, and mirror the guests' to each other over ssh

Options of demo:
  --out DIR         where the report goes (default build/demo)
  --keep            leave the lab up afterwards
  --leave           in a running lab: keep nodes and guests as they are after the last
                    scenario, if the lab goes down next
  --rounds N        run everything N times (default 1)
  --guests N        how many guests (1 to 6, default 2, on Xen 1)
  --interval TIME   between two probes of a client (1ms to 1s, default 20ms, 100ms on Xen)
  --hypervisor NAME qemu or xen: of the lab that is made if none is up (default qemu)
  --agent NAME      only vmferry, or only VirtualDomain, or only Xen
  --manager NAME    only pacemaker, or only heartbeat
  --scenario NAME   only graceful-shutdown, or only split-brain, or only hang, or only mirror

Options of bench:
  --out DIR         where the report goes (default build/bench)
  --keep            leave the lab up afterwards
  --only NAME,NAME  only these results:
                      without a lab: plan-10k, accuracy-udp, accuracy-tcp,
                        accuracy-direction, probe-cost, probe-rate,
                        probe-many, reflector-garbage
                      calls of the agent: monitor, monitor-wall, monitor-daemons, meta-data
                      moves of an idle guest, in one run: idle-pause, kernel-gap-icmp,
                        kernel-gap-tcp, client-gap-udp, client-gap-tcp,
                        request-gap-tcp, idle-blackout-udp, idle-blackout-tcp, own-work
                      moves of a guest with a game server: game-gap-udp
                      moves of an idle guest with a busy loop on each node:
                        loaded-blackout-udp, loaded-blackout-tcp
                      the cost of probing: probe-share, probe-halved
                      other moves: floor-pause, emulator-part, busy-blackout-udp, busy-time,
                        hopeless, hopeless-blackout-udp, hopeless-postcopy,
                        hopeless-postcopy-blackout-udp
                      predictions against measurements: prediction-duration,
                        prediction-pause
                      VirtualDomain with one option of virsh migrate, against it without:
                        lever-auto-converge-time, lever-auto-converge-blackout-udp,
                        lever-xbzrle-time, lever-xbzrle-blackout-udp,
                        lever-multifd-time, lever-multifd-blackout-udp,
                        lever-zstd-time, lever-zstd-blackout-udp,
                        lever-postcopy-time, lever-postcopy-blackout-udp
                      drains: drain-10, drain-10-blackout, drain-10-at-once,
                        drain-10-at-once-blackout
                      crashes: crash-to-answer, crash-to-answer-icmp,
                        crash-to-answer-advised
                      nodes without a power switch, in a lab of the shape guard, against
                      SBD's delay: guard-crash-to-start-1s, guard-crash-to-answer-1s,
                        guard-crash-to-start-3s, guard-crash-to-answer-3s,
                        guard-split-silence-moved, guard-split-silence-killed
                      a guest's mirror, in a lab of the shape mirror: mirror-round,
                        mirror-round-cpu, mirror-stall-fsync, mirror-stall-gap,
                        mirror-drain, mirror-loss
  -n N              runs of each side (default 200 calls, 100 outages of
                    each kind and length, 15 moves or plans, 3 to 10 runs of the probe,
                    5 with a lever, 5 drains, 5 crashes, 10 with the guard, 15 rounds
                    of a mirror, 30 crashes with one)

Options of torture:
  --faults N        how many faults (1 to 100000, default 20)
  --seed S          what they follow from: the same seed, the same faults (default 1)
  --first N         begin with fault N of the seed (default 1)
  --only KIND,KIND  only these: crash, hang, cut-link, cut-network, cut-gateway, cut-storage,
                    cut-link-gateway, cut-link-storage, one-way, flapping,
                    kill-pacemakerd, kill-corosync, kill-libvirt, kill-vmferryd,
                    kill-guard, kill-second, kill-guard-pair, kill-agent, full-disk,
                    clock-step, reboot, move
  --guests N        how many guests (1 to 6, default 2)
  --plan            print the faults and their bounds, and break nothing
  --out DIR         where the report goes (default build/torture)
  --resume          continue the run whose report is there, with the same options, up to --faults
  --json            print the report as JSON, too
  --keep            leave the lab up afterwards

Options of partition:
  --out DIR         where the result goes (default build/partition)
  --keep            leave the lab up afterwards
  --only NAME;NAME  only these cuts; short: those of make test
  --manager NAME    pacemaker (default), or heartbeat

Options:
  --dir DIR    where the running lab keeps its files (default ` + lab.DefaultDir + `)
  --cache DIR  where built images are kept (default ` + lab.DefaultCache + `)
  --stage DIR  what the nodes get installed: a tree made by "make stage"
`

// errUsage is wrapped by mistakes in the command line: they end with exit
// code 2 and a hint.
var errUsage = errors.New("see `vmferry-lab help`")

func main() {
	if hostile.Member() {
		return
	}
	switch filepath.Base(os.Args[0]) {
	case bench.CallerName:
		os.Exit(bench.Caller(os.Stdin, os.Stdout, os.Stderr))
	case bench.BurnerName:
		bench.Burn(os.Stdin)
		return
	case xendomains.ProgramName:
		os.Exit(xendomains.Main(context.Background(), os.Args[1:], os.Stderr))
	case hostile.ProgramName:
		os.Exit(hostile.Main(os.Args[1:], os.Stdout, os.Stderr))
	case fence.StorageName:
		os.Exit(fence.Storage(context.Background(), "/lab", os.Args[1:], os.Stderr))
	case "fence_lab":
		os.Exit(fence.Main(context.Background(), "/lab", os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:])
	stop()
	os.Exit(exitCode(err))
}

// exitCode prints err, unless whoever failed has done so, and says how to exit.
func exitCode(err error) int {
	var inside *lab.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &inside):
		return inside.Code
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "vmferry-lab: interrupted")
		return 130
	}
	fmt.Fprintln(os.Stderr, "vmferry-lab:", err)
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}

// run carries out one command line.
func run(ctx context.Context, args []string) error {
	if completion.Asked(args) {
		_, err := io.WriteString(os.Stdout, bashCompletion())
		return err
	}
	l := &lab.Lab{}
	flags := newFlags("vmferry-lab")
	flags.StringVar(&l.Dir, "dir", lab.DefaultDir, "")
	flags.StringVar(&l.Cache, "cache", lab.DefaultCache, "")
	flags.StringVar(&l.Stage, "stage", "", "")
	if err := parse(flags, args); err != nil {
		return err
	}
	if err := locate(l); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		io.WriteString(os.Stderr, usage)
		return fmt.Errorf("no command: %w", errUsage)
	}
	name, rest := flags.Arg(0), flags.Args()[1:]
	for _, c := range commands {
		if c.name == name {
			return c.run(ctx, l, rest)
		}
	}
	return fmt.Errorf("unknown command %q: %w", name, errUsage)
}

// command is one word of the command line. Those that only this program itself
// calls, inside the lab's namespaces, begin with "inside-".
type command struct {
	name string
	run  func(context.Context, *lab.Lab, []string) error
}

var commands = []command{
	{"help", func(context.Context, *lab.Lab, []string) error {
		_, err := io.WriteString(os.Stdout, usage)
		return err
	}},
	{"version", func(context.Context, *lab.Lab, []string) error {
		_, err := fmt.Println("vmferry-lab", version.String())
		return err
	}},
	{"up", up},
	{"demo", demo},
	{"bench", runBench},
	{"torture", runTorture},
	{"partition", runPartition},
	{"shell", shell},
	{"status", status},
	{"down", down},
	{"init", begin},
	{"supervise", supervise},
	{"inside-wait", insideWait},
	{"inside-demo", insideDemo},
	{"inside-bench", insideBench},
	{"inside-torture", insideTorture},
	{"inside-partition", insidePartition},
	{"inside-shell", insideShell},
}

func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// errListed ends a command whose flags are only to be listed.
var errListed = errors.New("its flags are listed")

// listed, where not nil, gets the flags of each command that parses its arguments, in place of that.
var listed func(*flag.FlagSet)

// bashCompletion is made of the flags that each command has by the time at which it parses them.
func bashCompletion() string {
	p := completion.Program{Name: "vmferry-lab", Values: map[string]string{
		"dir": completion.Files, "cache": completion.Files, "stage": completion.Files, "out": completion.Files,
		"hypervisor": "qemu xen", "shape": "plain field guard mirror", "agent": "vmferry VirtualDomain Xen",
		"manager": "pacemaker heartbeat", "scenario": "graceful-shutdown split-brain hang"}}
	for _, name := range []string{"up", "demo", "bench", "partition", "torture", "shell", "status", "down", "version",
		"help"} {
		v := completion.Verb{Name: name}
		if name != "shell" && name != "version" && name != "help" { // they have none
			listed = func(flags *flag.FlagSet) { v.Flags = flags }
			i := slices.IndexFunc(commands, func(c command) bool { return c.name == name })
			_ = commands[i].run(context.Background(), &lab.Lab{}, nil) // errListed
			listed = nil
		}
		p.Verbs = append(p.Verbs, v)
	}
	return p.Bash()
}

func parse(flags *flag.FlagSet, args []string) error {
	if listed != nil {
		listed(flags)
		return errListed
	}
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		io.WriteString(os.Stdout, usage)
		os.Exit(0)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	return nil
}

// locate fills in where this program and what it installs lie: build/bin and
// build/stage beside each other, as the Makefile lays them.
func locate(l *lab.Lab) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	l.Self = self
	if l.Stage == "" {
		l.Stage = filepath.Join(filepath.Dir(filepath.Dir(self)), "stage")
	}
	for _, path := range []*string{&l.Dir, &l.Cache, &l.Stage} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	return nil
}
