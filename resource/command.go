package resource

import (
	"context"
	"errors"

	"github.com/vmferry/vmferry/resource/command"
)

// Command runs a program, given by its path or its name in PATH, with arguments and no shell, and
// returns what it wrote to either stream, at most [maxOutput] bytes of it. The error is an
// [*exec.ExitError] for an exit code that is not 0, and the context's when that ended
// first: the program and what it started in its process group are dead then.
type Command func(ctx context.Context, name string, args ...string) (output string, err error)

// command runs a program for the action.
func (a *run) command(ctx context.Context, name string, args ...string) (string, error) {
	if a.Command == nil {
		return "", errNoCommand
	}
	return a.Command(ctx, name, args...)
}

var errNoCommand = errors.New("no programs can be run here")

// maxOutput bounds what is kept of a program's output.
const maxOutput = 64 << 10

// Execute is the Command that runs programs with the environment variables environ.
func Execute(environ []string) Command {
	return func(ctx context.Context, name string, args ...string) (string, error) {
		out, _, err := command.How{Environ: environ, Max: maxOutput, Merge: true}.Run(ctx, name, args...)
		return string(out), err
	}
}

func lastLine(text string) string { return command.LastLine(text) }

func explain(output string, err error) error { return command.Explain(output, err) }

// explained runs a program as c does; its error has the program's last words.
func (c Command) explained(ctx context.Context, name string, args ...string) (string, error) {
	out, err := c(ctx, name, args...)
	if err != nil {
		err = explain(out, err)
	}
	return out, err
}
