package libvirt

import (
	"strconv"
	"time"
)

// State is a domain's run state, as virDomainState has it.
type State int

// The states, in libvirt's order.
const (
	NoState      State = iota
	Running            // runs
	Blocked            // waits for a resource (Xen); counts as running
	Paused             // its processors are stopped
	ShuttingDown       // was asked to shut down, still runs
	ShutOff            // defined, not active
	Crashed            // crashed and kept
	PMSuspended        // asleep by the guest's own power management
)

var stateNames = [...]string{"no state", "running", "blocked", "paused", "shutting down", "shut off",
	"crashed", "suspended"}

// String is the name of the state in lower case, for logs and reasons.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return "state " + strconv.Itoa(int(s))
	}
	return stateNames[s]
}

// Active reports whether a domain in this state exists in the hypervisor. NoState counts as
// active, as "cannot tell" is never "stopped".
func (s State) Active() bool { return s != ShutOff }

// Status is what libvirt knows of a domain at one instant.
type Status struct {
	State      State
	Reason     string // why, one of libvirt's reasons as a word, such as "ioerror"; "unknown" for new ones
	UUID       string // in the usual dashed form
	ID         int    // hypervisor's number, -1 while not active
	Persistent bool   // has a definition that outlives the domain
}

// reasons names virDomain…Reason per state. The position is libvirt's number.
var reasons = map[State][]string{
	Running: {"unknown", "booted", "migrated", "restored", "from-snapshot", "unpaused", "migration-canceled",
		"save-canceled", "wakeup", "crashed", "postcopy", "postcopy-failed"},
	Paused: {"unknown", "user", "migration", "save", "dump", "ioerror", "watchdog", "from-snapshot", "shutting-down",
		"snapshot", "crashed", "starting-up", "postcopy", "postcopy-failed", "api-error"},
	ShuttingDown: {"unknown", "user"},
	ShutOff: {"unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from-snapshot",
		"daemon"},
	Crashed: {"unknown", "panicked"},
}

// ReasonWord is the word for a reason, which libvirt numbers for each state by itself
// (virDomainRunningReason and its like); "unknown" for one that is newer than this list.
func ReasonWord(s State, reason int) string {
	if words := reasons[s]; reason >= 0 && reason < len(words) {
		return words[reason]
	}
	return "unknown"
}

// Machine says in what kind of guest a processor is to be had.
type Machine struct {
	Arch     string // such as "x86_64"
	Type     string // such as "pc-q35-10.0"
	VirtType string // "kvm" or "qemu"
}

// Visible is what a host can say about a disk's source.
type Visible int

// The three answers. VisibleUnknown is common only where the driver cannot look for a file, as Xen's, and no storage
// pool lists all files of its directory.
const (
	VisibleUnknown Visible = iota
	VisibleYes
	VisibleNo
)

// String is "unknown", "yes" or "no".
func (v Visible) String() string { return [...]string{"unknown", "yes", "no"}[v] }

// Info is how large a domain is.
type Info struct {
	CPUs      uint   // virtual processors, those that are on
	Memory    uint64 // KiB that it has
	MaxMemory uint64 // KiB that it may have
}

// ShutdownModes are the ways to ask a guest to shut down (virDomainShutdownFlags).
var ShutdownModes = []string{"acpi", "agent", "initctl", "signal", "paravirt"}

// NativeXL is the name of xl's and xm's configuration format (virConnectDomainXMLFromNative).
const NativeXL = "xen-xl"

// Event is one event of QEMU's monitor as libvirt passes it on.
type Event struct {
	Name    string // such as "STOP"
	Seconds int64  // QEMU's stamp: the clock of the host that runs QEMU, Unix time
	Micros  uint   // its microseconds
	Details string // the event's data as JSON, empty when there is none

	Received time.Time // our own clock when the event arrived
}

// Resident is a domain that is active at a libvirt.
type Resident struct {
	Name string `json:"name"`
	UUID string `json:"uuid"` // in the usual dashed form
}

// Load is what a running domain would give a migration to carry, at one instant. Fields that
// the driver does not report are zero.
type Load struct {
	Memory   uint64 // bytes of memory that the guest has
	Resident uint64 // bytes of the host's memory that its process holds: pages never touched cost nothing to send
	Dirty    Dirty  // how fast it writes, as of the last measurement
}

// Dirty is the result of a measurement of how fast a guest writes to its memory.
type Dirty struct {
	Measured bool      // a measurement ended, and the rest is its result
	Rate     uint64    // bytes per second of pages that became dirty, to the next MiB
	Since    time.Time // when it was begun, on the clock of the guest's host, to the second
}

// Network is a network of libvirt's on one host.
type Network struct {
	XML    string // its description (libvirt's formatnetwork page)
	Active bool   // guests can be connected to it
}

// Snapshots are the names of what libvirt keeps of a domain beside its disks.
type Snapshots struct {
	Snapshots   []string // virDomainListAllSnapshots
	Checkpoints []string // virDomainListAllCheckpoints
}
