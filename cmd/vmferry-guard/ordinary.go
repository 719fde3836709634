package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/resource/command"
)

// self is this program, also after another version was installed.
const self = "/proc/self/exe"

// ordinaryFlag, followed by a program and its arguments, has that program run in place of this one, without what the
// guard alone needs: the real-time priority, and the protection from the kernel's search for memory.
const ordinaryFlag = "--ordinary"

// ordinary runs programs as run does, each as an ordinary one.
func ordinary(run command.Runner) command.Runner {
	return func(ctx context.Context, name string, args ...string) (string, error) {
		return run(ctx, self, append([]string{ordinaryFlag, name}, args...)...)
	}
}

// runSelf runs this program with another task, as an ordinary one: libvirt's library and its connections stay out of the
// guard, as do the programs that they run. It returns what the process wrote.
func runSelf(ctx context.Context, args ...string) (out string, err error) {
	grace := command.How{Grace: time.Second, Merge: true, Max: 4096}
	text, _, err := grace.Run(ctx, self, append([]string{ordinaryFlag, self}, args...)...)
	return string(text), err
}

// becomeOrdinary turns this process into an ordinary one that runs a program. It returns only with an error.
func becomeOrdinary(args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread() // exec keeps the priority of the thread that calls it
	err = errors.Join(unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0),
		os.WriteFile("/proc/self/oom_score_adj", []byte("0"), 0))
	if err != nil {
		fmt.Fprintf(os.Stderr, "vmferry-guard: %s keeps the guard's priority: %v\n", args[0], err)
	}
	return fmt.Errorf("run %s: %w", args[0], unix.Exec(path, args, os.Environ()))
}
