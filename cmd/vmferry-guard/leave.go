package main

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmferry/vmferry/resource/command"
)

// leaveTime bounds what the guard does when it is told to end. The unit's TimeoutStopSec is longer.
const leaveTime = 8 * time.Second

// managerUnits are the units of the cluster managers that start guests.
var managerUnits = []string{"pacemaker.service", "pacemaker_remote.service", "heartbeat.service"}

// leaving is the end of the guard.
type leaving struct {
	guests    func(ctx context.Context) (int, error) // how many run here
	run       command.Runner
	surrender func(ctx context.Context) error
	disarm    func() error // the watchdog; nil: there is none
}

// surrenders reports whether a guard that ends gives the lease back. Where a guest runs it does not: the next guard
// resumes the lease, as after an update. Nor where a cluster manager runs: Pacemaker would not take it again before the
// node joins again. What cannot be told is no reason to give anything back.
func surrenders(guests int, managers string, err error) bool {
	return err == nil && guests == 0 && allDown(managers)
}

// allDown reports whether the output of systemctl is-active says that no unit runs.
func allDown(states string) bool {
	lines := strings.Fields(states)
	return len(lines) == len(managerUnits) && !slices.ContainsFunc(lines, func(state string) bool {
		return state != "inactive" && state != "failed" && state != "unknown"
	})
}

// end gives the lease back and disarms the watchdog, or leaves both to the next guard.
func (l leaving) end(log logrus.FieldLogger) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	guests, err := l.guests(ctx)
	states, runErr := l.run(ctx, "systemctl", append([]string{"is-active"}, managerUnits...)...)
	if !errors.As(runErr, new(*exec.ExitError)) { // the exit code only repeats what is printed
		err = errors.Join(err, runErr)
	}
	if !surrenders(guests, states, err) {
		log.WithField("guests", guests).Warn("the lease is left to the next guard: without one the guests are killed")
		return
	}
	if err := l.surrender(ctx); err != nil {
		log.WithError(err).Error("give the lease back")
		return
	}
	log.Info("no guest and no cluster manager runs here: the lease is given back")
	if l.disarm == nil {
		return
	}
	if err := l.disarm(); err != nil {
		log.WithError(err).Error("disarm the watchdog")
	}
}
