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

	"github.com/vmferry/vmferry/hbplugin/pacemaker"
	"github.com/vmferry/vmferry/resource/command"
)

// self is this program, also after another version was installed.
const self = "/proc/self/exe"

// What runs programs for the guard: those of the system and of the administrator, and those of the cluster manager.
var (
	programs = command.How{Start: startOrdinary}.Runner()
	ask      = pacemaker.ExecBy(startOrdinary)
)

// runSelf runs this program with another task, as an ordinary one: libvirt's library and its connections stay out of the
// guard, as do the programs that they run. It returns what the process wrote.
func runSelf(ctx context.Context, args ...string) (out string, err error) {
	grace := command.How{Grace: time.Second, Merge: true, Max: 4096, Start: startOrdinary}
	text, _, err := grace.Run(ctx, self, args...)
	return string(text), err
}

// startOrdinary starts a program without what the guard alone needs: the real-time priority, and the protection from
// the kernel's search for memory. A program that asks the cluster manager is started twice a second, so that nothing is
// run before it.
//
// The thread that starts it keeps its priority: it holds the guard's one turn to run Go code, for which the others would
// have to wait on a busy node. What it forks does not inherit the priority (sched(7), "Reset scheduling policy for child
// processes"), and nor would threads of the Go runtime. That is why it is a thread of its own, which ends with this: the
// runtime starts no thread from one that is locked, and does not use it again.
func startOrdinary(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		attr, err := unix.SchedGetAttr(0, 0)
		if err == nil {
			attr.Flags |= unix.SCHED_FLAG_RESET_ON_FORK
			err = unix.SchedSetAttr(0, attr, 0)
		}
		if err != nil {
			started <- fmt.Errorf("start %s without the guard's priority: %w", cmd.Path, err)
			return
		}
		if err = cmd.Start(); err == nil {
			giveUpScore(cmd)
		}
		started <- err
	}()
	return <-started
}

// giveUpScore lets the kernel end a program that has just been started before others, as one of any user's.
func giveUpScore(cmd *exec.Cmd) {
	err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), []byte("0"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) { // it may have ended already
		fmt.Fprintf(os.Stderr, "vmferry-guard: %s keeps the guard's protection from the kernel: %v\n", cmd.Path, err)
	}
}
