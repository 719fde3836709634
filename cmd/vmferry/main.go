package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
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

var commands = map[string]command{
	"check": checkNode, "status": status, "plan": planDrain, "migrate": migrateGuest,
	"drain": drainNode, "undrain": undrain, "report": printReport,
}

func dispatch(ctx context.Context, m *machine, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return misuse("no command: say check, status, plan, migrate, drain, undrain or report; 'vmferry help' " +
			"tells more")
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
	command, ok := commands[args[0]]
	if !ok {
		return misuse("unknown command %q; 'vmferry help' lists them", args[0])
	}
	return command(ctx, newCall(m, args[0], stdout, stderr), args[1:])
}
