package preflight

import "fmt"

// Refusal is why a migration was not begun. Nothing has been changed.
type Refusal struct {
	Check  string // one of the Check constants
	Reason string // what was found
	Hint   string // what to do about it
	Err    error  // the cause, or nil
}

// The checks, in their order.
const (
	CheckRequest    = "request"    // the request itself
	CheckSource     = "source"     // the source's libvirt answers
	CheckRunning    = "running"    // the guest runs at the source, in a state that can be migrated
	CheckJob        = "job"        // no migration of it is under way
	CheckTarget     = "target"     // the target's libvirt answers
	CheckSameHost   = "same-host"  // the target is another host
	CheckDuplicate  = "duplicate"  // the target has no such guest
	CheckHypervisor = "hypervisor" // the target can run this type of guest
	CheckMemory     = "memory"     // and has room for it
	CheckCPU        = "cpu"        // and its processor
	CheckDisk       = "disk"       // and sees its disks
	CheckNetwork    = "network"    // and has its bridges and networks
	CheckFirmware   = "firmware"   // and the files and programs of its firmware and TPM
	CheckTLS        = "tls"        // both ends have the certificates for an encrypted migration
	CheckAddress    = "address"    // the memory can be sent to the target by a name that resolves here
	CheckConnection = "connection" // the source's libvirt reaches the target's
	CheckLibvirt    = "libvirt"    // the source's libvirt has nothing against it
)

// CheckDiskMove is the check that the guest's disks can be copied. Unlike one of [CheckDisk], what it refuses does not
// keep the guest from being started at the target.
const CheckDiskMove = "disk-move"

// Error is one line: the check, the reason, and what to do about it.
func (r *Refusal) Error() string {
	s := fmt.Sprintf("pre-flight %s: %s", r.Check, r.Reason)
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	if r.Hint != "" {
		s += " (" + r.Hint + ")"
	}
	return s
}

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Err }
