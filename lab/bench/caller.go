package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CallerName is the file name under which the lab's program is a [Caller].
const CallerName = "bench_lab"

const (
	// quietTime is how long after a call the daemons may still work on it: they are
	// read after that.
	quietTime = 20 * time.Millisecond
	// orphanTime is how long what a call leaves behind may live on.
	orphanTime = 5 * time.Second
	// callTime bounds one call.
	callTime = 30 * time.Second
)

// Plan is what a Caller is to do. It crosses into the node as JSON.
type Plan struct {
	Ours    string   `json:"ours"` // paths of the two programs
	Peer    string   `json:"peer"`
	Action  string   `json:"action"` // the argument of both
	Environ []string `json:"environ"`
	N       int      `json:"n"` // calls of each
	// Daemons are the names of processes that work for a call and are no part of it.
	Daemons []string `json:"daemons"`
}

// Sample is one call, in milliseconds.
type Sample struct {
	CPU     float64 `json:"cpu"`
	Wall    float64 `json:"wall"`
	Daemons float64 `json:"daemons"`
}

// Samples are what a Caller measured, in the order of the calls.
type Samples struct {
	Ours []Sample `json:"ours"`
	Peer []Sample `json:"peer"`
}

// Caller carries out the plan that it reads, and writes the samples. It returns the exit
// code of the process, whose children it takes for its own.
func Caller(in io.Reader, out, complaint io.Writer) int {
	err := callAll(in, out)
	if err != nil {
		fmt.Fprintln(complaint, "bench:", err)
		return 1
	}
	return 0
}

func callAll(in io.Reader, out io.Writer) error {
	var p Plan
	if err := json.NewDecoder(in).Decode(&p); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of orphans: %w", err)
	}
	samples, err := p.run("/proc")
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(samples)
}

// run makes the calls, after one of each that is not counted: the first reads
// programs from the disk.
func (p Plan) run(proc string) (Samples, error) {
	daemons, err := find(proc, p.Daemons)
	if err != nil {
		return Samples{}, err
	}
	var s Samples
	sides := []struct {
		program string
		into    *[]Sample
	}{{p.Ours, &s.Ours}, {p.Peer, &s.Peer}}
	for i := range p.N + 1 {
		for _, side := range sides {
			sample, err := p.call(side.program, daemons)
			if err != nil {
				return Samples{}, err
			}
			if i > 0 {
				*side.into = append(*side.into, sample)
			}
		}
		slices.Reverse(sides)
	}
	return s, nil
}

// call makes one call. One that fails is an error: it would measure something else.
func (p Plan) call(program string, daemons []string) (Sample, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	before, err := spent(daemons)
	if err != nil {
		return Sample{}, err
	}
	var words bytes.Buffer
	complaint, err := os.CreateTemp("", "bench-*") // a pipe would be read by this process meanwhile
	if err != nil {
		return Sample{}, err
	}
	defer func() { _ = errors.Join(complaint.Close(), os.Remove(complaint.Name())) }()
	cmd := exec.CommandContext(ctx, program, p.Action)
	cmd.Env, cmd.Stderr = append(slices.Clone(p.Environ), names(program)...), complaint
	began := time.Now()
	err = cmd.Run()
	wall := time.Since(began)
	if err != nil {
		_, _ = complaint.Seek(0, io.SeekStart)
		_, _ = io.Copy(&words, io.LimitReader(complaint, 500))
		return Sample{}, fmt.Errorf("call %q %s: %w: %s", program, p.Action, err, strings.TrimSpace(words.String()))
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return Sample{}, errors.New("the kernel tells no resource usage")
	}
	orphans, err := reap()
	if err != nil {
		return Sample{}, fmt.Errorf("call %q %s: %w", program, p.Action, err)
	}
	time.Sleep(quietTime)
	after, err := spent(daemons)
	if err != nil {
		return Sample{}, err
	}
	cpu := time.Duration(usage.Utime.Nano()+usage.Stime.Nano()) + orphans
	return Sample{CPU: ms(cpu), Wall: ms(wall), Daemons: ms(max(0, after-before))}, nil
}

// names tell an agent its own name, as Pacemaker does: PROVIDER/TYPE.
func names(program string) []string {
	provider, typ := filepath.Split(program)
	return []string{"OCF_RESOURCE_TYPE=" + typ, "OCF_RESOURCE_PROVIDER=" + filepath.Base(provider)}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// reap waits for what a call has left behind and returns its CPU time.
func reap() (time.Duration, error) {
	var total time.Duration
	for end := time.Now().Add(orphanTime); ; {
		var usage unix.Rusage
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, &usage)
		switch {
		case errors.Is(err, unix.ECHILD):
			return total, nil
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for what it left behind: %w", err)
		case pid > 0:
			total += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		case time.Now().After(end):
			return 0, errors.New("it left something behind that does not end")
		default:
			time.Sleep(time.Millisecond)
		}
	}
}

// find looks the daemons' processes up by name, as their folders in proc.
func find(proc string, names []string) ([]string, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		text, err := os.ReadFile(filepath.Join(dir, "comm")) // it may have ended
		if err == nil && slices.Contains(names, strings.TrimSpace(string(text))) {
			found = append(found, dir)
		}
	}
	return found, nil
}

// spent is the CPU time of processes so far, in the scheduler's nanoseconds: the clock ticks of
// proc_pid_stat(5) are too coarse for one call. Threads that have ended are not in it; the
// daemons keep theirs.
func spent(processes []string) (time.Duration, error) {
	var total time.Duration
	for _, dir := range processes {
		threads, err := filepath.Glob(filepath.Join(dir, "task", "*", "schedstat"))
		if err != nil {
			return 0, err
		}
		if len(threads) == 0 {
			return 0, fmt.Errorf("the daemon %q has ended", dir)
		}
		for _, path := range threads {
			text, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
				continue
			}
			if err != nil {
				return 0, fmt.Errorf("read a daemon's CPU time: %w", err)
			}
			first, _, _ := strings.Cut(string(text), " ")
			ns, err := strconv.ParseInt(first, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read a daemon's CPU time from %q: %w", text, err)
			}
			total += time.Duration(ns)
		}
	}
	return total, nil
}
