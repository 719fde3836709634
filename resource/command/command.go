package command

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// leaveTime is how long a program may take to die of SIGKILL.
	leaveTime = 500 * time.Millisecond
	// usualMax is the most that is read of an answer: the status of a large cluster has some megabytes.
	usualMax = 64 << 20
	// keptOfStderr is how much of the end of the standard error is kept.
	keptOfStderr = 64 << 10
)

// ErrStuck says that a program could not be killed.
var ErrStuck = errors.New("it cannot be killed, as it waits for storage that does not respond")

// How says how a program is run.
type How struct {
	Environ []string      // its environment; nil for this process's
	Grace   time.Duration // from SIGTERM at the end of the context to SIGKILL; 0 for SIGKILL at once
	Max     int           // the most bytes of its standard output; 0 for 64 MiB
	// Merge adds the standard error to the output, and keeps the last Max bytes of both. Without it an output that is
	// longer than Max is an error, as half an answer is none.
	Merge bool
	// Start starts the program in place of [exec.Cmd.Start]; nil for that.
	Start func(*exec.Cmd) error
}

// Run runs a program, given by its path or its name in PATH. The error is an [*exec.ExitError] for an exit code that is
// not 0, and the context's cause when that ended first: the program and what it started in its process group are dead
// then. What it wrote is returned even beside an error.
func (h How) Run(ctx context.Context, name string, args ...string) (stdout, stderr []byte, err error) {
	out, errs := tail{max: cmp.Or(h.Max, usualMax)}, tail{max: keptOfStderr}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = h.Environ, &out, &errs
	if h.Merge {
		cmd.Stderr = &out
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		if h.Grace > 0 {
			return unix.Kill(-cmd.Process.Pid, unix.SIGTERM)
		}
		return unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	}
	cmd.WaitDelay = cmp.Or(h.Grace, leaveTime) // also for a child that left the group and holds the pipe
	start := h.Start
	if start == nil {
		start = (*exec.Cmd).Start
	}
	err = until(ctx, cmd, start, cmd.WaitDelay+leaveTime/2)
	switch {
	case errors.Is(err, ErrStuck):
		return nil, nil, fmt.Errorf("%q: %w", name, err) // the outputs are still written to
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("%q: %w", name, context.Cause(ctx))
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // it ended well, and left something behind that holds the pipe
	case err == nil && out.cut && !h.Merge:
		err = fmt.Errorf("%q wrote more than %d bytes", name, out.max)
	}
	return out.buf.Bytes(), errs.buf.Bytes(), err
}

// until is cmd.Run, and leaves a program behind that has not ended grace after ctx: Run
// would wait for ever for one that sleeps in the kernel, where no signal ends it.
func until(ctx context.Context, cmd *exec.Cmd, start func(*exec.Cmd) error, grace time.Duration) error {
	done := make(chan error, 1)
	go func() {
		err := start(cmd)
		if err == nil {
			err = cmd.Wait()
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	after := time.NewTimer(grace)
	defer after.Stop()
	select {
	case err := <-done:
		return err
	case <-after.C:
		return errors.Join(ErrStuck, context.Cause(ctx))
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	buf bytes.Buffer
	max int
	cut bool // something was dropped
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	n, err := t.buf.Write(p)
	if over := t.buf.Len() - t.max; over > 0 {
		t.buf.Next(over)
		t.cut = true
	}
	return n, err
}

// LastLine is the last line that is not empty, in which programs say what went wrong.
func LastLine(text string) string {
	text = strings.TrimSpace(text)
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}

// Explain is why a program failed, with its last words.
func Explain(output string, err error) error {
	if line := LastLine(output); line != "" {
		return fmt.Errorf("%w: %s", err, line)
	}
	return err
}

// Runner runs a program, given by its path or its name in PATH, with arguments and no shell, and returns what it wrote
// to either stream, 64 KiB of it at most. The error is an [*exec.ExitError] for an exit code that is not 0, and the
// context's when that ended first: the program and what it started in its process group are dead then.
type Runner func(ctx context.Context, name string, args ...string) (output string, err error)

// Execute is the Runner that runs programs with the environment variables environ.
func Execute(environ []string) Runner { return How{Environ: environ}.Runner() }

// Runner is the Runner that runs programs with h's environment, grace and start.
func (h How) Runner() Runner {
	h.Max, h.Merge = 64<<10, true
	return func(ctx context.Context, name string, args ...string) (string, error) {
		out, _, err := h.Run(ctx, name, args...)
		return string(out), err
	}
}

// Explained runs a program as r does; its error has the program's last words.
func (r Runner) Explained(ctx context.Context, name string, args ...string) (string, error) {
	out, err := r(ctx, name, args...)
	if err != nil {
		err = Explain(out, err)
	}
	return out, err
}
