package observe

import (
	"fmt"
	"strings"

	"github.com/vmferry/vmferry/migrate/libvirt"
	"github.com/vmferry/vmferry/resource/hostproc"
)

// State is how a guest is on this node.
type State int

// The states. Only NotRunning says that nothing of the guest is here.
const (
	Unknown    State = iota // cannot tell
	Running                 // the guest is here and runs, or is paused because someone wants it so
	NotRunning              // proven: the guest has no process here
	Incoming                // a migration is bringing the guest; it does not run here yet
	Switching               // paused between two nodes: a migration is at its switchover, or died there
	Stalled                 // the guest is here and does not work: it needs a restart or a person
)

// String is the state in words.
func (s State) String() string {
	return [...]string{"unknown", "running", "not running", "incoming", "switching", "stalled"}[s]
}

// isStable reports whether waiting is not expected to change the state.
func (s State) isStable() bool { return s != Unknown && s != Switching }

// LibvirtState is what libvirt says of a guest, as "STATE/REASON" in libvirt's words.
type LibvirtState string

// The answers that are no state of libvirt's.
const (
	Unreachable LibvirtState = "unreachable" // dead, blocked, or it failed to answer
	Absent      LibvirtState = "absent"      // libvirt answered: no such domain
)

// States that are treated in a way of their own.
const (
	NoState LibvirtState = "no state/unknown"
	// PausedPostCopy is the source's for a guest that runs at the target while part of its memory is still here, and
	// PausedPostCopyFailed for one whose post-copy broke.
	PausedPostCopy       LibvirtState = "paused/postcopy"
	PausedPostCopyFailed LibvirtState = "paused/postcopy-failed"
	// PausedUser is also what Xen's driver calls a guest whose migration to here has copied everything, while the
	// source still holds it, and PausedUnknown after the driver was restarted; PausedStartingUp is a better word for
	// that.
	PausedUser       LibvirtState = "paused/user"
	PausedUnknown    LibvirtState = "paused/unknown"
	PausedStartingUp LibvirtState = "paused/starting-up"
	// PausedSave is libvirt's while it writes the guest's memory to a file.
	PausedSave LibvirtState = "paused/save"
)

// StateOf is the LibvirtState of a status.
func StateOf(s libvirt.Status) LibvirtState { return LibvirtState(s.State.String() + "/" + s.Reason) }

// Lookup finds the row of a table for a LibvirtState: by state and reason, or else by the state alone.
func Lookup[V any](table map[LibvirtState]V, s LibvirtState) (v V, ok bool) {
	if v, ok = table[s]; !ok {
		state, _, _ := strings.Cut(string(s), "/")
		v, ok = table[LibvirtState(state)]
	}
	return v, ok
}

// ProcState is what runs the guest on this node, as [Processes] shows it.
type ProcState int

// The states of what runs a guest.
const (
	ProcAlive    ProcState = iota // its process is here
	ProcIncoming                  // a process is here that waits for it, or that has not been seen to run it
	ProcNone                      // proven: no process
	ProcUnknown                   // some processes could not be looked at
	ProcUnasked                   // nobody looked: libvirt's answer decides alone

	// Only Xen shows these, and they go before what libvirt says.
	ProcHalted // it is paused for a migration's switchover or a save
	ProcEnding // it has shut down, or is being destroyed; a guest that reboots is made again then
	ProcBroken // it crashed, and was kept
)

// procStates are those of what the hypervisor itself calls not alive.
var procStates = map[hostproc.Condition]ProcState{
	hostproc.Halted: ProcHalted, hostproc.Ending: ProcEnding, hostproc.Broken: ProcBroken,
}

func procStateOf(found []hostproc.Process, err error) ProcState {
	switch {
	case len(found) == 0 && err != nil:
		return ProcUnknown
	case len(found) == 0:
		return ProcNone
	}
	best := ProcIncoming
	for _, p := range found {
		switch s, known := procStates[p.Condition]; {
		case known:
			best = s
		case !p.Incoming:
			return ProcAlive
		}
	}
	return best
}

// row is a State for each of the first four of ProcState.
type row [4]State

// table is the whole of the agent's judgement. A row is found by libvirt's state and
// reason, or else by the state; its columns are those of ProcState, in their order.
//
// libvirt is believed when it says that a guest is here; where there is no process, only if it
// keeps saying so (isDisputed). It is not believed alone when it says that a guest is gone, because a process
// it has lost still writes to the disk.
//
// A guest that reboots keeps its process and its state: QEMU resets it in place. One that shuts
// down is here until its process has ended.
//
// A pause that a person or a job of theirs requested counts as running, as in
// VirtualDomain: the agent does not undo what an operator did. A pause that QEMU made
// because it could not continue does not.
var table = map[LibvirtState]row{
	//                   alive    incoming  none        unknown
	Unreachable:          {Running, Unknown, NotRunning, Unknown},
	Absent:               {Running, Unknown, NotRunning, Unknown},
	"shut off":           {Running, Unknown, NotRunning, Unknown},
	"no state":           {Running, Incoming, Unknown, Unknown},
	"running":            {Running, Running, Running, Running},
	"blocked":            {Running, Running, Running, Running},
	"shutting down":      {Running, Running, Running, Running},
	"paused":             {Running, Running, Running, Running},
	"paused/migration":   {Switching, Incoming, Switching, Switching},
	"paused/starting-up": {Unknown, Incoming, Unknown, Unknown},
	// The source of a post-copy: the guest runs on the target and still reads its memory from here.
	PausedPostCopy:       {Running, Running, Running, Running},
	PausedPostCopyFailed: {Stalled, Stalled, Stalled, Stalled},
	"paused/ioerror":     {Stalled, Stalled, Stalled, Stalled},
	"paused/watchdog":    {Stalled, Stalled, Stalled, Stalled},
	"paused/crashed":     {Stalled, Stalled, Stalled, Stalled},
	"paused/api-error":   {Stalled, Stalled, Stalled, Stalled},
	"crashed":            {Stalled, Stalled, NotRunning, Stalled},
	"suspended":          {Stalled, Stalled, Stalled, Stalled},
	// Running in libvirt's words, but stopped by a broken post-copy.
	"running/postcopy-failed": {Stalled, Stalled, Stalled, Stalled},
}

// Judge looks the pair up. What the table does not know is Unknown.
func Judge(l LibvirtState, p ProcState) State {
	switch p {
	case ProcUnasked:
		p = ProcAlive // all columns are the same
	case ProcHalted:
		return Switching
	case ProcEnding:
		return Unknown // soon it is gone, or back
	case ProcBroken:
		return Stalled
	}
	r, _ := Lookup(table, l)
	return r[p]
}

// decidesAlone reports whether libvirt's answer decides whatever the processes show.
func (s LibvirtState) decidesAlone() bool {
	r, known := Lookup(table, s)
	return known && r == row{r[0], r[0], r[0], r[0]}
}

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
