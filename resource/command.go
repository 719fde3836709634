package resource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
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
		var out tail
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = environ, &out, &out
		cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
		cmd.WaitDelay = leaveTime // for a child that left the group and holds the pipe
		err := runUntil(ctx, cmd)
		if errors.Is(err, errStuck) {
			return "", fmt.Errorf("%q: %w", name, err) // out is still written to
		}
		if ctx.Err() != nil && err != nil {
			err = fmt.Errorf("%q: %w", name, ctx.Err())
		}
		if errors.Is(err, exec.ErrWaitDelay) {
			err = nil // it ended well, and left something behind that holds the pipe
		}
		return out.buf.String(), err
	}
}

// leaveTime is how long a program may take to die.
const leaveTime = 500 * time.Millisecond

var errStuck = errors.New("it cannot be killed, as it waits for storage that gives no answer")

// runUntil is cmd.Run, which would wait for ever for a program that sleeps in the kernel where no signal ends it.
func runUntil(ctx context.Context, cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() { done <- cmd.Run() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*leaveTime/2)
	defer cancel()
	select {
	case err := <-done:
		return err
	case <-after.Done():
		return errors.Join(errStuck, context.Cause(ctx))
	}
}

// tail keeps the end of what is written to it.
type tail struct{ buf bytes.Buffer }

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	n, err := t.buf.Write(p)
	if over := t.buf.Len() - maxOutput; over > 0 {
		t.buf.Next(over)
	}
	return n, err
}

// lastLine is the last line that is not empty.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// explained runs a program as c does; its error has the program's last words.
func (c Command) explained(ctx context.Context, name string, args ...string) (string, error) {
	out, err := c(ctx, name, args...)
	if err != nil {
		err = explain(out, err)
	}
	return out, err
}

// explain is why a program failed, with its last words.
func explain(output string, err error) error {
	if line := lastLine(output); line != "" {
		return fmt.Errorf("%w: %s", err, line)
	}
	return err
}

// within makes a context for a side job: at most limit, and at most half of what ctx has left.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	return context.WithTimeout(ctx, limit)
}
