package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vmferry/vmferry/lab/styletest"
)

// work is where binaries and inputs are kept, below the module's root.
const work = "build/fuzz"

// runner builds and runs targets. Exactly one of executions and limit is above zero.
type runner struct {
	gocmd, tags string
	executions  int
	limit       time.Duration
	// patience is how long a target may take beside limit: to read its corpus, or for its number of executions. A
	// target that hangs fails then.
	patience time.Duration
	strict   bool // a target that skips itself fails
	out      io.Writer
}

// all runs every target, also after one that failed, and returns all errors. It stops when ctx ends.
func (r runner) all(ctx context.Context, todo []batch) error {
	dir, err := workspace()
	if err != nil {
		return fmt.Errorf("make a place for binaries: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	start, total := time.Now(), tally{}
	for _, b := range todo {
		r.batch(ctx, b, dir, &total)
		if ctx.Err() != nil {
			return errors.Join(append(total.failed, ctx.Err())...)
		}
	}
	_, _ = fmt.Fprintf(r.out, "%d fuzz targets in %d packages: %d executions in %.0f s, %d skipped, %d failed\n",
		total.targets, len(todo), total.executions, time.Since(start).Seconds(), total.skipped, len(total.failed))
	return errors.Join(total.failed...)
}

// tally sums up what was run.
type tally struct {
	targets, skipped, executions int
	failed                       []error
}

// batch builds a package's binary in dir, runs its targets and adds the results to total.
func (r runner) batch(ctx context.Context, b batch, dir string, total *tally) {
	total.targets += len(b.targets)
	binary, err := r.build(ctx, b.dir, dir)
	if err != nil {
		total.failed = append(total.failed, err)
		return
	}
	for _, t := range b.targets {
		began := time.Now()
		o, err := r.fuzz(ctx, binary, t)
		if ctx.Err() != nil {
			return
		}
		total.executions += o.executions
		if err == nil && o.skipped != "" && r.strict {
			err = fmt.Errorf("it was skipped: %s", o.skipped)
		}
		if err != nil {
			total.failed = append(total.failed, fmt.Errorf("%s in %s: %w", t.Name, t.Dir, err))
			continue
		}
		if o.skipped != "" {
			total.skipped++
			_, _ = fmt.Fprintf(r.out, "%-30s %-24s skipped: %s\n", t.Dir, t.Name, o.skipped)
			continue
		}
		_, _ = fmt.Fprintf(r.out, "%-30s %-24s %8d executions of which %d seeds, %d new interesting inputs, %.1f s\n",
			t.Dir, t.Name, o.executions, o.seeds, o.interesting, time.Since(began).Seconds())
	}
}

// workspace makes an empty directory for the binaries of one run and returns its absolute path.
func workspace() (string, error) {
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(work, "run-")
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// build makes the instrumented test binary of the package in dir.
func (r runner) build(ctx context.Context, dir, into string) (string, error) {
	binary := filepath.Join(into, "fuzz.test")
	cmd := exec.CommandContext(ctx, r.gocmd, "test", "-c", "-fuzz=.", "-tags", r.tags, "-o", binary, "./"+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the tests of %s: %w\n%s", dir, err, out)
	}
	return binary, nil
}

// fuzz runs one target in its package's directory, as the go command does. What was printed is part of the error.
func (r runner) fuzz(ctx context.Context, binary string, t styletest.FuzzTarget) (outcome, error) {
	span := r.limit.String()
	if r.executions > 0 {
		span = fmt.Sprintf("%dx", r.executions)
	}
	cache, err := r.cache(binary, t)
	if err != nil {
		return outcome{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.limit+r.patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.run=^$", "-test.fuzz=^"+t.Name+"$",
		"-test.fuzztime="+span,
		"-test.fuzzminimizetime=0x", "-test.fuzzcachedir="+cache)
	cmd.Dir = t.Dir
	// A target that loops for ever keeps its worker process: the whole group ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	err = cmd.Run()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("it did not end within %s", r.limit+r.patience)
	}
	var o outcome
	if err == nil {
		o, err = judge(printed.String(), r.executions)
	}
	if err != nil {
		return o, fmt.Errorf("%w\n%s", err, printed.String())
	}
	return o, nil
}

// cache is the directory for a target's interesting inputs: empty for a bounded run, kept for a long one.
func (r runner) cache(binary string, t styletest.FuzzTarget) (string, error) {
	if r.executions > 0 {
		return filepath.Join(filepath.Dir(binary), t.Dir, t.Name), nil
	}
	dir, err := filepath.Abs(filepath.Join(work, "corpus", t.Dir, t.Name))
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}
