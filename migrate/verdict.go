package migrate

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/migrate/libvirt"
)

// view is what one end said of the guest.
type view struct {
	status libvirt.Status
	err    error // nil, libvirt.ErrNoDomain, or why there is no answer
	gone   bool  // another witness proved that the guest's process ended
	halted bool  // another witness saw that the guest stands still for a hand-over, whatever libvirt says
}

// condition is a view reduced to what the decision needs.
type condition int

const (
	noAnswer condition = iota
	absent             // libvirt knows no such guest, or it is not active
	paused
	running // in any other active state
)

// condition is that of the guest with this UUID. Another guest of the same name is
// not ours, so that ours is absent.
func (v view) condition(uuid string) condition {
	switch {
	case v.gone, errors.Is(v.err, libvirt.ErrNoDomain):
		return absent
	case v.err != nil:
		return noAnswer
	case !v.status.State.Active(), uuid != "" && !strings.EqualFold(v.status.UUID, uuid):
		return absent
	case v.halted, v.status.State == libvirt.Paused:
		return paused
	}
	return running
}

// inPostCopy tells whether this end of our guest is one half of a post-copy, whole or broken.
func (v view) inPostCopy(uuid string) bool {
	ours := v.condition(uuid)
	return (ours == paused || ours == running) && strings.HasPrefix(v.status.Reason, "postcopy")
}

// isTorn tells whether that post-copy broke.
func (v view) isTorn(uuid string) bool {
	return v.inPostCopy(uuid) && v.status.Reason == "postcopy-failed"
}

func (v view) String() string {
	switch {
	case v.gone:
		return "absent (its process ended)"
	case errors.Is(v.err, libvirt.ErrNoDomain):
		return "absent"
	case v.err != nil:
		return "no answer: " + v.err.Error()
	}
	if v.halted {
		return fmt.Sprintf("standing still for its hand-over, and %v (%s) in libvirt's words", v.status.State, v.status.Reason)
	}
	return fmt.Sprintf("%v (%s)", v.status.State, v.status.Reason)
}
