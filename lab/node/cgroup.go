package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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

// Freeze stops every process of the cgroup, or lets them continue (cgroup.freeze of the kernel's cgroup-v2.rst).
func (c Cgroup) Freeze(frozen bool) error {
	text := map[bool]string{true: "1", false: "0"}[frozen]
	if err := os.WriteFile(filepath.Join(string(c), "cgroup.freeze"), []byte(text), 0); err != nil {
		return fmt.Errorf("freeze the node: %w", err)
	}
	return nil
}

// killFrozen kills every process of a cgroup that is frozen, before one of them can continue, and thaws it: it is to be
// of use again. One that is not frozen is left alone.
func (c Cgroup) killFrozen() error {
	frozen, err := os.ReadFile(filepath.Join(string(c), "cgroup.freeze"))
	if err != nil {
		return fmt.Errorf("see whether the node is frozen: %w", err)
	}
	if strings.TrimSpace(string(frozen)) != "1" {
		return nil
	}
	if err := c.killAll(); err != nil {
		return fmt.Errorf("kill the frozen node: %w", err)
	}
	return c.Freeze(false)
}

// killAll sends SIGKILL to each process of the cgroup, and of those below it. Linux 6.18 kills what is started in a
// cgroup after a write to its cgroup.kill, too.
func (c Cgroup) killAll() error {
	return filepath.WalkDir(string(c), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		pids, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return err
		}
		for word := range strings.FieldsSeq(string(pids)) {
			pid, err := strconv.Atoi(word)
			if err != nil || pid <= 0 { // 0 is one of another process namespace
				return fmt.Errorf("%s has process %q", path, word)
			}
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		return nil
	})
}

// WaitEmpty waits until the cgroup holds no process: the proof that a fence
// device owes the cluster.
func (c Cgroup) WaitEmpty(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		events, err := os.ReadFile(filepath.Join(string(c), "cgroup.events"))
		if err != nil {
			return fmt.Errorf("check whether the node is empty: %w", err)
		}
		if strings.Contains(string(events), "populated 0") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the node still has processes: %w", ctx.Err())
		case <-tick.C:
		}
	}
}
