package observe

import (
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// Observation is one look at a guest by both sides.
type Observation struct {
	State State // what follows from the rest

	Libvirt    LibvirtState
	Status     libvirt.Status  // where libvirt knows the guest
	Namesake   *libvirt.Status // where libvirt does not: another guest of its name
	LibvirtErr error           // why libvirt is unreachable

	Proc      ProcState
	Processes []hostproc.Process
	ProcErr   error  // why Proc is ProcUnknown
	Kind      string // what runs the guest, in words
}

// String has both sides for log lines and exit reasons.
func (o Observation) String() string {
	text := strings.TrimSuffix("libvirt says "+string(o.Libvirt), "/unknown")
	if o.Namesake != nil {
		text += fmt.Sprintf(" (another guest of this name is %s here, with UUID %s)", o.Namesake.State, o.Namesake.UUID)
	}
	if o.LibvirtErr != nil {
		text = fmt.Sprintf("libvirt does not answer (%v)", o.LibvirtErr)
	}
	switch o.Proc {
	case ProcUnasked:
		return text
	case ProcNone:
		return fmt.Sprintf("%s, and no %s of it is here", text, o.Kind)
	case ProcUnknown:
		return fmt.Sprintf("%s, and whether a %s of it is here is unknown (%v)", text, o.Kind, o.ProcErr)
	case ProcIncoming:
		return fmt.Sprintf("%s, and %v was started for an incoming migration", text, o.Processes[0])
	case ProcHalted, ProcEnding, ProcBroken:
		return fmt.Sprintf("%s, and %v is %v", text, o.Processes[0], o.Processes[0].Condition)
	}
	return fmt.Sprintf("%s, and %v is here", text, o.Processes[0])
}

// UUID is the guest's UUID as observed, or "".
func (o Observation) UUID() string {
	if o.Status.UUID == "" && len(o.Processes) > 0 {
		return o.Processes[0].UUID
	}
	return o.Status.UUID
}

// IsExecuting reports whether the guest can act on a request to shut down.
func (o Observation) IsExecuting() bool {
	if o.Proc == ProcHalted || o.Proc == ProcEnding || o.Proc == ProcBroken || o.LibvirtErr != nil {
		return false
	}
	switch o.Status.State {
	case libvirt.Running, libvirt.Blocked, libvirt.ShuttingDown:
		return o.Libvirt != Absent
	}
	return false
}

// IsGone reports that nothing of the guest is here.
func (o Observation) IsGone() bool { return o.State == NotRunning }

// IsRunning reports that the guest is here and runs, or is paused because someone wants it so.
func (o Observation) IsRunning() bool { return o.State == Running }

// IsListed reports that libvirt has the guest on its list, although it would forget one that has ended.
func (o Observation) IsListed() bool {
	return o.LibvirtErr == nil && o.Libvirt != Absent && (o.Status.State.Active() || !o.Status.Persistent)
}
