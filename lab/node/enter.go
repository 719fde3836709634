package node

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a command to be run inside the node that leader leads, in all of
// its namespaces, with the environment of a root login. ctx ends it.
func Command(ctx context.Context, leader int, name string, args ...string) *exec.Cmd {
	enter := []string{"--target=" + strconv.Itoa(leader), "--all", "--root", "--wd", "--", name}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "TERM=" + os.Getenv("TERM"),
	}
	// nsenter ends when its child does. Killed itself, it would leave the
	// child alone in the node.
	cmd.Cancel = func() error { return SignalChildren(cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// SignalChildren sends a signal to every child of the process pid: the way to
// reach a program behind an nsenter. It says [os.ErrProcessDone] when the
// process has no child, as [exec.Cmd.Cancel] wants it.
func SignalChildren(pid int, signal unix.Signal) error {
	word := strconv.Itoa(pid)
	text, err := os.ReadFile(filepath.Join("/proc", word, "task", word, "children"))
	if err != nil {
		return os.ErrProcessDone
	}
	result := os.ErrProcessDone
	for child := range strings.FieldsSeq(string(text)) {
		n, err := strconv.Atoi(child)
		if err != nil {
			return err
		}
		if err := unix.Kill(n, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		result = nil
	}
	return result
}
