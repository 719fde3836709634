package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Node is a node that has been booted. Its methods may be called from several
// goroutines.
type Node struct {
	Spec

	cgroup Cgroup
	cmd    *exec.Cmd
	done   chan struct{} // closed when systemd-nspawn has ended
	reboot bool          // valid then: the node asked to be booted again
}

// Boot mounts the node's file system and starts systemd-nspawn on it. It
// returns as soon as the container has been requested; [Node.Leader] tells
// when there is one. bridge is the link that the node's host0 joins, cgroup
// the cgroup2 directory that the node's processes live in (made if missing),
// and console receives what the node prints while it boots.
//
// It must be called inside the lab's own mount, network and process
// namespaces: that is what makes a lab easy to take away.
func Boot(self Spec, d Dirs, bridge string, cgroup Cgroup, console io.Writer) (*Node, error) {
	if err := mountRoot(d); err != nil {
		return nil, err
	}
	if err := sweep(self.Name); err != nil {
		return nil, err
	}
	args := []string{
		"--quiet", "--boot", "--directory=" + d.root(), "--machine=" + self.Name,
		"--register=no", "--keep-unit", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
		"--network-bridge=" + bridge, "--capability=all", "--console=pipe",
		"--bind=" + d.Shared + ":/shared", "--bind-ro=" + d.Device + ":/lab",
		"--bind=/dev/net/tun",
	}
	if _, err := os.Stat("/dev/kvm"); err == nil {
		args = append(args, "--bind=/dev/kvm")
	}
	if d.Watchdog != "" {
		args = append(args, "--bind="+d.Watchdog+":"+WatchdogDevice)
	}
	cmd := exec.Command("systemd-nspawn", args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	cmd.Stdout, cmd.Stderr = console, console
	if err := cgroup.Start(cmd); err != nil {
		return nil, fmt.Errorf("start node %q: %w", self.Name, err)
	}
	n := &Node{Spec: self, cgroup: cgroup, cmd: cmd, done: make(chan struct{})}
	go func() {
		// All that counts is whether the node shut down to come back: power-off
		// and a kill leave it down.
		_ = cmd.Wait()
		n.reboot = cmd.ProcessState.ExitCode() == exitReboot
		close(n.done)
	}()
	go keepAwake(n.done)
	return n, nil
}

// mountRoot lays the node's writable layer over the product and the image. A
// node that boots again after a crash finds its mount still there.
func mountRoot(d Dirs) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	if strings.Contains(string(mounts), " "+d.root()+" overlay ") {
		return nil
	}
	options := fmt.Sprintf("lowerdir=%s:%s,upperdir=%s,workdir=%s", d.Product, d.Image, d.upper(), d.work())
	if err := unix.Mount("overlay", d.root(), "overlay", 0, options); err != nil {
		return fmt.Errorf("mount the node's file system at %q: %w", d.root(), err)
	}
	return nil
}

// sweep removes what a systemd-nspawn leaves that is killed before it could, and refuses to start over: from version
// 256 on a mount, and its end of the node's link, which goes with the node's network some time later.
func sweep(name string) error {
	left := filepath.Join("/run/systemd/nspawn/unix-export", name)
	err := unix.Unmount(left, unix.MNT_DETACH)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		err = nil
	}
	link, linkErr := netlink.LinkByName("vb-" + name)
	if linkErr == nil {
		linkErr = netlink.LinkDel(link)
	}
	if linkErr != nil && !errors.As(linkErr, new(netlink.LinkNotFoundError)) && !errors.Is(linkErr, unix.ENODEV) {
		err = errors.Join(err, linkErr)
	}
	if err != nil {
		return fmt.Errorf("remove what an earlier boot of node %q left: %w", name, err)
	}
	return nil
}

// exitReboot is how systemd-nspawn ends when the container rebooted and it runs
// under somebody who can start it again (systemd-nspawn(1), EXIT STATUS).
const exitReboot = 133

// Rebooted tells, once the node is down, whether it went down to boot again.
func (n *Node) Rebooted() bool {
	<-n.done
	return n.reboot
}

// Done is closed when the node is down: its leader and everything in it ended.
func (n *Node) Done() <-chan struct{} { return n.done }

// Leader is the process id of the node's systemd, in the caller's process
// namespace. It fails while the node has none: before it booted, and after its
// end.
func (n *Node) Leader() (int, error) { return leaderOf(n.cmd.Process.Pid) }

// leaderOf finds the child of the systemd-nspawn process pid that is process 1
// of a namespace of its own.
func leaderOf(pid int) (int, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "task", strconv.Itoa(pid), "children")
	children, err := os.ReadFile(dir)
	if err != nil {
		return 0, fmt.Errorf("find the node's leader: %w", err)
	}
	for word := range strings.FieldsSeq(string(children)) {
		status, err := os.ReadFile(filepath.Join("/proc", word, "status"))
		if err == nil && isLeader(string(status)) {
			return strconv.Atoi(word)
		}
	}
	return 0, errors.New("find the node's leader: the node is not up")
}

// isLeader reads proc_pid_status(5): NSpid names the process in each
// namespace that it is in, outermost first.
func isLeader(status string) bool {
	for line := range strings.Lines(status) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			field := strings.Fields(ids)
			return len(field) > 1 && field[len(field)-1] == "1"
		}
	}
	return false
}

// Kill ends the node as a power cut does: SIGKILL to its leader, which takes
// every process in the node with it, no file synced, no service stopped. It
// returns when nothing of the node is left, or with ctx's error.
func (n *Node) Kill(ctx context.Context) error {
	leader, err := n.Leader()
	if err == nil {
		err = unix.Kill(leader, unix.SIGKILL)
	}
	if err != nil {
		// No leader yet, or no more: nspawn itself is all there is.
		_ = n.cmd.Process.Kill()
	}
	// systemd-nspawn is frozen with the node, and would not see it end.
	if err := n.cgroup.killFrozen(); err != nil {
		return fmt.Errorf("kill node %q: %w", n.Name, err)
	}
	select {
	case <-n.done:
	case <-ctx.Done():
		return fmt.Errorf("kill node %q: %w", n.Name, ctx.Err())
	}
	if err := n.cgroup.WaitEmpty(ctx); err != nil {
		return fmt.Errorf("kill node %q: %w", n.Name, err)
	}
	return nil
}
