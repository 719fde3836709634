package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/cmd/completion"
	"github.com/vmferry/vmferry/hbplugin/guard/control"
	"github.com/vmferry/vmferry/hbplugin/guard/settings"
	"github.com/vmferry/vmferry/hbplugin/heartbeat/script"
	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/migrate/recorded"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/command"
	"github.com/vmferry/vmferry/resource/elsewhere"
	"github.com/vmferry/vmferry/resource/hostproc/local"
	"github.com/vmferry/vmferry/resource/notes"
	"github.com/vmferry/vmferry/resource/ocf"
	"github.com/vmferry/vmferry/resource/ocflog"
	"github.com/vmferry/vmferry/resource/param"
)

func main() {
	runtime.GOMAXPROCS(1) // for the reason that vmferryd has
	// A crash ends by a signal, which Pacemaker takes for a failure. The runtime's own exit code 2 is OCF_ERR_ARGS, for
	// which it bans the node.
	debug.SetTraceback("crash")
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	face := run
	if filepath.Base(os.Args[0]) == script.Name {
		face = runForHeartbeat
	}
	code := face(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(int(code))
}

// run is main with its surroundings passed in.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) ocf.ExitCode {
	if completion.Asked(args) {
		_, _ = io.WriteString(stdout, bashCompletion())
		return ocf.Success
	}
	if code, done := ocf.Plain(args, environ, stdout, stderr); done {
		return code
	}
	manager := pacemaker.Client{Node: param.ParseEnviron(environ).Node}
	err := act(ctx, args[0], environ, stderr,
		caller{peers: manager.Peers, runnable: manager.Runnable, leaving: manager.Leaving})
	if err != nil {
		ocf.Report(stderr, environ, err.Error())
	}
	return ocf.CodeOf(err)
}

// bashCompletion offers all that the agent may be called with.
func bashCompletion() string {
	p := completion.Program{Name: "vmferry-agent"}
	for _, name := range strings.FieldsFunc(strings.ReplaceAll(ocf.Names(), " or ", ","),
		func(r rune) bool { return r == ',' || r == ' ' }) {
		p.Verbs = append(p.Verbs, completion.Verb{Name: name})
	}
	return p.Bash()
}

// caller is what the agent must know of the cluster manager that called.
type caller struct {
	peers func(ctx context.Context) ([]elsewhere.Peer, error)
	// runnable lists the nodes that may run one; nil where it cannot be asked
	runnable func(ctx context.Context, resource string) ([]string, error)
	leaving  func(context.Context) (bool, error) // it empties this node; nil where it cannot be asked
	// it never looks where a guest runs: a start brings one here that runs elsewhere
	fetch bool
	// it calls a node dead, of which its peers do not say so, and switches such a one off; nil where they do
	isDead func(ctx context.Context, node string) (dead, fenced bool)
}

// act does one action of the agent's.
func act(ctx context.Context, action string, environ []string, stderr io.Writer, from caller) error {
	env := param.ParseEnviron(environ)
	if env.Bare {
		return &ocf.Error{Code: ocf.Configured,
			Reason: "no resource is named: this program is run by the cluster manager; by hand, set " +
				"OCF_RESKEY_config to the guest's XML file, or type vmferry-agent usage"}
	}
	log := ocflog.New(ocflog.Call{Environ: environ, Instance: env.Instance, PID: os.Getpid()}, stderr)
	sees := local.Of(env.Params.Hypervisor)
	stateDir := ocf.Variable(environ, "VMFERRY_STATE_DIR", notes.DefaultStateDir)
	runDir := ocf.Variable(environ, "VMFERRY_RUN_DIR", notes.DefaultRunDir)
	run := command.Execute(environ)
	moves, halt := recorded.Moves{StateDir: stateDir, Log: log}, halter(environ, action)
	agent := resource.Agent{
		Environ:   env,
		Open:      open,
		Migrate:   migrator(moves, sees, queueOf(runDir, env), halt),
		Processes: sees,
		Announce:  announcer(log, runDir),
		Command:   run,
		Peers:     from.peers,
		Runnable:  from.runnable,
		Leaving:   from.leaving,
		MayRun:    guardIn(settings.Path, control.Socket),
		Record:    moves.Append,
		Mirror:    mirrorOf(env, run, from),
		Fetch:     from.fetch,
		Step:      halt,
		RunDir:    runDir,
		StateDir:  stateDir,
		Log:       log,
	}
	return agent.Run(ctx, action)
}
