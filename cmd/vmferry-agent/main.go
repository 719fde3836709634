package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/resource"
	"github.com/vmferry/vmferry/resource/witness"
)

const usage = `usage: vmferry-agent ACTION

The resource agent ocf:vmferry:Domain, run by the cluster manager, which passes the
resource's parameters as OCF_RESKEY_* variables. ACTION is one of
` + resource.Usage + `.
By hand: OCF_RESKEY_config=/etc/libvirt/qemu/vm1.xml vmferry-agent monitor; echo $?
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(int(code))
}

// run is main with its surroundings passed in.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) resource.ExitCode {
	if len(args) != 1 {
		_, _ = fmt.Fprint(stderr, usage)
		return resource.Args
	}
	action := args[0]
	switch action { // these open nothing and must not fail
	case "meta-data":
		_, _ = io.WriteString(stdout, resource.MetaData())
		return resource.Success
	case "usage", "help", "-h", "--help":
		_, _ = io.WriteString(stdout, usage)
		return resource.Success
	}
	err := act(ctx, action, environ, stderr)
	report(stderr, environ, err)
	return resource.CodeOf(err)
}

func act(ctx context.Context, action string, environ []string, stderr io.Writer) error {
	env := resource.ParseEnviron(environ)
	if resource.IsAction(action) && env.Bare {
		return &resource.Error{Code: resource.Configured,
			Reason: "no resource is named: this program is run by the cluster manager; by hand, set OCF_RESKEY_config to the guest's XML file, or type vmferry-agent usage"}
	}
	log := newLogger(environ, env.Instance, stderr)
	host := witness.Host{}
	stateDir := variable(environ, "VMFERRY_STATE_DIR", resource.DefaultStateDir)
	halt := halter(environ, action)
	agent := resource.Agent{
		Environ:  env,
		Open:     open,
		Migrate:  migrator(log, host, stateDir, halt),
		Witness:  host,
		Peers:    (&pacemaker.Client{Node: env.Node}).Peers,
		Step:     halt,
		RunDir:   variable(environ, "VMFERRY_RUN_DIR", resource.DefaultRunDir),
		StateDir: stateDir,
		Log:      log,
	}
	return agent.Run(ctx, action)
}

// report writes the exit reason, which Pacemaker shows with the failed action. It is
// one line whatever libvirt's message had.
func report(stderr io.Writer, environ []string, err error) {
	if err == nil || err.Error() == "" {
		return
	}
	prefix := variable(environ, "OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:")
	_, _ = fmt.Fprintf(stderr, "%s%s\n", prefix, strings.Join(strings.Fields(err.Error()), " "))
}

// variable is the value of an environment variable, or fallback where it is unset or empty.
func variable(environ []string, name, fallback string) string {
	for _, v := range environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok && value != "" {
			return value
		}
	}
	return fallback
}
