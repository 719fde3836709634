package endpoint

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// Observation is what one end says of the guest.
type Observation struct {
	Status libvirt.Status
	Err    error // nil, libvirt.ErrNoDomain, or why there is no answer
	Gone   bool  // it is proven without libvirt that the guest's process ended
	Halted bool  // the hypervisor itself shows the guest paused for its switchover, whatever libvirt says
}

// Condition is where the guest is, by what one end says.
type Condition int

// The conditions.
const (
	NoAnswer Condition = iota
	Absent             // libvirt knows no such guest, or it is not active
	Paused
	Running // in any other active state
)

// Condition is that of the guest with this UUID. Another guest of the same name is
// not ours, so that ours is absent.
func (o Observation) Condition(uuid string) Condition {
	switch {
	case o.Gone, errors.Is(o.Err, libvirt.ErrNoDomain):
		return Absent
	case o.Err != nil:
		return NoAnswer
	case !o.Status.State.Active(), uuid != "" && !strings.EqualFold(o.Status.UUID, uuid):
		return Absent
	case o.Halted, o.Status.State == libvirt.Paused:
		return Paused
	}
	return Running
}

// End is an Observation reduced to what a decision needs.
type End struct {
	State  Condition
	Reason string // libvirt's, such as "migrated", of a guest that is there
	Halted bool   // the hypervisor has the guest paused for its switchover, whatever libvirt says
}

// End is what this end says of the guest with this UUID.
func (o Observation) End(uuid string) End {
	return End{State: o.Condition(uuid), Reason: o.Status.Reason, Halted: o.Halted}
}

// InPostCopy reports whether this end is one half of a post-copy, whole or failed.
func (e End) InPostCopy() bool {
	return (e.State == Paused || e.State == Running) && strings.HasPrefix(e.Reason, "postcopy")
}

// PostCopyFailed reports whether that post-copy failed.
func (e End) PostCopyFailed() bool { return e.InPostCopy() && e.Reason == "postcopy-failed" }

// String is for people and for the record, such as "running (migrated)", "absent" or "no answer: …".
func (o Observation) String() string {
	switch {
	case o.Gone:
		return "absent (its process ended)"
	case errors.Is(o.Err, libvirt.ErrNoDomain):
		return "absent"
	case o.Err != nil:
		return "no answer: " + o.Err.Error()
	}
	if o.Halted {
		return fmt.Sprintf("paused for its switchover, and %v (%s) by libvirt", o.Status.State, o.Status.Reason)
	}
	return fmt.Sprintf("%v (%s)", o.Status.State, o.Status.Reason)
}
