package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// CgroupPrefix begins the name of the cgroup that holds all nodes of a lab:
// what comes after it in the path of a process's cgroup is the node's name.
const CgroupPrefix = "vmferry-lab-"

// Cgroup is the cgroup2 directory that all of a node's processes live in.
type Cgroup string

// Of tells the node from proc_pid_cgroup(5) of one of its processes, 0::/vmferry-lab-…/NODE/…; "" is no node.
func Of(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		if _, path, ok := strings.Cut(strings.TrimSpace(line), "/"+CgroupPrefix); ok {
			_, path, _ = strings.Cut(path, "/")
			name, _, _ := strings.Cut(path, "/")
			return name
		}
	}
	return ""
}

// Freeze stops all of the node's processes, and returns when none runs. They can be killed while they are frozen.
func (c Cgroup) Freeze(ctx context.Context) error {
	if err := c.freezer("1"); err != nil {
		return err
	}
	return c.wait(ctx, "frozen 1", "the node still runs")
}

// Thaw lets the node's processes go on. That nothing is frozen is no error.
func (c Cgroup) Thaw() error { return c.freezer("0") }

func (c Cgroup) freezer(state string) error {
	if err := os.WriteFile(filepath.Join(string(c), "cgroup.freeze"), []byte(state), 0); err != nil {
		return fmt.Errorf("freeze or thaw the node: %w", err)
	}
	return nil
}

// Start starts cmd as the leader of a session in the cgroup, which is made if
// it is missing.
func (c Cgroup) Start(cmd *exec.Cmd) (err error) {
	if err := os.MkdirAll(string(c), 0o755); err != nil {
		return fmt.Errorf("make the node's cgroup: %w", err)
	}
	group, err := os.Open(string(c))
	if err != nil {
		return fmt.Errorf("open the node's cgroup: %w", err)
	}
	defer func() { err = errors.Join(err, group.Close()) }()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	return cmd.Start()
}

// WaitEmpty waits until the cgroup holds no process: the proof that a fence
// device owes the cluster.
func (c Cgroup) WaitEmpty(ctx context.Context) error {
	return c.wait(ctx, "populated 0", "the node still has processes")
}

// wait waits until cgroup.events has the line.
func (c Cgroup) wait(ctx context.Context, line, otherwise string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		events, err := os.ReadFile(filepath.Join(string(c), "cgroup.events"))
		if err != nil {
			return fmt.Errorf("look at the node's processes: %w", err)
		}
		if strings.Contains(string(events), line) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", otherwise, ctx.Err())
		case <-tick.C:
		}
	}
}
