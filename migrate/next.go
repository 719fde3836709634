package migrate

import (
	"context"
	"errors"
	"slices"
)

// ofTarget are the checks that another target may pass.
var ofTarget = []string{CheckTarget, CheckSameHost, CheckDuplicate, CheckHypervisor, CheckMemory, CheckCPU, CheckDisk, CheckDiskMove,
	CheckNetwork, CheckFirmware, CheckAddress, CheckConnection}

// MayTryNext tells whether a move to another target makes sense after one that failed with err: the guest
// stayed, and it was the target, or the way there, that refused it, died, or was too slow. It
// does not where nobody can tell where the guest runs, where the source is what refused it, and where
// the time was up or the caller cancelled.
func MayTryNext(err error) bool {
	var r *Refusal
	switch {
	case err == nil || errors.Is(err, ErrUnknown):
		return false
	case errors.As(err, &r):
		return slices.Contains(ofTarget, r.Check)
	}
	over := errors.Is(err, ErrOutOfTime) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	return !over
}
