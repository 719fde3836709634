package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/command"
)

// stopTime is what the cluster manager gets to stop what runs here. While the other node is unclean its stop never ends
// by itself (Pacemaker 3.0.0).
const stopTime = 1500 * time.Millisecond

// startTime is far more than each other call of systemctl takes: one that hangs must not keep the node out for good.
const startTime = 2 * time.Minute

// Manager is a cluster manager's units, in the order in which they start.
type Manager []string

// The cluster managers.
var (
	Pacemaker = Manager{"corosync.service", "pacemaker.service"}
	Heartbeat = Manager{"heartbeat.service"}
)

// Silence kills the cluster manager's daemons at once, with all that they have started. It runs systemctl only where it
// does not find them by itself: no program starts while the lease device hangs, as with a file on FUSE, which waits for
// its server when the program's copy of it is closed.
func Silence(ctx context.Context, m Manager, run command.Runner) error {
	return silence(ctx, m, run, systemUnits)
}

func silence(ctx context.Context, m Manager, run command.Runner, dir string) error {
	if killed, err := killCgroups(dir, m); killed && err == nil {
		return nil
	}
	return callSystemctl(ctx, run, startTime, append([]string{"kill", "--signal=SIGKILL"}, m...)...)
}

// systemUnits is where systemd has the control groups of units that are in no other slice.
const systemUnits = "/sys/fs/cgroup/system.slice"

// killCgroups kills the processes of units, until none is left. It reports whether a unit has a control group below dir,
// as each has that runs.
func killCgroups(dir string, units []string) (found bool, err error) {
	for _, unit := range units {
		procs := filepath.Join(dir, unit, "cgroup.procs")
		for range killRounds { // a process may have forked since the list was read
			text, readErr := os.ReadFile(procs)
			if readErr != nil {
				break // it is gone with the last process
			}
			found = true
			pids := strings.Fields(string(text))
			for _, pid := range pids {
				err = errors.Join(err, killIn(procs, pid))
			}
			if len(pids) == 0 {
				break
			}
		}
	}
	return found, err
}

// killRounds is how often the list of a unit's processes is read again.
const killRounds = 10

// killIn kills a process that procs still lists once it cannot be confused with a later one.
func killIn(procs, pid string) error {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return fmt.Errorf("%s: %w", procs, err)
	}
	fd, err := unix.PidfdOpen(n, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill process %d: %w", n, err)
	}
	defer unix.Close(fd)
	text, err := os.ReadFile(procs)
	if err != nil || !slices.Contains(strings.Fields(string(text)), pid) {
		return nil // it has ended
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", n, err)
	}
	return nil
}

// callSystemctl runs systemctl, for limit at most.
func callSystemctl(ctx context.Context, run command.Runner, limit time.Duration, args ...string) error {
	bounded, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no end within %s", limit))
	defer cancel()
	_, err := run(bounded, "systemctl", args...)
	return err
}

// Rejoin stops the cluster manager, kills what does not stop, and starts it again. With Pacemaker on two nodes that
// does no harm while the link is still cut: wait_for_all keeps it from starting anything. heard reports whether the
// other nodes are heard again: Heartbeat is started only then, as it would fence them for ever.
func Rejoin(ctx context.Context, m Manager, run command.Runner, heard func() bool) error {
	return rejoin(ctx, m, run, heard, systemUnits)
}

func rejoin(ctx context.Context, m Manager, run command.Runner, heard func() bool, dir string) error {
	units := []string(m)
	stopped := make(chan struct{})
	go func() {
		_ = callSystemctl(ctx, run, stopTime, append([]string{"stop"}, reversed(units)...)...) // may end with its time
		close(stopped)
	}()
	await(ctx, stopped, stopTime) // it may not even start, see Silence
	_ = silence(ctx, m, run, dir) // fails where nothing is left
	for slices.Equal(m, Heartbeat) && !heard() {
		if err := wait.For(ctx, time.Second); err != nil {
			return fmt.Errorf("heartbeat is not started again, as no other node is heard: %w", err)
		}
	}
	await(ctx, stopped, startTime) // a stop that began late must not come after the start
	resetErr := callSystemctl(ctx, run, startTime, append([]string{"reset-failed"}, units...)...)
	if err := callSystemctl(ctx, run, startTime, append([]string{"start"}, units...)...); err != nil {
		return errors.Join(fmt.Errorf("start %v: %w", units, err), resetErr)
	}
	return nil
}

// await waits until done is closed, at most for limit and until ctx ends.
func await(ctx context.Context, done <-chan struct{}, limit time.Duration) {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-done:
	case <-bounded.Done():
	}
}

func reversed(units []string) []string {
	r := slices.Clone(units)
	slices.Reverse(r)
	return r
}
