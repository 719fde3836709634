package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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

// Silence kills the cluster manager's daemons at once.
func Silence(ctx context.Context, m Manager, run command.Runner) error {
	return callSystemctl(ctx, run, startTime, append([]string{"kill", "--signal=SIGKILL"}, m...)...)
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
	units := []string(m)
	_ = callSystemctl(ctx, run, stopTime, append([]string{"stop"}, reversed(units)...)...) // may end with its time
	_ = Silence(ctx, m, run)                                                               // fails where nothing is left
	for slices.Equal(m, Heartbeat) && !heard() {
		if err := wait.For(ctx, time.Second); err != nil {
			return fmt.Errorf("heartbeat is not started again, as no other node is heard: %w", err)
		}
	}
	resetErr := callSystemctl(ctx, run, startTime, append([]string{"reset-failed"}, units...)...)
	if err := callSystemctl(ctx, run, startTime, append([]string{"start"}, units...)...); err != nil {
		return errors.Join(fmt.Errorf("start %v: %w", units, err), resetErr)
	}
	return nil
}

func reversed(units []string) []string {
	r := slices.Clone(units)
	slices.Reverse(r)
	return r
}
