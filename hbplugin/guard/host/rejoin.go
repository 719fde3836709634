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

// Manager is a cluster manager's units, in the order in which they start.
type Manager []string

// The cluster managers.
var (
	Pacemaker = Manager{"corosync.service", "pacemaker.service"}
	Heartbeat = Manager{"heartbeat.service"}
)

// Rejoin stops the cluster manager, kills what does not stop, and starts it again. With Pacemaker on two nodes that does
// no harm while the link is still cut: wait_for_all keeps it from starting anything. heard reports whether the other
// nodes are heard again: Heartbeat is started only then, as it would fence them for ever.
func Rejoin(ctx context.Context, m Manager, run command.Runner, heard func() bool) error {
	units := []string(m)
	stop, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	_, _ = run(stop, "systemctl", append([]string{"stop"}, reversed(units)...)...)          // may end with its time
	_, _ = run(ctx, "systemctl", append([]string{"kill", "--signal=SIGKILL"}, units...)...) // fails where nothing is left
	for slices.Equal(m, Heartbeat) && !heard() {
		if err := wait.For(ctx, time.Second); err != nil {
			return fmt.Errorf("heartbeat is not started again, as no other node is heard: %w", err)
		}
	}
	_, resetErr := run(ctx, "systemctl", append([]string{"reset-failed"}, units...)...)
	if _, err := run(ctx, "systemctl", append([]string{"start"}, units...)...); err != nil {
		return errors.Join(fmt.Errorf("start %v: %w", units, err), resetErr)
	}
	return nil
}

func reversed(units []string) []string {
	r := slices.Clone(units)
	slices.Reverse(r)
	return r
}
