package resource

import (
	"context"
	"time"

	"github.com/vmferry/vmferry/migrate/wait"
	"github.com/vmferry/vmferry/resource/observe"
	"github.com/vmferry/vmferry/resource/ocf"
)

// mayRun is why this node's guard lets no guest run here; nil where it does, or where there is none.
func (a *run) mayRun(ctx context.Context) error { return a.mayRunAt(ctx, "") }

// mayRunAt is mayRun for guests on a node; "" is this one.
func (a *run) mayRunAt(ctx context.Context, node string) error {
	if a.MayRun == nil {
		return nil
	}
	return a.MayRun(ctx, node)
}

// awaitsLease logs once that the start waits for the guard.
func (s *starter) awaitsLease() {
	if !s.awaited {
		s.Log.Info("waiting for this node's guard to let guests run here")
	}
	s.awaited = true
}

// refusedByGuard is why a guest is not started. Its code is the soft one: the hard ones (2 to 6) ban the node until an
// operator removes the failure, and "not running" (7) is a failure of a start like any other. With the default
// start-failure-is-fatal=true Pacemaker bans the node after this one too, until failure-timeout or a cleanup, or until
// its daemons are restarted there, as they are after a surrender. That is why a start waits for the guard first, as
// it does for libvirt.
func (s *starter) refusedByGuard(why error) error {
	return ocf.Wrapf(ocf.Generic, why, "guest %q not started", s.guest.Name)
}

// awaitTarget waits until guests may run on the target, as this node's guard sees it, while the guest runs here. A
// target that has just joined takes its lease within seconds, and a migrate_to that fails makes the manager stop the
// guest. In the end the error says why it may not run there.
func (m *migrator) awaitTarget(ctx context.Context, o observe.Observation) error {
	for {
		why := m.mayRunAt(ctx, m.Target)
		if why == nil || !o.IsRunning() || time.Now().After(m.until(m.budget.stable)) ||
			wait.For(ctx, askPause) != nil {
			return why
		}
	}
}
