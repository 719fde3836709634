package export

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/atomicfile"
	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/command"
)

// Where the state is kept, and the PID files of the NBD servers.
const (
	StateDir = "/var/lib/vmferry-export"
	RunDir   = "/run/vmferry-export"
)

// ErrClosed is the error of a node that may not reach the disks.
var ErrClosed = errors.New("the node's access is closed")

// lockTime is how long a server that starts waits for the end of the one before it.
const lockTime = 5 * time.Second

// Box is a storage machine. Its methods may be called from several processes at once.
type Box struct {
	Config   Config
	StateDir string
	RunDir   string
	Run      command.Runner // for systemctl
}

func (b Box) stateFile(node string) string { return filepath.Join(b.StateDir, node+".state") }
func (b Box) pidFile(node string) string   { return filepath.Join(b.RunDir, node, "pid") }

// unit is the service that runs the NBD server of a node.
func unit(node string) string { return "vmferry-export@" + node + ".service" }

// Revoke ends the access of a node in a generation of its lease and in each older one. It returns nil only with the
// proof: that is on the disk, and the node's process has ended. At the end of ctx the process may still be there; the
// generation stays revoked.
func (b Box) Revoke(ctx context.Context, node string, generation uint64) error {
	return b.locked(ctx, node, func() error {
		if err := b.change(node, func(s State) (State, error) { return s.Revoke(generation) }); err != nil {
			return err
		}
		return b.stop(ctx, node)
	})
}

// Admit opens the access of a node in a generation of its lease. It returns nil when the node's NBD server listens.
func (b Box) Admit(ctx context.Context, node string, generation uint64) error {
	err := b.locked(ctx, node, func() error {
		return b.change(node, func(s State) (State, error) { return s.Admit(generation) })
	})
	if err != nil {
		return err
	}
	// Not under the lock: a start that hangs must not delay a revocation, which ends it.
	if _, err := b.Run.Explained(ctx, "systemctl", "start", unit(node)); err != nil {
		return fmt.Errorf("start %s: %w", unit(node), err)
	}
	switch serving, err := b.serving(node); {
	case err != nil:
		return err
	case !serving:
		return fmt.Errorf("%s does not run: type journalctl -u %s", unit(node), unit(node))
	}
	return nil
}

// Reset ends the access of a node and forgets its generations, for a lease device that was initialized again.
func (b Box) Reset(ctx context.Context, node string) error {
	return b.locked(ctx, node, func() error {
		s, err := load(b.stateFile(node))
		if err != nil {
			s = State{}
		}
		// Closed first: the process must not be started again while it is stopped.
		s.Revoked = max(s.Revoked, s.Admitted)
		if err := s.save(b.stateFile(node)); err != nil {
			return err
		}
		if err := b.stop(ctx, node); err != nil {
			return err
		}
		if err := os.Remove(b.stateFile(node)); err != nil {
			return err
		}
		return atomicfile.SyncDir(b.StateDir)
	})
}

// Admitted is nil where a node may reach the disks, and ErrClosed where not.
func (b Box) Admitted(node string) error {
	if err := b.Config.known(node); err != nil {
		return err
	}
	s, err := load(b.stateFile(node))
	if err == nil && !s.Open() {
		err = fmt.Errorf("%w: admitted is generation %d, revoked is generation %d", ErrClosed, s.Admitted, s.Revoked)
	}
	return err
}

// Serve calls become, which must not return but become the NBD server of a node, while this process holds the node's
// serving lock; the file of the lock stays open across an exec. It fails where the access is closed.
func (b Box) Serve(ctx context.Context, node string, become func(args []string) error) error {
	if err := b.Config.known(node); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockTime, errors.New("the process before this one has not ended"))
	defer cancel()
	lock, err := b.lock(ctx, node, "serving", 0)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := b.Admitted(node); err != nil {
		return err
	}
	args, err := b.Arguments(node)
	if err != nil {
		return err
	}
	return become(args)
}

// NodeStatus is the access of one node.
type NodeStatus struct {
	Node    string
	Address netip.AddrPort
	State   State
	Serving bool // its process runs
	Err     error
}

// Status is the access of all nodes, by name.
func (b Box) Status() (all []NodeStatus) {
	for _, node := range slices.Sorted(maps.Keys(b.Config.Nodes)) {
		n := NodeStatus{Node: node, Address: b.Config.Nodes[node]}
		var serveErr error
		n.State, n.Err = load(b.stateFile(node))
		n.Serving, serveErr = b.serving(node)
		n.Err = errors.Join(n.Err, serveErr)
		all = append(all, n)
	}
	return all
}

// locked calls f while no other process changes the access of the node.
func (b Box) locked(ctx context.Context, node string, f func() error) error {
	if err := b.Config.known(node); err != nil {
		return err
	}
	lock, err := b.lock(ctx, node, "lock", unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	defer lock.Close()
	return f()
}

// change replaces the state of a node.
func (b Box) change(node string, f func(State) (State, error)) error {
	s, err := load(b.stateFile(node))
	if err != nil {
		return err
	}
	if s, err = f(s); err != nil {
		return fmt.Errorf("node %s: %w", node, err)
	}
	return s.save(b.stateFile(node))
}

// stop ends the process of a node whose access is closed on disk, and returns nil with the proof.
func (b Box) stop(ctx context.Context, node string) error {
	if _, err := b.Run.Explained(ctx, "systemctl", "stop", unit(node)); err != nil {
		return fmt.Errorf("stop %s: %w", unit(node), err)
	}
	lock, err := b.lock(ctx, node, "serving", unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("wait for the end of the process of node %s: %w", node, err)
	}
	return lock.Close()
}

// serving reports whether the process of a node holds its lock.
func (b Box) serving(node string) (bool, error) {
	file, err := b.open(node, "serving", unix.O_CLOEXEC)
	if err != nil {
		return false, err
	}
	defer file.Close()
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return false, nil
}

// lock waits for a lock of a node, until ctx ends. The locks' files are never removed: a lock on a file that is gone
// proves nothing.
func (b Box) lock(ctx context.Context, node, kind string, flags int) (*os.File, error) {
	file, err := b.open(node, kind, flags)
	if err != nil {
		return nil, err
	}
	locked, err := wait.Within(ctx, func() (*os.File, error) {
		for {
			switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX); {
			case err == nil:
				return file, nil
			case !errors.Is(err, unix.EINTR):
				return nil, errors.Join(err, file.Close())
			}
		}
	}, func(late *os.File) { _ = late.Close() })
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return locked, nil
}

// open opens the file of a lock. Without O_CLOEXEC in flags it stays open across an exec.
func (b Box) open(node, kind string, flags int) (*os.File, error) {
	if err := os.MkdirAll(b.StateDir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(b.StateDir, node+"."+kind)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}
