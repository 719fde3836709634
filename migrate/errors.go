package migrate

import (
	"context"
	"errors"
	"slices"

	"github.com/vmferry/vmferry/migrate/preflight"
)

var (
	// ErrUnknown is in the error of a Move that cannot tell where the guest runs.
	ErrUnknown = errors.New("cannot tell where the guest runs")
	// ErrOutOfTime is in the error of a Move that aborted its migration to meet the deadline.
	ErrOutOfTime = errors.New("the migration was not done in time")
	// ErrHopeless is in the error of a Move that gave up early, as its time is better spent on
	// another way to get the guest off this node.
	ErrHopeless = errors.New("the migration cannot succeed")
	// ErrTargetSilent is in the error of a Move that gave up since its target gave no answer any more.
	ErrTargetSilent = errors.New("the target gives no answer")
)

// ofTarget are the checks that another target may pass.
var ofTarget = []string{preflight.CheckTarget, preflight.CheckSameHost, preflight.CheckDuplicate, preflight.CheckHypervisor, preflight.CheckMemory, preflight.CheckCPU, preflight.CheckDisk,
	preflight.CheckDiskMove, preflight.CheckNetwork, preflight.CheckFirmware, preflight.CheckAddress, preflight.CheckConnection}

// MayTryNext reports whether a move to another target makes sense after one that failed with err: the guest
// stayed, and it was the target, or the way there, that refused it, died, or was too slow. It
// does not where it is not known where the guest runs, where the source is what refused it, and where
// the time was up or the caller cancelled.
func MayTryNext(err error) bool {
	var r *preflight.Refusal
	switch {
	case err == nil || errors.Is(err, ErrUnknown):
		return false
	case errors.As(err, &r):
		return slices.Contains(ofTarget, r.Check)
	}
	over := errors.Is(err, ErrOutOfTime) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	return !over
}
